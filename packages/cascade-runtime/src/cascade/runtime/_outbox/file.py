"""A sender's file: its rows, its bounds, its counters. Calls block; one thread uses an object."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cascade.interfaces import Clock
from cascade.runtime._outbox.schema import KIND, State
from cascade.runtime._storage import database
from cascade.runtime._storage.database import is_damaged
from cascade.runtime._storage.private_files import file_name
from cascade.runtime._storage.process_lock import ProcessLock

FULL = "outbox full"
OLD = "too old"
MAX_ASIDE = 1_000
"""Messages that are put aside, at most; the oldest are dropped and counted."""
RESERVED = 1 << 40
"""Numbers before those of a new sender: rows that it adopts are older than its own."""

_SLICE = 50
# a tenth of the time of decoding it all
_EVENT_ID = re.compile(r'"event_id": "([^"]*)"')
_WRITE = """
INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, 0, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state
"""
_CLOCK_JUMP = 3600.0
_HIGHEST = (1 << 63) - 1


class Row(NamedTuple):
    """A message; ``number`` is counted by the sender from 0, and older messages have negative ones."""

    number: int
    topic: str
    payload: str
    qos: int


class Stored(NamedTuple):
    """What a file holds: the range of numbers of the messages that wait, and how many they are."""

    first: int
    last: int
    size: int


class OutboxPaths(NamedTuple):
    """The files of one sender."""

    database: Path
    lock: Path

    @classmethod
    def of(cls, folder: Path, source: str) -> OutboxPaths:
        """Return those of the sender with this source."""
        name = file_name(source)
        return cls(folder / f"{name}.db", folder / f"{name}.lock")

    def beside(self, version: int) -> OutboxPaths:
        """Return those for a Cascade that writes this version, where a later one has written the sender's file."""
        database = self.database.with_suffix(f".v{version}.db")
        return OutboxPaths(database, database.with_suffix(".lock"))

    @classmethod
    def all(cls, folder: Path) -> list[OutboxPaths]:
        """Return those of every sender in a folder, the file that was changed first before the others."""
        found = [cls(path, path.with_suffix(".lock")) for path in folder.glob("*.db")]
        return sorted(found, key=lambda paths: _changed(paths.database))


class OutboxFile:
    """An open file whose lock is held.

    :param keep_sent: whether rows that were sent wait for a collector; otherwise they are sent again.
    :raises OutboxUnavailable: if it belongs to another program or to a newer version.
    :raises sqlite3.Error: if the disk fails.
    :raises OSError: if it cannot be created.
    """

    def __init__(
        self,
        paths: OutboxPaths,
        lock: ProcessLock,
        *,
        clock: Clock,
        power_safe: bool,
        max_bytes: int,
        max_age: float,
        keep_sent: bool,
    ) -> None:
        self.paths = paths
        self.damaged = ""
        """How a damaged file was replaced; "" if it was not."""
        self.on_close: Callable[[], None] | None = None
        """Called when the file is closed."""
        self._lock = lock
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._times = clock.now(), time.monotonic()
        self._at_end: list[Callable[[bool], None]] = []
        self._connection = self._open(power_safe=power_safe)
        self._run = self._connection.execute
        self._keep_sent = keep_sent
        if not keep_sent:
            self._run("UPDATE message SET state = ? WHERE state = ?", (State.WAITS, State.SENT))
        (highest,) = self._run("SELECT coalesce(max(id), 0) FROM message").fetchone()
        self._highest = highest
        self._next_adopted = highest + 1
        self.base = highest + 1 + RESERVED if highest else RESERVED
        (self._page_size,) = self._run("PRAGMA page_size").fetchone()

    def waiting(self) -> Stored:
        """Return what waits to be sent from earlier processes."""
        first, last, count = self._run(
            "SELECT min(id), max(id), count(*) FROM message WHERE state = ? AND id <= ?",
            (State.WAITS, self._highest),
        ).fetchone()
        return Stored(first - self.base, last - self.base, count) if count else Stored(0, -1, 0)

    @contextlib.contextmanager
    def transact(self) -> Iterator[None]:
        """Commit what is done inside, or none of it; then make the calls of :meth:`at_end`."""
        committed, times = False, self._times
        try:
            with _transaction(self._connection):
                yield
            committed = True
        finally:
            if not committed:
                self._times = times
            calls, self._at_end = self._at_end, []
            for call in calls:
                call(committed)

    def at_end(self, call: Callable[[bool], None]) -> None:
        """Make a call at the end of this transaction, with whether it was committed."""
        self._at_end.append(call)

    def write(self, rows: Sequence[Row], state: State) -> int:
        """Store messages, or change the state of those that are stored; return how many old ones were dropped."""
        now = self._clock.now()
        self._follow_clock(now)
        dropped = self._drop_old(now)
        # a file that has grown beyond its bound would stay large
        for start in range(0, len(rows), _SLICE):
            self._connection.executemany(
                _WRITE, (self._columns(row, now, state) for row in rows[start : start + _SLICE])
            )
            dropped += self._drop_surplus()
        if state is State.ASIDE:
            self._bound_aside()
        return dropped

    def _columns(self, row: Row, now: float, state: State) -> tuple[object, ...]:
        event_id = _event_id(row.payload)
        return row.number + self.base, row.topic, row.payload, row.qos, now, event_id, state

    def delete(self, numbers: Iterable[int]) -> None:
        """Forget messages that the other side has."""
        self._connection.executemany(
            "DELETE FROM message WHERE id = ?", ((number + self.base,) for number in numbers)
        )

    def reports(self) -> dict[str, str]:
        """Return the last reports that are kept, by topic."""
        return last_reports(self._connection)

    def keep_reports(self, rows: Sequence[Row]) -> None:
        """Keep these last reports instead of those that are kept."""
        self._run("DELETE FROM message WHERE state = ?", (State.REPORT,))
        if rows:
            self.write(rows, State.REPORT)

    def page(self, first: int, last: int, limit: int) -> list[Row]:
        """Return the oldest messages that wait, of a range of numbers."""
        rows = self._run(
            "SELECT id, topic, payload, qos FROM message WHERE id BETWEEN ? AND ? AND state = ? ORDER BY id LIMIT ?",
            (first + self.base, last + self.base, State.WAITS, limit),
        )
        return [Row(number - self.base, topic, payload, qos) for number, topic, payload, qos in rows]

    def acknowledge(
        self, upto: Mapping[str, int], missing: Mapping[str, Sequence[Sequence[int]]]
    ) -> int | None:
        """Forget the sent events that a collector has stored; return the highest of their numbers, None without any."""
        stored: list[tuple[int]] = []
        for series, last in upto.items():
            start = f"{series}-"
            for number, text in self._run(
                "SELECT id, substr(event_id, ?) FROM message WHERE state = ? AND event_id >= ? AND event_id < ?",
                (len(start) + 1, State.SENT, start, f"{series}."),
            ):
                if text.isdecimal() and int(text) <= last and not _within(int(text), missing.get(series, ())):
                    stored.append((number,))
        self._connection.executemany("DELETE FROM message WHERE id = ?", stored)
        return max(stored)[0] - self.base if stored else None

    def has_unsent(
        self,
        ranges: Iterable[tuple[int, int]],
        series: str,
        upto: int,
        *,
        missing: Sequence[Sequence[int]],
        in_hand: Collection[int],
    ) -> bool:
        """Return whether an event that was never sent is within what a collector claims to have.

        :param ranges: numbers of messages that wait in the file; some may be between them that do not.
        :param in_hand: numbers of messages that the connector has: they may have arrived.
        """
        start = f"{series}-"
        for first, last in ranges:
            for number, text in self._run(
                "SELECT id, substr(event_id, ?) FROM message WHERE id BETWEEN ? AND ? AND state = ? AND tries = 0 "
                "AND event_id >= ? AND event_id < ?",
                (
                    len(start) + 1,
                    first + self.base,
                    last + self.base,
                    State.WAITS,
                    start,
                    f"{series}.",
                ),
            ):
                claimed = text.isdecimal() and int(text) <= upto and not _within(int(text), missing)
                if claimed and number - self.base not in in_hand:
                    return True
        return False

    def has_sent_again(self, before: int) -> bool:
        """Return whether an event ``before`` a number is sent again or was, and is not acknowledged."""
        return bool(
            self._run(
                "SELECT 1 FROM message NOT INDEXED WHERE state < ? AND id < ? AND tries > 0 LIMIT 1",
                (State.ASIDE, before + self.base),
            ).fetchone()
        )

    def send_again(self, before: int | None = None) -> Stored:
        """Have what was sent and not acknowledged wait again; return its numbers.

        :param before: only what was sent once, and before this number; default: all.
        """
        below, most = (_HIGHEST, _HIGHEST) if before is None else (before + self.base, 0)
        first, last, count = self._run(
            "SELECT min(id), max(id), count(*) FROM message NOT INDEXED WHERE state = ? AND id < ? AND tries <= ?",
            (State.SENT, below, most),
        ).fetchone()
        if count:
            self._run(
                "UPDATE message SET state = ?, tries = tries + 1 WHERE state = ? AND id BETWEEN ? AND ? AND tries <= ?",
                (State.WAITS, State.SENT, first, last, most),
            )
        return Stored(first - self.base, last - self.base, count) if count else Stored(0, -1, 0)

    def is_settled(self) -> bool:
        """Return whether no message waits, neither to be sent nor for a collector."""
        return not self._run("SELECT 1 FROM message WHERE state < ? LIMIT 1", (State.ASIDE,)).fetchone()

    def unsent(self) -> int:
        """Return how many messages wait to be sent."""
        (count,) = self._run("SELECT count(*) FROM message WHERE state = ?", (State.WAITS,)).fetchone()
        return int(count)

    def unsettled(self) -> int:
        """Return how many messages wait, to be sent or for a collector."""
        (count,) = self._run("SELECT count(*) FROM message WHERE state < ?", (State.ASIDE,)).fetchone()
        return int(count)

    def adopt(self, rows: Sequence[tuple[object, ...]]) -> Stored:
        """Take rows of another sender's file, before all own ones; return their numbers.

        Those that it had sent are sent again, unless a collector may still acknowledge them.
        """
        first = self._next_adopted
        self._connection.executemany(
            "INSERT INTO message VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (first + place, *row, state if self._keep_sent else State.WAITS)
                for place, (*row, state) in enumerate(rows)
            ),
        )
        self._next_adopted += len(rows)
        return Stored(first - self.base, self._next_adopted - 1 - self.base, len(rows))

    def close(self) -> None:
        """Close the file and release its lock; delete it if nothing is in it."""
        empty = False
        if self.on_close is not None:
            self.on_close()
        with contextlib.suppress(sqlite3.Error):
            empty = not self._run("SELECT 1 FROM message UNION SELECT 1 FROM counter LIMIT 1").fetchone()
            self._run("PRAGMA wal_checkpoint(TRUNCATE)")
            self._run("PRAGMA journal_mode = DELETE")
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()
        if empty:
            delete_files(self.paths)
        self._lock.release()

    def _open(self, *, power_safe: bool) -> sqlite3.Connection:
        try:
            return database.open_to_write(self.paths.database, KIND, power_safe=power_safe)
        except sqlite3.Error as exc:
            if not is_damaged(exc):
                raise
            self.damaged = f"is damaged ({exc}) and is kept as {self.paths.database.name}.damaged"
            self.paths.database.rename(f"{self.paths.database}.damaged")
            return database.open_to_write(self.paths.database, KIND, power_safe=power_safe)

    def _drop_old(self, now: float) -> int:
        dropped = 0
        while True:
            row = self._run("SELECT stored FROM message ORDER BY id LIMIT 1").fetchone()
            if row is None or row[0] >= now - self._max_age:
                break
            dropped += self._run(
                "DELETE FROM message WHERE stored < ? AND id IN (SELECT id FROM message ORDER BY id LIMIT ?)",
                (now - self._max_age, _SLICE),
            ).rowcount
        return self._count(OLD, dropped)

    def _drop_surplus(self) -> int:
        dropped = 0
        while self._used() > self._max_bytes:
            deleted = self._run(
                "DELETE FROM message WHERE id IN (SELECT id FROM message ORDER BY id LIMIT ?)", (_SLICE,)
            ).rowcount
            if not deleted:
                break
            dropped += deleted
        return self._count(FULL, dropped)

    def _bound_aside(self) -> None:
        surplus = self._run(
            "DELETE FROM message WHERE state = 3 AND id <= "
            "(SELECT id FROM message WHERE state = 3 ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (MAX_ASIDE,),
        ).rowcount
        self._count("put aside", surplus)

    def _count(self, reason: str, more: int) -> int:
        if more:
            self._run(
                "INSERT INTO counter VALUES (?, ?) ON CONFLICT (reason) DO UPDATE SET count = count + excluded.count",
                (reason, more),
            )
        return more

    def _used(self) -> int:
        (pages,) = self._run("PRAGMA page_count").fetchone()
        (free,) = self._run("PRAGMA freelist_count").fetchone()
        return int(pages - free) * int(self._page_size)

    def _follow_clock(self, now: float) -> None:
        """Move the times of all rows with a clock that was set: the messages are not older because of that."""
        wall, steady = self._times
        self._times = now, time.monotonic()
        jump = (now - wall) - (self._times[1] - steady)
        if abs(jump) > _CLOCK_JUMP:
            self._run("UPDATE message SET stored = stored + ?", (jump,))


def last_reports(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the last reports in a file, by topic."""
    return dict(connection.execute("SELECT topic, payload FROM message WHERE state = ?", (State.REPORT,)))


def delete_files(paths: OutboxPaths) -> None:
    """Delete the files of a locked sender, the lock last."""
    for path in (paths.database, *paths.database.parent.glob(f"{paths.database.name}-*"), paths.lock):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    with connection:
        yield


def _event_id(payload: str) -> str | None:
    if (found := _EVENT_ID.search(payload)) is None:
        return None
    if "\\" not in found[1]:
        return found[1]
    try:
        event_id = json.loads(payload).get("event_id")
    except (ValueError, AttributeError, RecursionError):
        return None
    return event_id if isinstance(event_id, str) else None


def _within(number: int, ranges: Iterable[Sequence[int]]) -> bool:
    return any(first <= number <= last for first, last in ranges)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
