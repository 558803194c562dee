"""The secret key that signs stored values: a file beside them that only its owner can read."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from cascade.runtime._storage.private_files import create_private

SIZE = 32
_FORBIDDEN = stat.S_IRWXG | stat.S_IRWXO


def load_signing_key(path: Path) -> bytes:
    """Return the key in the file ``path``; create it with mode 0600 if it is missing.

    Several processes may call this at the same time: all get the same key.

    :raises OSError: if the file can be neither read nor created, is not a key, or other users
        can use it.
    """
    with contextlib.suppress(FileNotFoundError):
        return _read(path)
    create_private(path, secrets.token_bytes(SIZE))
    return _read(path)


def _read(path: Path) -> bytes:
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        _check_owner(path, os.fstat(file.fileno()))
        key = file.read(SIZE + 1)
    if len(key) != SIZE:
        raise PermissionError(
            f"{path} is not a key of {SIZE} bytes; restore it, or delete it: values signed with it are then not read"
        )
    return key


def _check_owner(path: Path, found: os.stat_result) -> None:
    """Reject a key that another user wrote or can read: with it one can forge pickles that we load."""
    if os.name != "posix":
        return
    if found.st_uid != os.geteuid():
        raise PermissionError(f"{path} belongs to another user; use a folder of your own")
    if found.st_mode & _FORBIDDEN:
        raise PermissionError(
            f"other users can read or write {path}; delete it, or run chmod 600 on it if only you wrote it"
        )
