"""has_wal_reset_bug: which versions of SQLite may lose rows that several processes write."""

import sqlite3

import pytest

from cascade.runtime.cache._sqlite import has_wal_reset_bug


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_versions_with_the_fault_are_known(version: tuple[int, ...], affected: bool) -> None:
    """The fault is in 3.7.0 to 3.51.2, and was fixed in two older series too."""
    assert has_wal_reset_bug(version) is affected


def test_the_version_in_use_is_the_default() -> None:
    """Without an argument the answer is about this Python's SQLite."""
    assert has_wal_reset_bug() is has_wal_reset_bug(sqlite3.sqlite_version_info)
