"""Meanings of SQLite's errors."""

from __future__ import annotations

import sqlite3

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_damaged(error: Exception) -> bool:
    """Return whether the file itself is broken: no further try can help."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def cause_of(error: BaseException) -> str:
    """Return an error's text, with its extended name where SQLite's text says little ("disk I/O error")."""
    name = getattr(error, "sqlite_errorname", "")
    return f"{error} ({name})" if name and "_" in name.removeprefix("SQLITE_") else str(error)
