"""The key that tells our rows from foreign ones: a file beside the cache that only its owner reads."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from cascade.runtime.storage._private import create_private

SIZE = 32
_FORBIDDEN = stat.S_IRWXG | stat.S_IRWXO


def load_secret(path: Path) -> bytes:
    """Return the key in ``path``, which is made (mode 0600) if it is missing.

    Several processes may do so at the same time: all get the same key.

    :raises OSError: if the file can be neither read nor made, is not a key, or others may use it.
    """
    with contextlib.suppress(FileNotFoundError):
        return _read(path)
    create_private(path, secrets.token_bytes(SIZE))
    return _read(path)


def _read(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        _check_owner(path, os.fstat(file.fileno()))
        secret = file.read(SIZE + 1)
    if len(secret) != SIZE:
        raise PermissionError(
            f"{path} is no key of {SIZE} bytes; delete it, and all that is cached is made again"
        )
    return secret


def _check_owner(path: Path, found: os.stat_result) -> None:
    """Refuse a key that somebody else wrote or may read: with it one forges pickles that we load."""
    if os.name != "posix":
        return
    if found.st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to another user; name a cache in a folder of your own")
    if found.st_mode & _FORBIDDEN:
        raise PermissionError(f"{path} can be used by others; delete it, or chmod 600 if only you wrote it")
