"""``lease=``: of several machines that serve one workflow, one starts the ticks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import cascade as cs
from cascade.interfaces import Message
from cascade.interfaces.topics import lease_topic, request_topic
from cascade.testing import ManualClock
from cascade.testkit import eventually
from cascade.wire import View, parse_event

THREE = datetime.fromisoformat("2027-03-01T03:00:00+01:00").timestamp()
STARTED: list[tuple[str, str, int | None]] = []
"""Of each run: the box, the run, the term."""
HELD: set[str] = set()
"""Boxes on which the step does not end."""


@cs.task
async def note(box: str) -> None:
    step = cs.step()
    STARTED.append((box, step.run_id, step.lease_term))
    await eventually(lambda: box not in HELD)


@pytest.fixture(autouse=True)
def fresh() -> None:
    STARTED.clear()
    HELD.clear()


class Hall:
    """Boxes at one broker, with one clock."""

    def __init__(self, now: float) -> None:
        self.clock = ManualClock(now)
        self.link = cs.LocalConnector(source_id="client")
        self.view = View()
        self.started: list[Any] = []
        self.leases: list[tuple[bool, bytes]] = []
        self.boxes: dict[str, asyncio.Task[None]] = {}

    async def listen(self) -> None:
        async for item in self.link.watch("cascade/#"):
            if isinstance(item, Message):
                self.view.fold(item.topic, item.payload, now=0.0)
                if item.topic == lease_topic("hall-2"):
                    self.leases.append((item.retain, item.payload))
                found = parse_event(item.topic, item.payload)
                if found is not None and found.body.get("event") == "ENGINE_STARTED":
                    self.started.append(found.body.get("lease"))

    def serve(self, box: str, **settings: Any) -> None:
        """Begin to serve on a box."""
        found = {"cron": "*/10 * * * *", "tz": "Europe/Berlin", "lease": "hall-2", "lease_ttl": "1m"}
        run = {key: settings.pop(key) for key in ("state",) if key in settings}

        @cs.workflow(name="audit", **(found | settings))
        def audit() -> cs.LazyResult[None]:
            return note(box)

        link = cs.LocalConnector(self.link.hub, source_id=box)
        self.boxes[box] = asyncio.create_task(
            cs.aserve(audit, connector=link, clock=self.clock, drain=0.1, **run)
        )

    async def stop(self, box: str) -> None:
        task = self.boxes.pop(box)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled(), task.exception()

    def row(self, box: str) -> Any:
        report = self.view.engines[box].workflows if box in self.view.engines else None
        return report.workflows[0] if report else None

    async def pass_time(self, seconds: float, step: float = 5.0) -> None:
        until = self.clock.now() + seconds
        while self.clock.now() < until:
            await asyncio.sleep(0.002)
            self.clock.advance(min(step, until - self.clock.now()))
        await asyncio.sleep(0.004)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Let time pass until something is true."""
        for _ in range(300):
            if condition():
                return
            await self.pass_time(5.0)
        assert condition()

    def holders(self) -> list[str]:
        return [box for box in self.boxes if (row := self.row(box)) is not None and row.lease.held]


@asynccontextmanager
async def hall(now: float = THREE - 120) -> AsyncIterator[Hall]:
    found = Hall(now)
    async with found.link:
        listening = asyncio.create_task(found.listen())
        try:
            yield found
        finally:
            for box in [*found.boxes]:
                await found.stop(box)
            listening.cancel()
            await asyncio.wait({listening})


@pytest.mark.full
async def test_only_the_holder_starts_ticks_and_another_takes_over() -> None:
    """With a higher term, which the step, the first event and the reports have; what nobody began starts late."""
    async with hall() as found:
        found.serve("press-1")
        await found.until(found.holders)
        found.serve("press-2")
        await eventually(lambda: found.row("press-2"))
        await found.until(lambda: found.row("press-2").lease.holder == "press-1")
        await found.until(lambda: STARTED)
        assert STARTED == [("press-1", "audit~2027-03-01T02:00:00Z", 1)]
        await eventually(lambda: found.started == [{"name": "hall-2", "term": 1}])
        assert found.row("press-2").last is None
        await found.pass_time(570)
        await found.stop("press-1")
        await found.until(lambda: len(STARTED) > 1)
        assert STARTED[1:] == [("press-2", "audit~2027-03-01T02:10:00Z", 2)]
        lease = found.row("press-2").lease
        assert (lease.name, lease.ttl, lease.held, lease.holder, lease.term) == (
            "hall-2",
            60,
            True,
            "press-2",
            2,
        )
        assert lease.since


async def test_a_tick_that_an_earlier_holder_began_starts_nowhere_again() -> None:
    """The renewal says so before the tick begins; the holder died in it, and the next tick comes in its time."""
    async with hall() as found:
        found.serve("press-1")
        await found.until(found.holders)
        found.serve("press-2")
        HELD.add("press-1")
        await found.until(lambda: STARTED)
        await found.stop("press-1")
        await found.until(lambda: found.holders() == ["press-2"])
        await found.pass_time(120)
        assert [box for box, _, _ in STARTED] == ["press-1"]
        await found.until(lambda: found.row("press-2").schedule.next == "2027-03-01T03:10:00+01:00")


async def test_a_request_needs_no_lease() -> None:
    """Each box runs what it is asked for, and its steps have no term."""
    async with hall() as found:
        for box in ("press-1", "press-2"):
            found.serve(box)
            await eventually(lambda box=box: found.row(box))  # type: ignore[misc]
        for box in found.boxes:
            await found.link.publish(request_topic(box, "audit"), {"id": "7"}, 1)
        await eventually(lambda: len(STARTED) == 2)
        assert sorted(STARTED) == [("press-1", "audit~7", None), ("press-2", "audit~7", None)]
        assert found.started == [None, None]


@pytest.mark.full
@pytest.mark.parametrize("held_elsewhere", [False, True])
async def test_a_tick_in_which_a_machine_died_goes_on_only_with_the_lease(
    tmp_path: Path, held_elsewhere: bool
) -> None:
    """After its restart the machine waits until it holds the lease; if another one does, the run ends as cancelled."""
    async with hall() as found:
        found.serve("press-1", state=tmp_path)
        await found.until(found.holders)
        HELD.add("press-1")
        await found.until(lambda: STARTED)
        await found.stop("press-1")
        HELD.clear()
        if held_elsewhere:
            found.serve("press-2")
            await found.until(lambda: found.holders() == ["press-2"])
        found.serve("press-1", state=tmp_path)
        await found.until(lambda: (row := found.row("press-1")) and row.last)
        last = found.row("press-1").last
        assert last.run_id == "audit~2027-03-01T02:00:00Z"
        assert last.status == ("Cancelled" if held_elsewhere else "Succeeded")
        assert [term for _, _, term in STARTED] == ([1] if held_elsewhere else [1, 2])


@pytest.mark.full
async def test_an_interval_counts_from_the_last_tick_of_any_machine() -> None:
    """A machine that takes over does not begin at once."""
    async with hall() as found:
        often = {"cron": None, "tz": None, "every": "10m"}
        found.serve("press-1", **often)
        await found.until(found.holders)
        await found.pass_time(120)
        found.serve("press-2", **often)
        await found.until(lambda: STARTED)
        began = found.clock.now()
        await found.pass_time(60)
        await found.stop("press-1")
        await found.until(lambda: len(STARTED) == 2)
        assert STARTED[1][0] == "press-2"
        assert 590 <= found.clock.now() - began <= 610


async def test_without_a_holder_ticks_of_missed_none_are_dropped() -> None:
    """Another machine may have begun them."""
    async with hall(THREE - 20) as found:
        found.serve("press-1", missed="none")
        await found.until(found.holders)
        await found.pass_time(120)
        assert STARTED == []
        await found.until(lambda: found.row("press-1").schedule.next == "2027-03-01T03:10:00+01:00")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lease": "hall 2"}, "workflow(lease=): needs 1 to 64 of the characters A-Z a-z 0-9 . _ -"),
        (
            {"lease": "hall-2", "cron": None, "tz": None},
            "workflow(lease=): is for the ticks of cron= or every=",
        ),
        ({"lease": None, "lease_ttl": "9s"}, "workflow(lease_ttl=): belongs to lease=, which is missing"),
        ({"lease_ttl": "2d"}, "workflow(lease_ttl=): needs 1s to 1d"),
        ({"lease_ttl": 30}, "workflow(lease_ttl=): needs a whole number with a unit"),
    ],
)
def test_a_lease_that_cannot_be_is_refused_where_it_is_declared(
    settings: dict[str, Any], message: str
) -> None:
    """With what would be right."""
    with pytest.raises(cs.ConfigurationError) as caught:
        cs.workflow(**({"name": "audit", "cron": "0 3 * * *", "lease": "hall-2"} | settings))(lambda: None)
    assert message in str(caught.value)


async def test_a_service_that_cannot_keep_a_lease_is_refused() -> None:
    """Without a connector, over NATS, and if two workflows have one lease with another ttl."""

    def named(name: str, ttl: str) -> Any:
        return cs.workflow(name=name, every="1m", lease="hall-2", lease_ttl=ttl)(lambda: note("a"))

    link = cs.LocalConnector(source_id="press-1")
    for workflows, connector, message in (
        ([named("a", "9s")], None, "and a has lease='hall-2'"),
        ([named("a", "9s")], "nats://127.0.0.1:9?source_id=press-1", "NATS gives none"),
        ([named("a", "9s"), named("b", "8s")], link, "is not the same in all workflows with lease='hall-2'"),
    ):
        with pytest.raises(cs.ConfigurationError) as caught:
            await asyncio.wait_for(cs.aserve(*workflows, connector=connector), 5.0)
        assert message in str(caught.value)
