"""Errors of a collector's file: those that pass when there is room again, and what a person reads of them. No I/O."""

from __future__ import annotations

import errno
import sqlite3

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# the last two: a quota, for SQLite
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)


def is_full(error: sqlite3.Error | OSError) -> bool:
    """Return whether the disk, or the user's part of it, has no space left."""
    return getattr(error, "errno", None) in _NO_ROOM or getattr(error, "sqlite_errorcode", None) in _FULL


def may_pass(error: sqlite3.Error | OSError) -> bool:
    """Return whether a later attempt may succeed: the disk is full, or another program keeps the file for itself."""
    return is_full(error) or getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def in_words(error: sqlite3.Error | OSError) -> str:
    """Return an error's text, with SQLite's name for it where the text says little ("disk I/O error")."""
    name = getattr(error, "sqlite_errorname", "")
    return f"{error} ({name})" if "_IOERR_" in name else str(error)
