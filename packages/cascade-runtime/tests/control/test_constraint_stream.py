"""What a stream of constraints asks for."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from typing import Any

from fakes import FakeClock

from cascade.interfaces import WatchItem
from cascade.interfaces.topics import CONSTRAINTS_FILTER
from cascade.runtime._control.constraint_stream import ConstraintStream, exact_topics


class Watcher:
    """A connector whose watches yield nothing, and cannot be extended."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, ...]] = []

    def watch(self, *filters: str) -> Any:
        self.opened.append(filters)
        return self._nothing()

    async def _nothing(self) -> Any:
        await asyncio.Event().wait()
        yield


async def ignore(_item: WatchItem) -> None:
    """Handle nothing."""


async def test_a_stream_that_is_opened_again_asks_for_no_run_of_before() -> None:
    """After a thousand runs its first packet is as short as at the beginning."""
    watcher = Watcher()
    stream = ConstraintStream(
        watcher,
        "line-3",
        scopes=["global"],
        clock=FakeClock(),
        handle=ignore,
        failed=lambda _exc: None,
        closed=lambda: None,
        context=copy_context(),
    )
    for number in range(1000):
        stream.add_scope(f"run:{number}")
        stream.remove_scope(f"run:{number}")
    stream.add_scope("run:now")
    stream.open()
    assert watcher.opened == [(*exact_topics("run:now"), *exact_topics("global"), CONSTRAINTS_FILTER)]
    stream.end()
    for reader in stream.take_readers():
        reader.cancel()
        await asyncio.wait({reader})
