"""A check for the WAL-reset fault of this Python's SQLite. No I/O."""

from __future__ import annotations

import sqlite3


def has_wal_reset_bug(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Return whether a version of SQLite can lose rows that several processes write, or damage their file.

    When two connections write and checkpoint one file in WAL mode at the same moment, a commit
    may be lost. Versions 3.7.0 to 3.51.2 have this fault, except 3.44.6 and 3.50.7 and what
    follows them in these two series. A cache file that one process at a time uses is safe. In a
    cache, a lost value is computed again, and a damaged file is reported and no longer used.

    Source: section "The WAL-Reset Bug" of https://sqlite.org/wal.html.
    """
    fixed_in = {(3, 44): (3, 44, 6), (3, 50): (3, 50, 7)}
    return (3, 7, 0) <= version < fixed_in.get((version[0], version[1]), (3, 51, 3))
