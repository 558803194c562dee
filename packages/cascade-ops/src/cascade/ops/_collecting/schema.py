"""The tables and views of a collector's SQLite file, and how a file of an earlier version gets them."""

from __future__ import annotations

import re
import secrets
import sqlite3
from pathlib import Path

from cascade.cli.collected import APPLICATION_ID, OF_LATEST_USE, VERSION, has_tables
from cascade.interfaces.topics import parse_telemetry_topic

_SCHEMA = f"""
CREATE TABLE collector (session TEXT NOT NULL);
CREATE TABLE event (
    run_id TEXT, source TEXT, org_id TEXT, project_id TEXT, token TEXT, kind TEXT, seq INT, attempt INT, type TEXT,
    event_id TEXT, topic TEXT, received REAL, payload TEXT
);
CREATE UNIQUE INDEX event_key ON event (run_id, source, org_id, project_id, token, kind, seq);
CREATE UNIQUE INDEX event_without_number ON event (event_id) WHERE seq IS NULL;
CREATE INDEX event_lifecycle ON event (run_id, source, org_id, project_id) WHERE type = 'LifecycleEvent';
CREATE INDEX event_logs ON event (received) WHERE kind = 'logs';
CREATE TABLE series (
    run_id TEXT, source TEXT, org_id TEXT, project_id TEXT, token TEXT, spans TEXT, since REAL,
    PRIMARY KEY (run_id, source, org_id, project_id, token)
) WITHOUT ROWID;
CREATE TABLE summary (
    run_id TEXT, source TEXT, org_id TEXT, project_id TEXT, name TEXT, status TEXT, began REAL, ended REAL, error TEXT,
    attempts INT, latest REAL, counts TEXT, PRIMARY KEY (run_id, source, org_id, project_id)
) WITHOUT ROWID;
CREATE INDEX summary_began ON summary (began, name, status);
CREATE INDEX summary_latest ON summary (latest);
CREATE TABLE progress (
    run_id TEXT, source TEXT, org_id TEXT, project_id TEXT, task_id TEXT, received REAL, payload TEXT,
    PRIMARY KEY (run_id, source, org_id, project_id, task_id)
) WITHOUT ROWID;
CREATE TABLE ending (run_id TEXT, source TEXT, org_id TEXT, project_id TEXT, token TEXT, received REAL, payload TEXT);
CREATE UNIQUE INDEX ending_run ON ending (run_id, source, org_id, project_id);
CREATE TABLE report (run_id TEXT, source TEXT, org_id TEXT, project_id TEXT, token TEXT, received REAL, payload TEXT);
CREATE UNIQUE INDEX report_run ON report (run_id, source, org_id, project_id);
CREATE TABLE engine (source TEXT PRIMARY KEY, status TEXT, process TEXT, since REAL) WITHOUT ROWID;
CREATE TABLE change (topic TEXT, received REAL, payload TEXT);
CREATE INDEX change_topic ON change (topic, received);
CREATE VIEW run AS
    SELECT run_id, source, org_id, project_id, name,
        CASE WHEN status = 'Running' AND (
            SELECT engine.status = 'offline' OR latest < since FROM engine WHERE engine.source = summary.source
        ) THEN 'Lost' ELSE status END AS status,
        attempts, error,
        strftime('%Y-%m-%dT%H:%M:%fZ', began, 'unixepoch') AS began,
        strftime('%Y-%m-%dT%H:%M:%fZ', ended, 'unixepoch') AS ended,
        round(ended - began, 3) AS seconds
    FROM summary;
CREATE VIEW step AS
    SELECT DISTINCT run_id, source, org_id, project_id, step, name,
        last_value(state) OVER w AS state,
        sum(state = 'RUNNING') OVER w AS starts,
        min(CASE state WHEN 'RUNNING' THEN ts END) OVER w AS began,
        last_value(CASE WHEN state IN ('COMPLETED', 'FAILED', 'SKIPPED', 'CANCELLED') THEN ts END) OVER w AS ended,
        last_value(error) OVER w AS error
    FROM (
        SELECT run_id, source, org_id, project_id, attempt, seq, json_extract(payload, '$.ts') AS ts,
            json_extract(payload, '$.body.task_id') AS step, json_extract(payload, '$.body.task_name') AS name,
            json_extract(payload, '$.body.state') AS state, json_extract(payload, '$.body.error') AS error
        FROM event WHERE kind = 'events' AND type = 'TaskStateEvent' AND {OF_LATEST_USE}
    )
    WINDOW w AS (
        PARTITION BY run_id, source, org_id, project_id, step ORDER BY attempt, seq
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    );
"""
_TABLES = re.sub(r"\s+", " ", _SCHEMA)
_PAGE_BYTES = 8192
"""All of the schema stands on the first page of a file, so that one that was truncated can be read."""
_FROM_1 = f"""
DROP INDEX event_received;
DROP INDEX event_run;
ALTER TABLE event RENAME TO event_1;
ALTER TABLE series RENAME TO series_1;
{_TABLES}
INSERT OR IGNORE INTO event
    SELECT run_id, source, level(topic, 0), level(topic, 1), token, kind, seq, coalesce(json_extract(payload, '$.attempt'), 1),
        coalesce(json_extract(payload, '$.body.type'), ''), event_id, topic, received, payload
    FROM event_1 ORDER BY rowid;
INSERT OR REPLACE INTO series
    SELECT s.run_id, s.source, e.org_id, e.project_id, s.token, s.spans, s.since
    FROM series_1 s JOIN (SELECT DISTINCT run_id, source, token, org_id, project_id FROM event) e
        ON e.run_id = s.run_id AND e.source = s.source AND e.token = s.token;
INSERT INTO summary (run_id, source, org_id, project_id, began, latest)
    SELECT run_id, source, org_id, project_id, min(received), max(received) FROM event
    GROUP BY run_id, source, org_id, project_id;
DROP TABLE event_1;
DROP TABLE series_1;
"""


def prepare(connection: sqlite3.Connection, path: Path) -> bool:
    """Create the tables in an empty file, or give a file of an earlier version the present ones; return whether it was one.

    :raises CommandError: if the file belongs to another program or a later version.
    """
    older = has_tables(connection, path)
    if older:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == VERSION:
            return False
        connection.create_function("level", 2, _level, deterministic=True)
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
    session = f"INSERT INTO collector VALUES ('{secrets.token_hex(16)}');"
    connection.executescript(f"BEGIN IMMEDIATE; {_FROM_1 if older else _TABLES} {session} {marks} COMMIT")
    return older


def _level(topic: str, number: int) -> str:
    parts = parse_telemetry_topic(topic)
    return parts[number] if parts is not None else ""
