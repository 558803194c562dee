"""One collector for a file at a time, and one file for a collector."""

from __future__ import annotations

import os
from pathlib import Path

from cascade.cli.errors import CommandError

try:
    import fcntl
except ImportError:  # without it a second collector is not refused
    fcntl = None  # type: ignore[assignment]


def open_private(path: Path, *, alone: bool) -> int:
    """Open a file, or make one that only its owner can read; return its descriptor.

    :param alone: refuse a file that another one has opened so. The descriptor has to stay open meanwhile.
    :raises CommandError: if another collector uses the file.
    :raises OSError: if it cannot be opened.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    if not alone or fcntl is None:
        return handle
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(handle)
        raise CommandError(f"another collector uses {path}", "end it, or name another file") from exc
    return handle


def check_in_place(path: Path, handle: int) -> None:
    """Check that an open file still has its name: what is written to one that was removed is gone with the process.

    :raises OSError: if it was removed, or another file has taken its place.
    """
    try:
        if os.path.samestat(path.stat(), os.fstat(handle)):
            return
    except FileNotFoundError:
        pass
    raise OSError("it was removed, or another file has taken its place")
