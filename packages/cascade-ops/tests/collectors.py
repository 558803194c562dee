"""Collectors as programs of their own, and what tests read in their files."""

import contextlib
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

COLLECTOR = """
import sys
from cascade.cli.main import main
from cascade.transport import backoff

backoff.SHORTEST_PAUSE = backoff.LONGEST_PAUSE = 0.05
sys.exit(main(["collect", "--to", sys.argv[2], "--broker", sys.argv[1], *sys.argv[3:]]))
"""


@contextlib.contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the context ends, or until it is killed."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as started:
        try:
            yield started
        finally:
            started.kill()
            started.wait()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file beside the program that writes it, which is not disturbed."""
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        yield connection


def kept(path: Path) -> list[str]:
    """Return the ids of the events that a collector has."""
    if not path.exists():
        return []
    try:
        with reading(path) as connection:
            rows = connection.execute("SELECT event_id FROM event WHERE kind = 'events'")
            return [event_id for (event_id,) in rows]
    except sqlite3.DatabaseError:
        return []  # the file is being made
