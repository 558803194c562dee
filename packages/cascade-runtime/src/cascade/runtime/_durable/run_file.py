"""The file of one run as its process writes it: statements, transactions, and the files of large results.

Calls block. One thread at a time uses an object.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cascade.interfaces import PendingEvent, RunInfo, RunInUseError, StepState
from cascade.interfaces.distribution import VERSION
from cascade.runtime._durable.crash_points import reach
from cascade.runtime._durable.folder import RunPaths
from cascade.runtime._durable.index import KEPT, StepIndex
from cascade.runtime._durable.results import Stored

_BOOT = Path("/proc/sys/kernel/random/boot_id")

_START = """
INSERT INTO step (key, name, state, inputs, code, attempt, starts, tries, began, error)
VALUES (?, ?, ?, ?, ?, ?, 1, 0, ?, '')
ON CONFLICT (key) DO UPDATE SET name = excluded.name, state = excluded.state, inputs = excluded.inputs,
code = excluded.code, tries = CASE attempt WHEN excluded.attempt THEN tries ELSE 0 END, attempt = excluded.attempt,
starts = starts + 1, began = excluded.began, ended = NULL, not_before = NULL, error = ''
"""
_START_AND_KEEP = """
INSERT INTO step (key, name, state, inputs, code, attempt, starts, tries, began, ended, error, seq, token)
VALUES (?, ?, ?, ?, ?, ?, 1, 0, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET name = excluded.name, state = excluded.state, inputs = excluded.inputs,
code = excluded.code, tries = CASE attempt WHEN excluded.attempt THEN tries ELSE 0 END, attempt = excluded.attempt,
starts = starts + 1, began = excluded.began, ended = excluded.ended, not_before = NULL, error = excluded.error,
seq = excluded.seq, token = excluded.token
"""
_KEPT_STEPS = """
SELECT key, inputs, name, state, code, attempt, starts, tries FROM step WHERE state IN (?, ?)
"""
_OTHER_STEPS = """
SELECT key, name, state, inputs, code, attempt, starts, tries, began, ended, not_before, error FROM step
WHERE state IS NULL OR state NOT IN (?, ?)
"""
_RESULTS = "SELECT key, encoding, payload, mac, file, size FROM result"
_AT_ONCE = 500
"""Keys of one statement: old versions of SQLite take 999."""
_BEGIN_RUN = """
INSERT INTO run (run_id, target, status, created, error, by, params, params_mac, env, shape)
VALUES (?, ?, 'Running', ?, '', ?, ?, ?, ?, ?)
"""
_BEGIN_ATTEMPT = """
INSERT INTO attempt (n, token, host, pid, boot, source, cascade, python, started, kept)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


class Before(NamedTuple):
    """How a run stood before an attempt."""

    status: str
    ended: float | None
    error: str


class RunFile:
    """An open file of a claimed run."""

    def __init__(self, connection: sqlite3.Connection, paths: RunPaths) -> None:
        self._connection = connection
        self._run = connection.execute
        self.paths = paths
        self.attempt = 0
        self._token = b""
        # key of a step -> the file of its result
        self._large: dict[str, str] = {}
        # files of results that the transaction replaces or deletes
        self._unlink: list[str] = []
        # what the transaction has changed of ``_large``
        self._before: dict[str, str | None] = {}

    # Beginning

    def recorded(self) -> dict[str, Any] | None:
        """Return the columns of the run; None in a new file."""
        cursor = self._run("SELECT * FROM run")
        row = cursor.fetchone()
        return (
            None
            if row is None
            else {item[0]: value for item, value in zip(cursor.description, row, strict=True)}
        )

    def begin_run(self, run: RunInfo, *, now: float, params: Stored, env: str) -> None:
        """Insert the run; in a transaction."""
        payload = params.encoding.encode() + b"\0" + (params.payload or b"")
        row = (run.run_id, run.target, now, run.by, payload, params.mac, env, run.shape)
        self._run(_BEGIN_RUN, row)

    def begin_attempt(self, run: RunInfo, *, now: float, kept: int) -> None:
        """Insert the next attempt, with a new token, and how many values it begins with; in a transaction."""
        (last,) = self._run("SELECT max(n) FROM attempt").fetchone()
        self.attempt, self._token = (last or 0) + 1, os.urandom(16)
        made_by = (VERSION, platform.python_version(), now, kept)
        process = (platform.node(), os.getpid(), _boot(), run.source)
        self._run(_BEGIN_ATTEMPT, (self.attempt, self._token, *process, *made_by))
        self._run("UPDATE run SET status = 'Running', ended = NULL, error = ''")

    def continue_last_attempt(self) -> None:
        """Write as a part of the last attempt, whose process has ended."""
        self.attempt, self._token = self._run(
            "SELECT n, token FROM attempt ORDER BY n DESC LIMIT 1"
        ).fetchone() or (0, b"")

    def deaths(self) -> tuple[int, int]:
        """Return the last attempt, and how often in a row a process died with no step recorded in between.

        0 if the last attempt has ended in an orderly way; one that was refused, and so started nothing,
        does not count. Call it before the next attempt begins.
        """
        last = deaths = 0
        for number, ended, recorded, idle in self._run(
            "SELECT n, ended, EXISTS (SELECT 1 FROM step WHERE attempt = n AND state IN (?, ?)), "
            "NOT EXISTS (SELECT 1 FROM step WHERE attempt = n) FROM attempt ORDER BY n DESC",
            KEPT,
        ):
            if ended is not None and idle and not last:
                continue
            last = last or number
            if ended is not None:
                break
            deaths += 1
            if recorded:
                break
        return last, deaths

    def index(self) -> StepIndex:
        """Return what is known of all steps, and learn which results have files of their own.

        Call it before the next attempt begins.

        :raises ValueError: if a row is not one that Cascade has written.
        """
        self.find_large()
        last, deaths = self.deaths()
        kept, others = self._run(_KEPT_STEPS, KEPT), self._run(_OTHER_STEPS, KEPT)
        return StepIndex(kept, others, last=last, deaths=deaths)

    def keys_in(self, state: StepState) -> list[str]:
        """Return the keys of the steps in a state, in order."""
        return [key for (key,) in self._run("SELECT key FROM step WHERE state = ? ORDER BY key", (state,))]

    def find_large(self) -> None:
        """Learn which results have files of their own, which are deleted with them."""
        self._large = dict(self._run("SELECT key, file FROM result WHERE file IS NOT NULL"))

    def state_of(self, key: str) -> StepState | None:
        """Return the state of a step; None for an unknown one."""
        row = self._run("SELECT state FROM step WHERE key = ?", (key,)).fetchone()
        return None if row is None else StepState(row[0])

    def delete_orphans(self) -> None:
        """Delete the files of large results that no row names: their process died before the commit."""
        named = set(self._large.values())
        for path in self.paths.large_results():
            if path.name not in named:
                path.unlink(missing_ok=True)

    # Writing, in a transaction

    def transact(self, write: Callable[[], None]) -> None:
        """Commit what ``write`` does, all or none; then delete the files that no row names.

        :raises RunInUseError: if another process has started an attempt since; nothing is written.
        :raises sqlite3.Error: if the file fails; nothing is written.
        """
        reach("before-begin")
        self._run("BEGIN IMMEDIATE")
        try:
            self._check_token()
            write()
            reach("in-transaction")
            self._run("COMMIT")
        except BaseException:
            self._restore_files()
            if self._connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._run("ROLLBACK")
            raise
        self._delete_files()

    def start(self, key: str, state: StepState, *columns: Any) -> None:
        """Record a start; ``columns`` are name, inputs, code and the time."""
        name, inputs, code, now = columns
        self._run(_START, (key, name, state, inputs, code, self.attempt, now))

    def retry(self, key: str, *, tries: int, not_before: float, error: str) -> None:
        """Record a failed try."""
        self._run(
            "UPDATE step SET state = ?, tries = ?, not_before = ?, error = ? WHERE key = ?",
            (StepState.RETRYING, tries, not_before, error, key),
        )

    def keep(
        self, state: StepState, stored: Stored, *, now: float, event: tuple[int | None, str], error: str = ""
    ) -> None:
        """Record a step's value or plan; ``event`` has the ``seq`` and the token of what reports it."""
        columns = (state, self.attempt, now, *event, error)
        changed = self._run(
            "UPDATE step SET state = ?, attempt = ?, ended = ?, seq = ?, token = ?, error = ? WHERE key = ?",
            (*columns, stored.key),
        )
        if not changed.rowcount:
            self._run(
                "INSERT INTO step (state, attempt, ended, seq, token, error, key, starts, tries) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0)",
                (*columns, stored.key),
            )
        self._store(stored)

    def start_and_keep(
        self,
        state: StepState,
        stored: Stored,
        *started: Any,
        now: float,
        event: tuple[int | None, str],
        error: str = "",
    ) -> None:
        """Record a start and a value or plan at once; ``started`` are name, inputs, code and the time of the start."""
        name, inputs, code, began = started
        self._run(
            _START_AND_KEEP, (stored.key, name, state, inputs, code, self.attempt, began, now, error, *event)
        )
        self._store(stored)

    def keep_events(self, events: Sequence[PendingEvent]) -> None:
        """Record events that may still be lost."""
        if events:
            self._connection.executemany("INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?)", events)

    def forget_events(self, before: int) -> None:
        """Delete the events whose numbers are below this."""
        self._run("DELETE FROM event WHERE number < ?", (before,))

    def fail(self, key: str, error: str, *, now: float) -> None:
        """Record that a step failed for good."""
        self._run(
            "UPDATE step SET state = ?, attempt = ?, ended = ?, error = ? WHERE key = ?",
            (StepState.FAILED, self.attempt, now, error, key),
        )

    def drop_start(self, key: str) -> None:
        """Forget a step whose value is not kept, unless it runs at most once: then the doubt stays."""
        self._run("DELETE FROM step WHERE key = ? AND state <> ?", (key, StepState.IN_DOUBT))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete steps and their results."""
        for key in keys:
            self._forget_file(key)
            self._run("DELETE FROM step WHERE key = ?", (key,))
            self._run("DELETE FROM result WHERE key = ?", (key,))

    def delete_below(self, beginning: str) -> None:
        """Delete the steps whose keys begin with this text, and their results."""
        between = (beginning, beginning[:-1] + chr(ord(beginning[-1]) + 1))
        for key in [key for key in self._large if key.startswith(beginning)]:
            self._forget_file(key)
        for table in ("step", "result"):
            self._run(f"DELETE FROM {table} WHERE key >= ? AND key < ?", between)

    def end(self, status: str, error: str, *, now: float, ended: float | None) -> None:
        """Record how the run and this attempt ended."""
        self._run("UPDATE run SET status = ?, ended = ?, error = ?", (status, ended, error))
        self._run("UPDATE attempt SET ended = ?, how = ? WHERE n = ?", (now, status, self.attempt))

    def interrupt(self, *, now: float, before: Before | None) -> None:
        """Record that this attempt has ended, and the run has not, or is again as it was ``before``."""
        if before is None:
            self._run("UPDATE run SET status = 'Interrupted'")
        else:
            self._run("UPDATE run SET status = ?, ended = ?, error = ?", before)
        how = "Interrupted" if before is None else "Refused"
        self._run("UPDATE attempt SET ended = ?, how = ? WHERE n = ?", (now, how, self.attempt))

    # Reading, and the end

    def results(self, keys: Sequence[str]) -> dict[str, Stored]:
        """Return the rows of steps' results, by key; many with each statement."""
        found: dict[str, Stored] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(some))
            rows = self._run(f"{_RESULTS} WHERE key IN ({marks})", some)
            found.update((row[0], Stored._make(row)) for row in rows)
        return found

    def pending_events(self) -> list[PendingEvent]:
        """Return the recorded events that may still be lost, in order."""
        return [PendingEvent(*row) for row in self._run("SELECT * FROM event ORDER BY number")]

    def close(self) -> None:
        """Move SQLite's log into the database and close it: a single file, which can be read and copied alone.

        While a reader has the file, the log stays; the next process to open the run goes on with it.
        """
        with contextlib.suppress(sqlite3.Error):
            self._run("PRAGMA wal_checkpoint(TRUNCATE)")
            reach("checkpoint")
            self._run("PRAGMA journal_mode = DELETE")
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _check_token(self) -> None:
        last = self._run(
            "SELECT n, token, host, pid, started FROM attempt ORDER BY n DESC LIMIT 1"
        ).fetchone()
        if last is not None and self._token and last[1] != self._token:
            (run_id,) = self._run("SELECT run_id FROM run").fetchone()
            raise RunInUseError(run_id, host=last[2], pid=last[3], since=last[4])

    def _store(self, stored: Stored) -> None:
        self._forget_file(stored.key)
        if stored.file is not None:
            self._before.setdefault(stored.key, None)
            self._large[stored.key] = stored.file
        self._run("INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?, ?, ?)", stored)

    def _forget_file(self, key: str) -> None:
        file = self._large.pop(key, None)
        if file is not None:
            self._before.setdefault(key, file)
            self._unlink.append(file)

    def _restore_files(self) -> None:
        """Know again which file each result had before a transaction that was not committed; delete none of them."""
        for key, file in self._before.items():
            if file is None:
                self._large.pop(key, None)
            else:
                self._large[key] = file
        self._before.clear()
        self._unlink.clear()

    def _delete_files(self) -> None:
        for file in self._unlink:
            with contextlib.suppress(OSError):
                (self.paths.folder / file).unlink()
        self._unlink.clear()
        self._before.clear()


def _boot() -> str:
    """Return an id of this start of the machine, "" where the system has none."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
