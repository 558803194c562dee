"""The connection that runs share: made for the first run, closed after the last, never in the way of a run."""

import asyncio

import pytest
from fakes import Plain
from simple_tasks import double

from cascade.interfaces import ConnectorUnavailable
from cascade.runtime import Engine, LocalConnector
from cascade.spec import task


async def test_a_required_connector_without_a_link_fails_the_run() -> None:
    """ConnectorUnavailable, which the caller asked for, is raised before any task has run."""

    class Required(Plain):
        async def connect(self) -> None:
            raise ConnectorUnavailable("broker", 1883, "refused")

    connector = Required()
    with pytest.raises(ConnectorUnavailable, match="no connection to broker:1883: refused"):
        await Engine(connector=connector).run(double(1))
    assert not connector.sent
    assert connector.log == ["disconnect"]


async def test_a_connector_that_hangs_delays_a_run_no_longer_than_the_limits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A connector that never connects nor disconnects is abandoned after the limits."""
    monkeypatch.setattr("cascade.runtime._support.shared_connection.START_LIMIT", 0.01)
    monkeypatch.setattr("cascade.runtime._support.shared_connection.STOP_LIMIT", 0.01)

    class Hanging(Plain):
        async def connect(self) -> None:
            await asyncio.Event().wait()

        async def disconnect(self) -> None:
            await asyncio.Event().wait()

    assert await Engine(connector=Hanging()).run(double(1)) == 2
    late, left = (record.getMessage() for record in caplog.records)
    assert "does not connect within" in late
    assert "does not disconnect within" in left


async def test_a_run_that_is_cancelled_while_it_disconnects_waits_for_the_end() -> None:
    """No asyncio task of the connector outlives the run."""

    class Leaving(Plain):
        async def disconnect(self) -> None:
            self.log.append("leaving")
            try:
                await asyncio.Event().wait()
            finally:
                for _ in range(50):
                    await asyncio.sleep(0)
                self.log.append("left")

    connector = Leaving()
    run = asyncio.create_task(Engine(connector=connector).run(double(1)))
    while "leaving" not in connector.log:
        await asyncio.sleep(0)
    run.cancel()
    await asyncio.wait({run})
    assert connector.log == ["connect", "leaving", "left"]


async def test_a_connector_that_the_user_connected_stays_connected() -> None:
    """run() disconnects only a connector that it has connected."""
    connector = LocalConnector()
    await connector.connect()
    await Engine(connector=connector).run(double(1))
    assert connector.connected
    await connector.disconnect()
    await Engine(connector=connector).run(double(1))
    assert not connector.connected


async def test_the_last_run_of_any_engine_disconnects() -> None:
    """Runs of two engines share a connector: it is connected once, and disconnected after the last run."""
    connector = Plain()
    first_done = asyncio.Event()

    @task
    async def short() -> int:
        return 1

    @task
    async def long() -> list[str]:
        await first_done.wait()
        return list(connector.log)

    slow = asyncio.create_task(Engine(connector=connector).run(long()))
    assert await Engine(connector=connector).run(short()) == 1
    first_done.set()
    assert await slow == ["connect"]
    assert connector.log == ["connect", "disconnect"]
    await Engine(connector=connector).run(short())
    assert connector.log == ["connect", "disconnect"] * 2


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("raises", "cannot connect, the run goes on without it: OSError: no route"),
        ("is cancelled", "was cancelled while connecting; the run goes on without it"),
    ],
)
async def test_each_run_tries_a_connector_that_failed_again_and_says_why_once(
    caplog: pytest.LogCaptureFixture, how: str, line: str
) -> None:
    """A connector that raises, or whose own helper was cancelled, harms no run and is disconnected after each."""

    class Failing(Plain):
        async def connect(self) -> None:
            await super().connect()
            raise OSError("no route") if how == "raises" else asyncio.CancelledError

    connector = Failing()
    engine = Engine(connector=connector)
    for _ in range(2):
        caplog.clear()
        assert await engine.run(double(1)) == 2
        (record,) = caplog.records
        assert record.getMessage().endswith(line)
    assert connector.log == ["connect", "disconnect"] * 2


async def test_a_run_that_begins_while_another_disconnects_uses_a_new_connection() -> None:
    """Not the one that is being closed, although that still says that it is connected."""
    leaving, leave = asyncio.Event(), asyncio.Event()

    class Slow(Plain):
        connected = False

        async def connect(self) -> None:
            await super().connect()
            self.connected = True

        async def disconnect(self) -> None:
            leaving.set()
            await leave.wait()
            await super().disconnect()
            self.connected = False

    connector = Slow()
    first = asyncio.create_task(Engine(connector=connector).run(double(1)))
    await leaving.wait()

    @task
    async def look() -> list[str]:
        return list(connector.log)

    second = asyncio.create_task(Engine(connector=connector).run(look()))
    for _ in range(5):
        await asyncio.sleep(0)
    assert connector.log == ["connect"]
    leave.set()
    assert await first == 2
    assert await second == ["connect", "disconnect", "connect"]
    assert connector.log == ["connect", "disconnect"] * 2
