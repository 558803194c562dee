"""Events, and collectors as programs of their own."""

import contextlib
import json
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ops_modules import EventFile, LinesFile, Received, SqliteFile

from cascade.interfaces.topics import telemetry_topic
from cascade.wire import parse_event

NOW = 1_800_000_000.0

COLLECTOR = """
import sys
from cascade.cli.main import main
from cascade.transport import backoff

backoff.SHORTEST_PAUSE = backoff.LONGEST_PAUSE = 0.05
sys.exit(main(["collect", "--to", sys.argv[2], "--broker", sys.argv[1], *sys.argv[3:]]))
"""


@contextlib.contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the context ends, or until it is killed."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        try:
            yield started
        finally:
            started.kill()
            started.wait()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file beside the program that writes it, which is not disturbed."""
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        yield connection


def kept(path: Path) -> list[str]:
    """Return the ids of the events that a collector has."""
    if not path.exists():
        return []
    try:
        with reading(path) as connection:
            rows = connection.execute("SELECT event_id FROM event WHERE kind = 'events'")
            return [event_id for (event_id,) in rows]
    except sqlite3.DatabaseError:
        return []  # the file is being made


def event(seq: int, *, source: str = "press", kind: str = "events") -> dict[str, Any]:
    """An event as telemetry makes it."""
    name = "run-c41e07d2" if kind == "events" else f"run-c41e07d2-{kind}"
    return {
        "v": "1.0",
        "ts": "2026-11-21T03:00:20+00:00",
        "run_id": "run",
        "org_id": "local",
        "project_id": "default",
        "source": source,
        "seq": seq,
        "token": "c41e07d2",
        "event_id": f"{name}-{seq}",
        "body": {
            "type": "TaskStateEvent",
            "task_id": "t:0",
            "task_name": "t",
            "state": "COMPLETED",
            "duration_ms": 0.0,
            "error": "",
        },
    }


def received(
    number: int,
    at: float = NOW,
    *,
    source: str = "press",
    run: str = "run",
    kind: str = "events",
    project: str = "default",
    **more: Any,
) -> Received:
    """An event as the collector gets it."""
    topic = telemetry_topic("local", project, run, kind)
    payload = {
        "v": "1.0",
        "ts": "2027-01-15T08:00:00+00:00",
        "run_id": run,
        "source": source,
        "seq": number,
        "token": "t",
        "event_id": f"{source}-{run}-{kind}-{number}",
        "body": {"type": "TaskStateEvent", "task_id": "a:0", "state": "RUNNING"},
        **more,
    }
    payload = {key: value for key, value in payload.items() if value is not None}
    parsed = parse_event(topic, json.dumps(payload).encode())
    assert parsed is not None
    return Received(topic, payload, parsed, at)


def opened(path: Path) -> EventFile:
    """Open a file of either kind."""
    return SqliteFile(path) if path.suffix == ".sqlite" else LinesFile(path)
