"""The names of a run's files in the folder. No I/O but listing.

``{name}.`` is the beginning of this run's files and of no other's, because a name has no dots.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cascade.runtime._storage.file_name import file_name

_LARGE = re.compile(r"[0-9a-f]{16}\.result(\.part)?")


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
        for path in self.folder.glob(f"{self.name}.*"):  # a name has no special characters of globs
            if _LARGE.fullmatch(path.name.removeprefix(f"{self.name}.")):
                yield path


def recorded(folder: Path) -> list[RunPaths]:
    """Return the runs in a folder, in the order of their names."""
    return [RunPaths(folder, path.name.removesuffix(".db")) for path in sorted(folder.glob("*.db"))]
