"""Tasks whose value is a file: when the task can be skipped, and how an unfinished file is recognized."""

from __future__ import annotations

import contextlib
import os
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade.interfaces import ConfigurationError
from cascade.spec.caching import CachePolicy, PathSpec


@dataclass(frozen=True, slots=True)
class FileTarget:
    """The file that one call writes, and the files that it is made from."""

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
        """Fill a policy's templates from ``arguments``, and call its functions like the task.

        :raises ConfigurationError: if an argument, as a text, would lead the file out of the template's folder.
        """

        def fill(path: PathSpec | None, formatter: string.Formatter) -> Path:
            if callable(path):
                return Path(path(*args, **kwargs))
            template = os.fspath(path or "")
            return Path(formatter.vformat(template, (), arguments))

        newer = tuple(fill(path, string.Formatter()) for path in policy.newer_than)
        return cls(fill(policy.file, _InsideFolder()), newer, policy.ttl)

    def skip_reason(self, now: float) -> str:
        """Return why the task need not run, or "" if it must. ``now``: seconds since the epoch."""
        try:
            written = self.path.stat().st_mtime
        except OSError:
            return ""
        if self._mark.exists() or (self.ttl is not None and not 0 <= now - written < self.ttl):
            return ""
        if any(_modified(path) > written for path in self.newer_than):
            return ""
        return "its file exists"

    def mark_unfinished(self) -> None:
        """Create the mark beside the file, before an attempt; create the folder if it is missing.

        The mark survives a failed attempt and a killed process. If there is one already, the file
        beside it is only partly written and is deleted: a task that checks whether its file
        exists would otherwise take it for finished.

        :raises OSError: if the mark cannot be written, or the partly written file not deleted.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._mark.exists():
            self.path.unlink(missing_ok=True)
        else:
            self._mark.touch()

    def mark_finished(self) -> bool:
        """Remove the mark if the file exists; return whether it does."""
        if not self.path.exists():
            return False
        # another process may have written the same file
        with contextlib.suppress(FileNotFoundError):
            self._mark.unlink()
        return True

    def is_result(self, value: object) -> bool:
        """Return whether a task that returned ``value`` means this file: it returned the path, or None."""
        return value is None or (isinstance(value, str | os.PathLike) and Path(value) == self.path)

    @property
    def _mark(self) -> Path:
        return self.path.with_name(f".{self.path.name}.unfinished")


_SEPARATORS = frozenset("/\\\0:" if os.name == "nt" else "/\0")


class _InsideFolder(string.Formatter):
    """Fills a template whose file is written, and replaced: a value names no other folder, unless it is a path."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        text = super().format_field(value, format_spec)
        if not isinstance(value, os.PathLike) and (_SEPARATORS & set(text) or text in ("", ".", "..")):
            raise ConfigurationError(
                "with_cache(file=)",
                "a value in the template is empty, . or .., or has a separator of paths; "
                "pass it as a Path, or pass a function as file=",
                value=text,
            )
        return text


def _modified(path: Path) -> float:
    """Return a file's modification time; 0 if it is missing, which is older than any file."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
