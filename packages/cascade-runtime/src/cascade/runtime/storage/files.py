"""Tasks whose value is a file: whether it need be made, and that a half-made one never counts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade.spec.caching import CachePolicy, PathSpec


@dataclass(frozen=True, slots=True)
class FileTarget:
    """The file of one call and the files that it is made from."""

    path: Path
    newer_than: tuple[Path, ...]
    ttl: float | None

    @classmethod
    def of(
        cls,
        policy: CachePolicy,
        arguments: Mapping[str, Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> FileTarget:
        """Fill a policy's templates from ``arguments``, and call its functions like the task."""

        def fill(path: PathSpec | None) -> Path:
            if callable(path):
                return Path(path(*args, **kwargs))
            return Path(os.fspath(path or "").format(**arguments))

        return cls(fill(policy.file), tuple(map(fill, policy.newer_than)), policy.ttl)

    def reason(self, now: float) -> str:
        """Return why the task need not run, or "" if it must. ``now``: seconds since the epoch."""
        try:
            made = self.path.stat().st_mtime
        except OSError:
            return ""
        if self._mark.exists() or (self.ttl is not None and now - made >= self.ttl):
            return ""
        if any(_changed(path) > made for path in self.newer_than):
            return ""
        return "its file exists"

    def begin(self) -> None:
        """Note, beside the file, that an attempt is made at it; its folder is made if it is missing.

        The mark outlives a failure and a killed process. What stands beside one is half-made and
        goes, or a task that asks whether its file is there would take it for finished.

        :raises OSError: if the mark cannot be written, or what is left cannot be removed.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._mark.exists():
            self.path.unlink(missing_ok=True)
        else:
            self._mark.touch()

    def finish(self) -> bool:
        """Remove the mark if the file is there; return whether it is."""
        if not self.path.exists():
            return False
        with contextlib.suppress(FileNotFoundError):  # another process may have made the same file
            self._mark.unlink()
        return True

    def is_meant_by(self, value: object) -> bool:
        """Return whether a task that returned ``value`` means this file: its path, or nothing."""
        return value is None or (isinstance(value, str | os.PathLike) and Path(value) == self.path)

    @property
    def _mark(self) -> Path:
        return self.path.with_name(f".{self.path.name}.unfinished")


def _changed(path: Path) -> float:
    """Return when a file was last changed; one that is missing never was."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
