"""The schema of a sender's file."""

from __future__ import annotations

from enum import IntEnum

from cascade.interfaces import OutboxUnavailable
from cascade.runtime._storage.database import FileKind

KIND = FileKind(
    noun="an outbox",
    migrated="when its sender starts",
    application_id=0x43534F42,
    version=1,
    schema="""
CREATE TABLE message (
    id INTEGER PRIMARY KEY, topic TEXT, payload TEXT, qos INT, stored REAL, event_id TEXT, tries INT, state INT
);
CREATE INDEX message_sent ON message (event_id) WHERE state = 2;
CREATE INDEX message_aside ON message (id) WHERE state = 3;
CREATE TABLE counter (reason TEXT PRIMARY KEY, count INT);
""",
    unusable=OutboxUnavailable,
)


class State(IntEnum):
    """What a row waits for."""

    WAITS = 1
    SENT = 2
    """The broker has it; the collector has not acknowledged it."""
    ASIDE = 3
    """The broker refuses it, or it broke the link."""
    REPORT = 4
    """One of the last reports of a process with a name; it is published when the events before it are."""
