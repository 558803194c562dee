"""Looking into a folder of senders, and deleting what is in it. Calls block."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from cascade.interfaces import OutboxUnavailable
from cascade.runtime._outbox.file import OutboxPaths, delete_files
from cascade.runtime._outbox.schema import KIND, State
from cascade.runtime._storage import database, private_files, process_lock
from cascade.runtime._storage.database import cause_of
from cascade.runtime._storage.process_lock import LockedError

_COUNTS = (
    "SELECT state, count(*), total(length(topic) + length(payload)), min(stored) FROM message "
    "WHERE state < 4 GROUP BY state"
)
_ASIDE = "SELECT topic, payload, stored FROM message WHERE state = 3 ORDER BY id"


@dataclass(frozen=True, slots=True)
class SenderSummary:
    """What one sender has in an outbox."""

    sender: str
    waiting: int = 0
    sent: int = 0
    """Messages that a collector has not acknowledged."""
    aside: tuple[tuple[str, str], ...] = ()
    """Topic and payload of each message that the broker refused, or that broke the link."""
    size: int = 0
    """Characters of all messages."""
    oldest: float | None = None
    """When the oldest message was stored, in seconds since the epoch."""
    dropped: Mapping[str, int] | None = None
    """How many messages were dropped, by reason."""
    in_use: bool = False
    """Whether a live process has the file."""
    problem: str = ""
    """Why the file cannot be read."""


def senders(folder: Path) -> list[SenderSummary]:
    """Return what is in a folder, the file that was changed first before the others; nothing is changed.

    :raises OutboxUnavailable: if the folder is missing or may not be used.
    """
    _check(folder)
    return [summary(paths) for paths in OutboxPaths.all(folder)]


def drop(folder: Path, sender: str | None, *, aside: bool) -> int:
    """Delete the messages of one sender, or of all that no process uses; return how many.

    :param aside: delete only those that are put aside.
    :raises OutboxUnavailable: if the folder may not be used, or the named sender is unknown or in use.
    """
    _check(folder)
    found = [paths for paths in OutboxPaths.all(folder) if sender in (None, _name(paths))]
    if sender is not None and not found:
        raise OutboxUnavailable(
            str(folder), f"sender {sender!r} does not exist; cascade outbox list shows the senders"
        )
    return sum(_drop(paths, aside=aside, required=sender is not None) for paths in found)


def _check(folder: Path) -> None:
    try:
        private_files.check(folder, OutboxUnavailable)
    except FileNotFoundError:
        raise OutboxUnavailable(str(folder), "the folder does not exist") from None


def _name(paths: OutboxPaths) -> str:
    return unquote(paths.database.stem)


def summary(paths: OutboxPaths) -> SenderSummary:
    """Return what one sender has in its files; nothing is changed."""
    in_use = process_lock.is_held(paths.lock)
    try:
        with database.reading(paths.database, KIND) as connection:
            if connection is None:
                return SenderSummary(_name(paths), in_use=in_use)
            counts = {State(row[0]): row[1:] for row in connection.execute(_COUNTS)}
            return SenderSummary(
                _name(paths),
                waiting=counts.get(State.WAITS, (0,))[0],
                sent=counts.get(State.SENT, (0,))[0],
                aside=tuple((topic, payload) for topic, payload, _ in connection.execute(_ASIDE)),
                size=int(sum(row[1] for row in counts.values())),
                oldest=min((row[2] for row in counts.values()), default=None),
                dropped=dict(connection.execute("SELECT reason, count FROM counter")),
                in_use=in_use,
            )
    except OutboxUnavailable as exc:
        return SenderSummary(_name(paths), in_use=in_use, problem=exc.cause)
    except (sqlite3.Error, ValueError, TypeError) as exc:
        return SenderSummary(_name(paths), in_use=in_use, problem=cause_of(exc))


def _drop(paths: OutboxPaths, *, aside: bool, required: bool) -> int:
    try:
        lock = process_lock.take(paths.lock)
    except LockedError as exc:
        if not required:
            return 0
        cause = f"is in use by process {exc.pid} on {exc.host}; end it first"
        raise OutboxUnavailable(str(paths.database), cause) from None
    try:
        with contextlib.closing(database.open_to_write(paths.database, KIND, power_safe=False)) as connection:
            with connection:
                connection.execute("DELETE FROM message WHERE state = 4 AND ?", (not aside,))
                deleted = connection.execute(
                    "DELETE FROM message WHERE state = 3 OR ?", (not aside,)
                ).rowcount
            empty = not connection.execute("SELECT 1 FROM message LIMIT 1").fetchone()
        if empty:
            delete_files(paths)
        return deleted
    except sqlite3.Error as exc:
        raise OutboxUnavailable(str(paths.database), cause_of(exc)) from exc
    finally:
        lock.release()
