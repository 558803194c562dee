"""Recorded runs in a folder of SQLite files."""

from __future__ import annotations

import asyncio
import datetime as dt
import heapq
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cascade.interfaces import (
    Clock,
    ConfigurationError,
    Journal,
    RecordedStatus,
    Resume,
    RunInfo,
    RunSummary,
    StateUnavailable,
    StepState,
    StepSummary,
)
from cascade.interfaces.call_errors import explains_calls
from cascade.interfaces.logs import get_logger
from cascade.runtime._durable import control_file
from cascade.runtime._durable.folder import RunPaths, check, prepare
from cascade.runtime._durable.journal import SqliteJournal, UnrecordedJournal
from cascade.runtime._durable.opening import Opened, open_run
from cascade.runtime._durable.readers import read_runs, read_steps, read_values
from cascade.runtime._durable.resolving import Resolution, resolve
from cascade.runtime._durable.results import ResultCodec
from cascade.runtime._durable.retention import Retention, forget
from cascade.runtime._durable.writer import RunWriter
from cascade.runtime._storage.codec import Signer
from cascade.runtime._support.clock import SystemClock

_log = get_logger("cascade.state")


class SqliteState:
    """A :class:`cascade.interfaces.StateBackend` in a folder of its own: one SQLite file for each run.

    The folder is created with mode 0700. One process at a time has a run: a lock enforces that,
    which ends with the process. Results are written as JSON, with tags for types that JSON lacks,
    and otherwise pickled; each is signed with a key in the folder, and none with a wrong signature
    is loaded. Runs are read by other processes while they are written.

    :param power_safe: whether a commit survives a power cut; if not, it survives the process only.
    :param required: whether a run fails when the folder cannot be used; if not, one warning is
        logged, and the run continues unrecorded.
    :param required_results: whether a step fails whose result cannot be recorded; if not, one warning for its
        task is logged, and the step runs again when the run is continued.
    :param pickle: whether results may be pickled.
    :param max_value_bytes: size of an encoded result above which it is not recorded.
    :param keep: how long runs that have ended are kept; None: for ever. Interrupted runs stay.
    :param keep_runs: how many runs are kept; None: all. The oldest that have ended are deleted.
    :param retry_for: seconds for which a commit is tried again while the disk fails.
    :raises ConfigurationError: if a limit cannot work.
    """

    @explains_calls
    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        power_safe: bool = True,
        required: bool = True,
        required_results: bool = False,
        pickle: bool = True,
        max_value_bytes: int = 64 << 20,
        keep: dt.timedelta | None = dt.timedelta(days=30),
        keep_runs: int | None = 1000,
        retry_for: float = 30.0,
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
            raise ConfigurationError("SqliteState(folder)", "needs a folder, such as 'runs'", value=folder)
        _check_number("max_value_bytes", max_value_bytes, least=1)
        _check_number("keep_runs", 1 if keep_runs is None else keep_runs, least=1)
        if not isinstance(retry_for, int | float) or not 0 <= retry_for < float("inf"):
            raise ConfigurationError("SqliteState(retry_for=)", "needs seconds from 0", value=retry_for)
        if keep is not None and (not isinstance(keep, dt.timedelta) or keep < dt.timedelta(0)):
            raise ConfigurationError("SqliteState(keep=)", "needs a timedelta from 0, or None", value=keep)
        # Absolute: a later change of the working directory must not lead to another folder.
        self._folder = Path(folder).absolute()
        self._power_safe = power_safe
        self._required = required
        self._required_results = required_results
        self._pickle = pickle
        self._max_value_bytes = max_value_bytes
        self._retry_for = retry_for
        self._clock: Clock = clock or SystemClock()
        seconds = None if keep is None else keep.total_seconds()
        self._retention = Retention(self._folder, keep=seconds, keep_runs=keep_runs, clock=self._clock)
        self._journals: dict[SqliteJournal, RunPaths] = {}

    @property
    def folder(self) -> Path:
        """The folder."""
        return self._folder

    async def open(self, run: RunInfo, *, resume: Resume = Resume.AUTO) -> Journal:
        """Begin a run, or the next attempt of a recorded one."""
        opening = asyncio.ensure_future(asyncio.to_thread(self._open, run, Resume(resume)))
        try:
            opened, codec = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_give_back)
            raise
        except StateUnavailable as exc:
            if self._required:
                raise
            _log.warning("%s; the run continues unrecorded", exc)
            return UnrecordedJournal()
        return self._journal(opened, codec)

    def runs(
        self,
        *,
        status: RecordedStatus | None = None,
        target: str | None = None,
        since: float | None = None,
        run_id: str | None = None,
        limit: int = 100,
    ) -> list[RunSummary]:
        """Return the newest runs first."""
        found = (
            run
            for run in read_runs(self._folder, run_id)
            if (status is None or run.status is status)
            and (target is None or run.target == target)
            and (since is None or run.created >= since)
        )
        return heapq.nlargest(limit, found, key=lambda run: run.created)

    def steps(self, run_id: str, *, state: StepState | None = None) -> Iterator[StepSummary]:
        """Yield the steps of a run in the order of their keys."""
        if self._folder.exists():
            check(self._folder)
        yield from read_steps(RunPaths.of(self._folder, run_id), state)

    def values(self, run_id: str) -> Iterator[tuple[str, Any]]:
        """Yield the recorded values of a run by key; an ``UnreadableResultError`` in the place of one. Blocks.

        :raises StateUnavailable: if the store cannot be read.
        """
        if self._folder.exists():
            yield from read_values(RunPaths.of(self._folder, run_id), self._codec())

    async def resolve(self, run_id: str, key: str, resolution: Resolution, value: Any = None) -> None:
        """Record what a person has found out about a step that runs at most once and is in doubt.

        :param resolution: ``"value"``: it was done, and gave ``value``; ``"again"``: it was not done, and the next
            resume calls it; ``"fail"``: the same, and lists show it as failed until then.
        :raises UsageError: if the run is unknown, or the step is not in doubt.
        :raises RunInUseError: if a live process has the run.
        :raises UnstorableValueError: if the value cannot be recorded.
        :raises StateUnavailable: if the store cannot be used.
        """
        paths = RunPaths.of(self._folder, run_id)
        if not self._folder.exists():
            raise StateUnavailable(str(self._folder), "the folder does not exist")
        codec, now = await asyncio.to_thread(self._codec), self._clock.now()
        await asyncio.to_thread(resolve, paths, run_id, key, resolution, value, codec=codec, now=now)

    async def load_control(self, source: str) -> Mapping[str, Any] | None:
        """Return the constraints that were saved last for a source."""
        return await asyncio.to_thread(control_file.load, control_file.path_of(self._folder, source))

    async def save_control(self, source: str, content: Mapping[str, Any]) -> None:
        """Replace the saved constraints of a source."""
        await asyncio.to_thread(self._save_control, source, content)

    async def forget_control(self, source: str) -> None:
        """Delete the saved constraints of a source."""
        path = control_file.path_of(self._folder, source)
        await asyncio.to_thread(path.unlink, missing_ok=True)

    async def forget(self, run_id: str) -> None:
        """Delete a run with all that belongs to it."""
        try:
            await asyncio.to_thread(forget, RunPaths.of(self._folder, run_id), run_id)
        except OSError as exc:
            if isinstance(exc, StateUnavailable):
                raise
            raise StateUnavailable(str(self._folder), str(exc)) from exc

    async def prune(self) -> int:
        """Delete the runs that ``keep`` and ``keep_runs`` no longer allow; return how many.

        :raises OSError: if a file cannot be deleted.
        """
        return await asyncio.to_thread(self._retention.prune)

    async def close(self) -> None:
        """Close every journal."""
        for journal in [*self._journals]:
            await journal.close()

    def _save_control(self, source: str, content: Mapping[str, Any]) -> None:
        # The broker's constraints may arrive before the first run has made the folder.
        prepare(self._folder)
        control_file.save(control_file.path_of(self._folder, source), content)

    def _codec(self) -> ResultCodec:
        return ResultCodec(Signer(prepare(self._folder)), self._pickle, self._max_value_bytes)

    def _open(self, run: RunInfo, resume: Resume) -> tuple[Opened, ResultCodec]:
        codec = self._codec()
        paths = RunPaths.of(self._folder, run.run_id)
        opened = open_run(
            paths, run, resume=resume, codec=codec, power_safe=self._power_safe, clock=self._clock
        )
        return opened, codec

    def _journal(self, opened: Opened, codec: ResultCodec) -> SqliteJournal:
        journal = SqliteJournal(
            opened,
            writer=RunWriter(opened.file, codec, retry_for=self._retry_for, clock=self._clock),
            clock=self._clock,
            required=self._required,
            required_results=self._required_results,
            on_closed=self._closed,
        )
        self._journals[journal] = opened.file.paths
        return journal

    async def _closed(self, journal: SqliteJournal) -> None:
        """Forget a journal, and delete old runs; that must not fail the run that has just ended."""
        paths = self._journals.pop(journal)
        try:
            await asyncio.to_thread(self._retention.ended, paths)
        except OSError as exc:
            _log.warning("state %s: old runs cannot be deleted: %s", self._folder, exc)

    def __repr__(self) -> str:
        return f"<SqliteState {self._folder}>"


def _give_back(opening: asyncio.Future[tuple[Opened, ResultCodec]]) -> None:
    """Close a run whose caller was cancelled while it was opened."""
    if not opening.cancelled() and opening.exception() is None:
        opened, _ = opening.result()
        opened.file.close()
        opened.claim.release()


def _check_number(setting: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(
            f"SqliteState({setting}=)", f"needs a whole number from {least}", value=value
        )
