"""Events as JSON lines. Calls block; one thread at a time uses an object."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cascade.cli.errors import CommandError
from cascade.ops._collecting.message import Hole, Known, Received, Series
from cascade.wire import EventMessage, parse_event


class LinesFile:
    """Each line is the envelope of one event with its ``topic`` and ``received``.

    The file is read once at the start, to know what is in it. A last line that a killed process has left
    unfinished is cut off.

    :raises CommandError: if the file has anything else in it.
    :raises OSError: if the disk fails.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[Series, Known] = {}
        self._others: set[str] = set()  # ids of what is not counted
        self._size = self._read() if path.exists() else 0
        handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        self._file = os.fdopen(handle, "wb")
        self._file.truncate(self._size)
        self._file.seek(self._size)

    def store(self, batch: Sequence[Received]) -> dict[Series, Known]:
        """Append what is new of a batch and sync; return the series that it concerns, of duplicates too."""
        found: dict[Series, Known] = {}
        lines = [_line(message) for message in batch if self._is_new(message.event, message.at, found)]
        self._file.write(b"".join(lines))
        self._file.flush()
        os.fsync(self._file.fileno())
        return found

    def holes(self) -> list[Hole]:
        """Return what is missing, the oldest hole first."""
        found = [
            Hole(series, known.spans.missing, known.since)
            for series, known in self._known.items()
            if known.since is not None
        ]
        return sorted(found, key=lambda hole: hole.since)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _is_new(self, event: EventMessage, at: float, found: dict[Series, Known]) -> bool:
        series = Series(event.source, event.run_id, event.token)
        if event.kind == "events" and event.seq is not None:
            known = found[series] = self._known.setdefault(series, Known())
            return known.add(event.seq, at)
        if not event.event_id or event.event_id not in self._others:
            self._others.add(event.event_id)
            return True
        return False

    def _read(self) -> int:
        """Read what is there; return where the last complete line ends."""
        size = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                size += len(line)
                data = _object(line)
                event = parse_event(data.get("topic", ""), line)
                if event is None:
                    raise CommandError(
                        f"{self._path}:{number} is not a line of cascade collect", "name another file"
                    )
                self._is_new(event, _seconds(data.get("received")), {})
        return size


def _line(message: Received) -> bytes:
    received = datetime.fromtimestamp(message.at, UTC).isoformat()
    return json.dumps({**message.payload, "topic": message.topic, "received": received}).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _seconds(text: object) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0
