"""Accepted requests in a file of the state folder, so that they outlive the process."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from cascade.interfaces import StateUnavailable
from cascade.runtime._storage import private_files
from cascade.runtime._storage.database import FileKind, cause_of, open_to_write, reading
from cascade.runtime.serving._intake import Outcome, RequestedRun, State

T = TypeVar("T")

KEPT_SECONDS = 32 * 86_400.0
"""For how long a request is kept after its end: longer than a state folder keeps its run."""
_FILE = "requests.sqlite"
_KIND = FileKind(
    noun="a file of requests",
    migrated="when the service starts",
    application_id=0x43535251,
    version=1,
    schema="CREATE TABLE request (source TEXT, run_id TEXT, ended REAL, body BLOB, PRIMARY KEY (source, run_id));"
    "CREATE TABLE mark (source TEXT, workflow TEXT, schedule TEXT, at REAL, PRIMARY KEY (source, workflow))",
    unusable=StateUnavailable,
)


class Mark(NamedTuple):
    """No tick up to this time starts any more."""

    workflow: str
    schedule: str
    """What it was; another schedule begins anew."""
    at: float
    """In seconds since the epoch."""


class _Row(msgspec.Struct):
    """A request on disk."""

    workflow: str
    id: str
    params: dict[str, Any]
    digest: bytes
    received: float
    by: str
    state: str
    waits: bool
    answered: bool
    outcome: tuple[str, float, str, float | None] | None = None
    value: Any = None
    has_value: bool = False
    traceparent: str = ""


class RequestStore:
    """Keeps the accepted requests of one source; every method returns when the file is written.

    :raises StateUnavailable: from each method, if the file cannot be used.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self._folder = folder
        self._path = folder / _FILE
        self._source = source
        self._connection: sqlite3.Connection | None = None
        # one thread at a time uses the connection, and rows are written in the order of the calls
        self._lock = asyncio.Lock()

    async def prepare(self) -> None:
        """Make the file, and its folder, if they are missing."""
        await self._in_thread(lambda _: None)

    async def load(self) -> list[RequestedRun]:
        """Return the requests of this source, those that ended first at the begin; forget the oldest."""
        return await self._in_thread(self._load)

    async def put(self, run: RequestedRun) -> None:
        """Write a request as it is now."""
        body, ended = _encoded(run), run.outcome.ended if run.outcome is not None else None

        def write(connection: sqlite3.Connection) -> None:
            row = (self._source, run.run_id, ended, body)
            connection.execute("INSERT OR REPLACE INTO request VALUES (?, ?, ?, ?)", row)

        await self._in_thread(write)

    async def put_ticks(self, runs: Sequence[RequestedRun], mark: Mark | None) -> None:
        """Write runs of ticks, and the latest tick that is decided, all or nothing."""
        rows = [(self._source, run.run_id, None, _encoded(run)) for run in runs]

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN")
            try:
                connection.executemany("INSERT OR REPLACE INTO request VALUES (?, ?, ?, ?)", rows)
                if mark is not None:
                    connection.execute(
                        "INSERT OR REPLACE INTO mark VALUES (?, ?, ?, ?)", (self._source, *mark)
                    )
                connection.execute("COMMIT")
            except BaseException:
                # a full disk has ended it already
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

        await self._in_thread(write)

    async def marks(self) -> list[Mark]:
        """Return the latest tick that was decided for each workflow."""

        def read(connection: sqlite3.Connection) -> list[Mark]:
            rows = connection.execute(
                "SELECT workflow, schedule, at FROM mark WHERE source = ?", (self._source,)
            )
            return [Mark(*row) for row in rows]

        return await self._in_thread(read)

    async def delete(self, run: RequestedRun) -> None:
        """Forget a request."""

        def delete(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM request WHERE source = ? AND run_id = ?", (self._source, run.run_id)
            )

        await self._in_thread(delete)

    async def close(self) -> None:
        """Close the file. Idempotent."""
        async with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                await asyncio.to_thread(connection.close)

    def _load(self, connection: sqlite3.Connection) -> list[RequestedRun]:
        connection.execute("DELETE FROM request WHERE ended < ?", (time.time() - KEPT_SECONDS,))
        rows = connection.execute(
            "SELECT body FROM request WHERE source = ? ORDER BY ended IS NULL, ended, rowid", (self._source,)
        )
        return [_decoded(body) for (body,) in rows]

    async def _in_thread(self, work: Callable[[sqlite3.Connection], T]) -> T:
        async with self._lock:
            # a cancelled caller leaves the thread behind, and the next one has to wait for it
            return await _finished(
                asyncio.create_task(asyncio.to_thread(self._work, work), name="cascade requests")
            )

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                private_files.prepare(self._folder, StateUnavailable)
                self._connection = open_to_write(self._path, _KIND, power_safe=True)
            return work(self._connection)
        except (sqlite3.Error, OSError) as exc:
            if isinstance(exc, StateUnavailable):
                raise
            raise StateUnavailable(str(self._path), cause_of(exc)) from exc


def read_marks(folder: Path) -> list[tuple[str, Mark]]:
    """Return the latest tick that was decided, with its source, for each workflow; the file is never changed.

    :raises StateUnavailable: if the file cannot be read.
    """
    path = folder / _FILE
    if not path.exists():
        return []
    try:
        with reading(path, _KIND) as connection:
            query = "SELECT source, workflow, schedule, at FROM mark ORDER BY source, workflow"
            rows = [] if connection is None else connection.execute(query).fetchall()
    except StateUnavailable:
        raise
    except (sqlite3.Error, OSError) as exc:
        raise StateUnavailable(str(path), cause_of(exc)) from exc
    return [(source, Mark(*mark)) for source, *mark in rows]


async def _finished(task: asyncio.Task[T]) -> T:
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def _encoded(run: RequestedRun) -> bytes:
    outcome = run.outcome
    row = _Row(
        *(run.workflow, run.id, dict(run.params), run.digest, run.received, run.by, run.state.value),
        *(run.waits, run.answered),
        traceparent=run.traceparent,
    )
    if outcome is not None:
        row.outcome = (outcome.status, outcome.ended, outcome.error, outcome.duration_ms)
        if outcome.value is not msgspec.UNSET:
            row.value, row.has_value = outcome.value, True
    return msgspec.msgpack.encode(row)


def _decoded(body: bytes) -> RequestedRun:
    row = msgspec.msgpack.decode(body, type=_Row)
    outcome = None
    if row.outcome is not None:
        outcome = Outcome(*row.outcome, row.value if row.has_value else msgspec.UNSET)
    return RequestedRun(
        *(row.workflow, row.id, row.params, row.digest, row.received, row.by, State(row.state), outcome),
        *(row.waits, row.answered),
        traceparent=row.traceparent,
    )
