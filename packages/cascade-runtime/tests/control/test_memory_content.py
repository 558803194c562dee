"""What an engine saves of its constraints, when, and what of it a later process accepts; without a broker."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from control_parts import RETRY_AFTER, ControlMemory
from fakes import FakeClock

from cascade.interfaces.topics import constraint_topic
from cascade.testing import ManualClock
from cascade.testkit import eventually

TOPIC = constraint_topic("task:a")
LIMIT = {"type": "concurrency", "params": {"limit": 3}}


class Store:
    """A store whose writes the test holds back, and which may fail."""

    def __init__(self) -> None:
        self.found: Mapping[str, Any] | None = None
        self.written: list[Mapping[str, Any]] = []
        self.may_write = asyncio.Event()
        self.may_write.set()
        self.writes = asyncio.Event()
        """Set once a write has begun."""
        self.fault: Exception | None = None
        self.failures = 0
        self.forgotten: list[str] = []

    async def load_control(self, source: str) -> Mapping[str, Any] | None:
        self._fail()
        return self.found

    async def save_control(self, source: str, content: Mapping[str, Any]) -> None:
        assert source == content["source"]
        self.writes.set()
        await self.may_write.wait()
        self._fail()
        self.written.append(content)

    async def forget_control(self, source: str) -> None:
        self._fail()
        self.forgotten.append(source)

    def _fail(self) -> None:
        if self.fault is not None:
            self.failures += 1
            raise self.fault


def memory_of(store: Store) -> ControlMemory:
    return ControlMemory(store, "line-3", "plant", clock=FakeClock())


async def test_a_write_that_hangs_holds_the_end_for_a_limited_time_and_is_not_cancelled() -> None:
    """A slow disk may still take it."""
    store = Store()
    memory = memory_of(store)
    store.may_write.clear()
    memory.save({}, "first")
    await memory.flush(0.0)
    assert store.written == []
    store.may_write.set()
    await memory.flush(60.0)
    assert len(store.written) == 1


VALID = {"v": 1, "project_id": "plant", "registers": {TOPIC: LIMIT}, "store": "s-1"}


@pytest.mark.parametrize(
    "found",
    [
        None,
        {},
        {**VALID, "v": 2},
        {**VALID, "project_id": "other"},
        {**VALID, "registers": [TOPIC]},
        {key: value for key, value in VALID.items() if key != "registers"},
    ],
)
async def test_what_is_not_of_this_version_and_project_is_not_recalled(
    found: Mapping[str, Any] | None,
) -> None:
    store = Store()
    store.found = found
    assert await memory_of(store).recall() is None


async def test_each_kind_of_failure_is_logged_once_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    """Reading, writing and deleting are reported apart; none raises, and a write that works again is said."""
    caplog.set_level(logging.INFO, "cascade.constraints")
    store = Store()
    memory = memory_of(store)
    store.fault = OSError("disk full")
    for _ in range(2):
        assert await memory.recall() is None
        await memory.forget()
        memory.save({}, None)
        await memory.flush(60.0)
    store.fault = None
    memory.save({}, None)
    await memory.flush(60.0)
    await memory.forget()
    assert store.forgotten == ["line-3"]
    assert [record.getMessage() for record in caplog.records] == [
        *(
            f"line-3: cannot {verb} the constraints that its next process should obey: disk full"
            for verb in ("read", "delete", "write")
        ),
        "line-3: its constraints can be saved again",
    ]


async def test_a_set_that_could_not_be_saved_is_saved_when_there_is_room_again() -> None:
    """Row 33: or a power cut would lift a pause. At the end it is tried once more, and never in place of a later set."""
    store, clock = Store(), ManualClock()
    memory = ControlMemory(store, "line-3", "plant", clock=clock)

    async def fail_to_save(name: str) -> None:
        store.fault, failures = OSError("disk full"), store.failures
        memory.save({}, name)
        await eventually(lambda: store.failures > failures)
        store.fault = None

    await fail_to_save("first")
    clock.advance(RETRY_AFTER)
    await eventually(lambda: store.written)
    await fail_to_save("second")
    await memory.flush(60.0)
    await fail_to_save("third")
    memory.save({}, "fourth")
    clock.advance(RETRY_AFTER)
    await memory.flush(60.0)
    assert [content["store"] for content in store.written] == ["first", "second", "fourth"]
