"""One manager follows a connector for as long as it is connected, over all runs of all its engines."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from desk import Desk
from observers import watch_tasks

from cascade.interfaces import TaskState
from cascade.runtime import Engine, LocalConnector, LocalHub
from cascade.spec import task
from cascade.testkit import eventually


@task
async def step(x: int = 0) -> int:
    return x


class Counted(LocalConnector):
    """Counts the watches, and has had a birth."""

    def __init__(self, hub: LocalHub, **keywords: Any) -> None:
        super().__init__(hub, **keywords)
        self.watches = 0

    @property
    def presence(self) -> str | None:
        return "5f0c9b1e"

    def watch(self, *filters: str) -> Any:
        self.watches += 1
        return super().watch(*filters)


def readers() -> list[str]:
    """Return the asyncio tasks that read constraints."""
    return [
        name for each in asyncio.all_tasks() if (name := each.get_name()).startswith("cascade constraints")
    ]


@pytest.fixture
async def desk(hub: LocalHub, no_leaks: None) -> AsyncIterator[Desk]:
    async with Desk(hub) as outside:
        yield outside


@pytest.fixture
async def connector(hub: LocalHub, desk: Desk) -> AsyncIterator[Counted]:
    """A connector that its user has connected."""
    async with Counted(hub, source_id="line-3") as made:
        yield made


async def test_a_pause_set_between_two_runs_holds_the_first_task(desk: Desk, connector: Counted) -> None:
    """The engine follows the broker between its runs, and so does one that was made meanwhile."""
    old = Engine(connector=connector)
    assert await old.run(step(1)) == 1
    await desk.put("global", "pause")
    await eventually(lambda: desk.applied("global", "pause"))
    for engine in (old, Engine(connector=connector)):
        events = watch_tasks(engine)
        run = asyncio.create_task(engine.run(step(2)))
        await eventually(events.copy)
        assert [event.state for event in events] == [TaskState.BLOCKED]
        run.cancel()
        await asyncio.wait({run})
    await desk.lift("global", "pause")
    await eventually(lambda: not desk.applied("global", "pause"))
    assert await old.run(step(3)) == 3
    assert connector.watches == 1


async def test_a_manager_ends_when_the_user_disconnects(desk: Desk, hub: LocalHub) -> None:
    """A disconnect between runs ends the manager; the next connection has another one, in sync."""
    connector = Counted(hub, source_id="line-3")
    engine = Engine(connector=connector)
    for number in range(3):
        async with connector:
            assert await engine.run(step(number)) == number
            assert await engine.run(step(number)) == number
        await eventually(lambda: not readers())
        assert engine._parts.admission.on_step is None
    assert connector.watches == 3


async def test_a_disconnect_during_a_run_keeps_the_constraints(
    hub: LocalHub, desk: Desk, connector: Counted
) -> None:
    """While a run is active, what is in force stays in force without a link; the manager ends with the run."""
    engine = Engine(connector=connector)
    await desk.put("global", "pause")
    run = asyncio.create_task(engine.run(step(1)))
    await eventually(lambda: desk.applied("global", "pause"))
    await connector.disconnect()
    for _ in range(20):
        await asyncio.sleep(0)
    assert engine._parts.admission.policy.constrained
    run.cancel()
    await asyncio.wait({run})
    await eventually(lambda: not engine._parts.admission.policy.constrained)


async def test_every_report_names_the_birth_of_its_connection(desk: Desk, hub: LocalHub) -> None:
    """From the first one to those that say that no further one will come: a reader tells them from reports of a process before. Without a birth it is empty."""
    heard: list[tuple[str, str, str]] = []

    async def hear(topic: str, data: dict[str, Any]) -> None:
        heard.append((data.get("presence", ""), topic.rpartition("/")[2], data.get("sync", "")))

    async with LocalConnector(hub) as reader:
        for kind in ("constraints", "runs", "graph", "ended", "host"):
            await reader.subscribe(f"cascade/state/+/{kind}", hear)
        for made, presence in ((Counted(hub, source_id="line-3"), "5f0c9b1e"), (LocalConnector(hub), "")):
            heard.clear()
            await Engine(connector=made).run(step(1))
            async with made:
                await Engine(connector=made).run(step(1))
            await eventually(lambda: [each[1:] for each in heard].count(("constraints", "stopped")) == 2)
            assert {each[0] for each in heard} == {presence}
            assert {each[1] for each in heard} >= {"constraints", "runs", "ended", "host"}
