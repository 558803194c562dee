"""Token buckets live as long as the process: short runs in a row do not begin with a full bucket."""

import asyncio
from typing import Any

import pytest
from control_parts import broker_state
from desk import Desk
from observers import watch_tasks

from cascade.interfaces import TaskState
from cascade.runtime import Engine, LocalConnector, LocalHub
from cascade.spec import task
from cascade.testkit import eventually

RATE = b'{"type":"rate_limit","params":{"rate":"2/h","capacity":2}}'
TOPIC = "cascade/constraints/task/call_api/@rate_limit"


@task
async def call_api() -> str:
    return "called"


async def attempt(connector: Any) -> str:
    """Run one call in an engine of its own; return what becomes of it: it is called, or has to wait."""
    engine = Engine(connector=connector)
    events = watch_tasks(engine)
    run = asyncio.create_task(engine.run(call_api()))
    await eventually(lambda: run.done() or any(event.state is TaskState.BLOCKED for event in events))
    if not run.done():
        run.cancel()
        await asyncio.wait({run})
        return "waits"
    return run.result()


@pytest.mark.parametrize("shared", [True, False], ids=["one connector", "a connector for each run"])
def test_a_rate_limit_holds_across_runs_and_loops(shared: bool) -> None:
    """Two an hour: of six runs in a row, each on a loop of its own, two are called and four wait."""
    hub = LocalHub()
    hub.publish(TOPIC, RATE, retain=True)
    one = LocalConnector(hub, source_id="line-3")
    found = [
        asyncio.run(attempt(one if shared else LocalConnector(hub, source_id="line-3"))) for _ in range(6)
    ]
    assert found == ["called"] * 2 + ["waits"] * 4


@pytest.mark.parametrize("away", [False, True], ids=["connected", "between two connections"])
async def test_a_clear_drops_the_bucket(away: bool, no_leaks: None) -> None:
    """After a clear the same limit begins with a full bucket, also if no engine was connected at the clear."""
    hub = LocalHub()
    hub.publish(TOPIC, RATE, retain=True)
    connector = LocalConnector(hub, source_id="line-3")
    async with Desk(hub) as desk:
        if not away:
            await connector.connect()
        assert [await attempt(connector) for _ in range(3)] == ["called", "called", "waits"]
        if away:
            hub.publish(TOPIC, b"", retain=True)
            assert await attempt(connector) == "called"  # this run sees that the limit is gone
        else:
            await eventually(lambda: desk.applied("task:call_api", "rate_limit"))
            hub.publish(TOPIC, b"", retain=True)
            await eventually(lambda: desk.reports[-1]["applied"] == {})
        hub.publish(TOPIC, RATE, retain=True)
        assert [await attempt(connector) for _ in range(3)] == ["called", "called", "waits"]
        await connector.disconnect()


def test_buckets_that_belong_to_no_known_broker_last_as_long_as_their_connector() -> None:
    """Two connectors to one hub share them; a connector of unknown kind has its own, if it can be a key at all."""

    class Plain:
        """A connector of which nothing is known."""

    class Unhashable(Plain):
        __hash__ = None  # type: ignore[assignment]

    def of(connector: Any) -> Any:
        return broker_state(connector, project="acme", source="line-3").buckets

    hub, plain, unhashable = LocalHub(), Plain(), Unhashable()
    assert of(LocalConnector(hub)) is of(LocalConnector(hub))
    assert of(LocalConnector(hub)) is not of(LocalConnector(LocalHub()))
    assert of(plain) is of(plain)
    assert of(plain) is not of(Plain())
    assert of(unhashable) is not of(unhashable)
