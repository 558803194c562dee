"""The folder of recorded runs: its signing key, the names of a run's files, and the claim of a run's process."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cascade.interfaces import RunInUseError, StateUnavailable
from cascade.runtime._storage import private_files, process_lock
from cascade.runtime._storage.database import is_full
from cascade.runtime._storage.private_files import file_name
from cascade.runtime._storage.process_lock import LockedError, ProcessLock
from cascade.runtime._storage.signing_key import load_signing_key

_KEY = "_secret"


def prepare(folder: Path) -> bytes:
    """Create the folder with mode 0700 if it is missing; return its signing key, created if it is missing.

    :raises StateUnavailable: if it cannot be created, other users can use it, or it is on a network.
    """
    try:
        private_files.prepare(folder, StateUnavailable)
        return load_signing_key(folder / _KEY)
    except OSError as exc:
        if isinstance(exc, StateUnavailable):
            raise
        if exc.strerror is None:
            # a text of our own
            raise StateUnavailable(str(folder), str(exc)) from exc
        cause = f"cannot be used as a folder: {exc.strerror}"
        if is_full(exc):
            raise StateUnavailable(str(folder), f"{cause}; free some space") from exc
        raise StateUnavailable(str(folder), f"{cause}: {exc.filename}; name another one") from exc


def check(folder: Path) -> None:
    """Check owner, mode and file system of an existing folder.

    :raises StateUnavailable: with what is wrong and what to do.
    :raises OSError: if it is missing.
    """
    private_files.check(folder, StateUnavailable)


_LARGE = re.compile(r"[0-9a-f]{16}\.result(\.part)?")
_FURTHER = re.compile(rf"{_LARGE.pattern}|db\.v\d+")
"""Large results, and copies of the database from before a migration."""


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The files of one run."""

    folder: Path
    name: str

    @classmethod
    def of(cls, folder: Path, run_id: str) -> RunPaths:
        """Return those of the run with this id."""
        return cls(folder, file_name(run_id))

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.folder / f"{self.name}.db"

    @property
    def logs(self) -> tuple[Path, Path]:
        """SQLite's log of the database, and its index."""
        return self.folder / f"{self.name}.db-wal", self.folder / f"{self.name}.db-shm"

    @property
    def lock(self) -> Path:
        """The file that the run's process has locked."""
        return self.folder / f"{self.name}.lock"

    def new_result(self) -> Path:
        """Return a new name for a large result."""
        return self.folder / f"{self.name}.{secrets.token_hex(8)}.result"

    def large_results(self) -> Iterator[Path]:
        """Yield the files of large results, finished or not."""
        return self._named(_LARGE)

    def all(self) -> Iterator[Path]:
        """Yield every file of the run that may exist: first the database, last the lock."""
        yield self.database
        yield from self.logs
        yield from self._named(_FURTHER)
        yield self.lock

    def _named(self, ends: re.Pattern[str]) -> Iterator[Path]:
        """Yield the files whose names end like this behind that of the run; a folder may have thousands of others."""
        beginning = f"{self.name}."
        with os.scandir(self.folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(beginning)]
        yield from (self.folder / name for name in names if ends.fullmatch(name, len(beginning)))


def recorded(folder: Path) -> list[RunPaths]:
    """Return the runs in a folder, in the order of their names."""
    return [RunPaths(folder, path.name.removesuffix(".db")) for path in sorted(folder.glob("*.db"))]


def take_claim(path: Path, run_id: str, *, since: float | None = None) -> ProcessLock:
    """Lock a run's file, which is created if it is missing; blocks for a fraction of a second.

    :param since: the time that a refusal names as the begin of the lock, in seconds since the epoch; default: now.
    :raises RunInUseError: if a live process holds it.
    :raises OSError: if the file cannot be opened, or the system does not have this kind of lock.
    """
    try:
        return process_lock.take(path, since=since)
    except LockedError as exc:
        raise RunInUseError(run_id, pid=exc.pid, host=exc.host, since=exc.since) from None
