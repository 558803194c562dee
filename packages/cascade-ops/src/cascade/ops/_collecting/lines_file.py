"""Events as JSON lines. Calls block; one thread at a time uses an object."""

from __future__ import annotations

import io
import json
import os
import secrets
from collections.abc import Hashable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cascade.cli.errors import CommandError
from cascade.interfaces.topics import PROGRESS
from cascade.ops._collecting.file_lock import check_in_place, open_private
from cascade.ops._collecting.message import Change, Hole, Known, Received, Series, seconds_of
from cascade.ops._collecting.spans import Spans
from cascade.wire import EventMessage, parse_event


class LinesFile:
    """Each line is the envelope of one event with its ``topic`` and ``received``.

    The file is read once at the start, to know what is in it. A last line that a killed process has left
    unfinished is cut off. Progress, and what is retained, is not kept. The name of the session is in a file beside it.

    :param alone: refuse a file that another collector uses.
    :raises CommandError: if the file has anything else in it, or is in use.
    :raises OSError: if the disk fails.
    """

    def __init__(self, path: Path, *, alone: bool = False) -> None:
        self._path = path
        self._known: dict[Series, Known] = {}
        self._others: set[Hashable] = set()  # keys of what is not counted
        # without a buffer, which would keep what could not be written
        self._file = os.fdopen(open_private(path, alone=alone), "r+b", buffering=0)
        try:
            self._size = self._read()
        except BaseException:
            self._file.close()
            raise

    @property
    def session(self) -> str:
        """The name of the collector's session, which nobody can guess."""
        path = self._path.with_name(f"{self._path.name}.session")
        with os.fdopen(open_private(path, alone=False), "r+") as file:
            if not (found := file.read().strip()):
                found = secrets.token_hex(16)
                file.write(f"{found}\n")
        return found

    def store(self, batch: Sequence[Received], changes: Sequence[Change] = ()) -> dict[Series, Known]:
        """Append what is new of a batch and sync; return the series that it concerns, of duplicates too."""
        found: dict[Series, Known] = {}
        others = set[Hashable]()
        check_in_place(self._path, self._file.fileno())
        # not when it is opened: one that only reads must cut off nothing
        if self._file.tell() != self._size:
            self._file.truncate(self._size)
            self._file.seek(self._size)
        lines = [
            _line(message)
            for message in batch
            if message.event.kind != PROGRESS and self._is_new(message.event, message.at, found, others)
        ]
        rest = memoryview(b"".join(lines))
        while rest:
            rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())
        self._size = self._file.tell()
        self._known |= found
        self._others |= others
        return found

    def holes(self) -> list[Hole]:
        """Return what is missing, the oldest hole first."""
        found = [
            Hole(series, known.spans.missing, known.since)
            for series, known in self._known.items()
            if known.since is not None
        ]
        return sorted(found, key=lambda hole: hole.since)

    def before(self, series: Series, at: float) -> list[EventMessage]:
        """Return nothing: to find the events of a series the whole file would have to be read."""
        return []

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _is_new(
        self, event: EventMessage, at: float, found: dict[Series, Known], others: set[Hashable]
    ) -> bool:
        """Note an event in ``found`` or ``others``, which count once they are stored; return whether it is new."""
        series = Series(event.source, event.run_id, event.token, event.org_id, event.project_id)
        if event.kind == "events" and event.seq is not None:
            known = found.get(series)
            if known is None:
                stored = self._known.get(series, Known())
                known = found[series] = Known(Spans(stored.spans.ranges), stored.since)
            return known.add(event.seq, at)
        key = event.event_id if event.seq is None else (*series, event.kind, event.seq)
        if key and (key in self._others or key in others):
            return False
        others.add(key)
        return True

    def _read(self) -> int:
        """Read what is there; return where the last complete line ends."""
        size = 0
        lines = io.BufferedReader(self._file)
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                break
            size += len(line)
            data = _object(line)
            event = parse_event(data.get("topic", ""), line)
            if event is None:
                raise CommandError(
                    f"{self._path}:{number} is not a line of cascade collect", "name another file"
                )
            self._is_new(event, seconds_of(data.get("received"), 0.0), self._known, self._others)
        lines.detach()
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
