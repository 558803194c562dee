"""Files of an outbox as its tests leave, read and spoil them: the one place that names the private parts behind them."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_link import TOPIC, FakeLink, event

from cascade.runtime import Outbox
from cascade.runtime._outbox import (
    collector_acks,
    file,
    file_thread,
    listing,
    open_sender,
    outbox,
    queue,
    send_order,
    settings,
)
from cascade.runtime._outbox.schema import KIND, State
from cascade.runtime._storage import database, process_lock
from cascade.testkit.waiting import eventually

__all__ = ["ACK", "WINDOW", "State", "left_open"]

ACK = "cascade/ack/press"
SERIES = "run-c41e07d2"
WINDOW = settings.WINDOW
left_open = outbox._left

_CONSTANTS: dict[str, tuple[Any, ...]] = {
    "CAPACITY": (send_order,),
    "HOLD": (queue, outbox),
    "IN_MEMORY": (send_order,),
    "MAX_ASIDE": (file,),
    "NO_PROGRESS": (queue,),
    "RESEND_AFTER": (collector_acks,),
    "RETRY_DISK": (file_thread,),
    "RETRY_LINK": (queue,),
    "SLICE": (open_sender,),
    "WINDOW": (settings,),
}
_METHODS: dict[str, type] = {
    "adopt": file.OutboxFile,
    "write": file.OutboxFile,
    "_used": file.OutboxFile,
    "serve": file_thread.OutboxStore,
    "step": open_sender.Adoption,
    "_delete_adopted": open_sender._Orphan,
}


def change(monkeypatch: pytest.MonkeyPatch, **constants: float) -> None:
    """Give constants of an outbox other values: bounds, and times that no test should wait for."""
    for name, value in constants.items():
        for module in _CONSTANTS[name]:
            monkeypatch.setattr(module, name, value)


def replace(monkeypatch: pytest.MonkeyPatch, name: str, call: Callable[..., Any]) -> None:
    """Have a method of an outbox's file replaced by a call, which gets the method and then its arguments."""
    owner = _METHODS[name]
    method = getattr(owner, name)

    def called(*arguments: Any) -> Any:
        return call(method, *arguments)

    monkeypatch.setattr(owner, name, called)


class FullDisk:
    """Refuses every write while it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        self.refused = 0

        def limited(write: Callable[..., int], *arguments: Any) -> int:
            if self.full:
                self.refused += 1
                raise sqlite3.OperationalError("database or disk is full")
            return write(*arguments)

        replace(monkeypatch, "write", limited)


def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which the number of each message is added that is written from now on."""
    numbers: list[int] = []

    def noted(write: Callable[..., int], store: object, rows: Any, state: State) -> int:
        numbers.extend(row.number for row in rows)
        return write(store, rows, state)

    replace(monkeypatch, "write", noted)
    return numbers


def take_lock(folder: Path, source: str) -> Any:
    """Use the file of a sender, as another process would; ``release()`` ends that."""
    return process_lock.take(folder / f"{source}.lock")


def is_locked(folder: Path, source: str) -> bool:
    return process_lock.is_held(folder / f"{source}.lock")


def migrate_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every file be of the version before."""
    monkeypatch.setattr(listing, "KIND", dataclasses.replace(KIND, version=2, migrations={1: ""}))


def rows(folder: Path, columns: str = "*", source: str = "*") -> list[tuple[Any, ...]]:
    """Return the messages of the files in a folder, in order."""
    found: list[tuple[Any, ...]] = []
    for path in sorted(folder.glob(f"{source}.db")) if folder.exists() else []:
        with (
            contextlib.suppress(sqlite3.DatabaseError),  # not filled yet, or no longer there
            contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection,
        ):
            found += connection.execute(f"SELECT {columns} FROM message ORDER BY id")
    return found


def kept(folder: Path, source: str = "press") -> list[tuple[int, State]]:
    """Return the ``seq`` and the state of each message in the file of a sender."""
    return [
        (int(event_id.rpartition("-")[2]), State(state))
        for event_id, state in rows(folder, "event_id, state", source)
    ]


@contextlib.contextmanager
def changing(folder: Path, source: str) -> Iterator[sqlite3.Connection]:
    """Change the file of a sender that no process uses."""
    with contextlib.closing(sqlite3.connect(folder / f"{source}.db")) as connection, connection:
        yield connection


async def leave(folder: Path, source: str, *states: State, **options: Any) -> list[str]:
    """Leave events of a dead process in these states, the oldest first; return their payloads."""
    link = FakeLink(source, up=False)
    async with Outbox(folder, **options).attached(link, adopt=False) as sender:
        for seq in range(len(states)):
            sender.publish(TOPIC, event(seq, source=source), 1)
        await sender.drain(0.05)
        await link.disconnect()
    await eventually(lambda: not is_locked(folder, source))
    with changing(folder, source) as connection:
        numbers = [row[0] for row in connection.execute("SELECT id FROM message ORDER BY id")]
        for number, state in zip(numbers, states, strict=True):
            connection.execute("UPDATE message SET state = ? WHERE id = ?", (state, number))
    return [payload for (payload,) in rows(folder, "payload", source)]


def fill(folder: Path, count: int) -> None:
    """Write a backlog, as many runs without a link would."""
    folder.mkdir(mode=0o700)
    paths = file.OutboxPaths.of(folder, "press")
    pad = "x" * 150
    connection = database.open_to_write(paths.database, KIND, power_safe=False)
    with contextlib.closing(connection), connection:
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO message VALUES (?, ?, ?, 1, ?, ?, 0, 1)",
            (
                (number, TOPIC, f'{{"event_id": "r-t-{number}", "pad": "{pad}"}}', 4e9, f"r-t-{number}")
                for number in range(1, count + 1)
            ),
        )


async def acknowledge(
    link: FakeLink, upto: int, missing: list[list[int]] | None = None, *, by: str = "c-1"
) -> None:
    """Publish what the collector has stored."""
    message = {"v": "1.0", "by": by, "upto": {SERIES: upto}, "missing": {SERIES: missing or []}}
    await link.subscribed[ACK](ACK, message)
