"""The connection that runs share: made for the first run, closed after the last, never in the way of a run."""

import asyncio
from typing import Any

import pytest
from fakes import Plain
from simple_tasks import double

from cascade.interfaces import ConnectorUnavailable
from cascade.runtime import Engine, LocalConnector
from cascade.runtime._support.shared_connection import SharedConnection
from cascade.spec import task
from cascade.testkit import time_limit
from cascade.transport.waiting import AwakeTimeout


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


async def test_the_first_task_waits_two_seconds_for_a_connector_and_the_constraints_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As the contract promises: connecting and the sync take their time from one limit."""
    limits: list[float] = []

    class Noted(AwakeTimeout):
        def __init__(self, seconds: float) -> None:
            limits.append(seconds)
            super().__init__(seconds)

    monkeypatch.setattr("cascade.runtime._support.shared_connection.AwakeTimeout", Noted)
    assert await Engine(connector=LocalConnector()).run(double(1)) == 2
    assert limits == [2.0]


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


@pytest.mark.parametrize("refused", [False, True])
async def test_a_connector_that_is_a_little_late_logs_the_reason_itself(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, refused: bool
) -> None:
    """The run starts meanwhile; the engine logs a line only if the connector raises."""
    monkeypatch.setattr("cascade.runtime._support.shared_connection.START_LIMIT", 0.01)
    monkeypatch.setattr("cascade.runtime._support.shared_connection.GRACE", 60.0)
    started, tried = asyncio.Event(), asyncio.Event()

    class Late(Plain):
        async def connect(self) -> None:
            await started.wait()
            tried.set()
            if refused:
                raise ConnectorUnavailable("broker", 1883, "silent")

    @task
    async def started_task() -> int:
        started.set()
        await tried.wait()
        return 1

    assert await Engine(connector=Late()).run(started_task()) == 1
    assert [r.getMessage().endswith("no connection to broker:1883: silent") for r in caplog.records] == [
        True
    ] * refused


async def test_runs_wait_for_one_connector_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a connector that never connects nor one that still disconnects delays a run longer than the limit."""
    monkeypatch.setattr("cascade.runtime._support.shared_connection.START_LIMIT", 0.01)
    monkeypatch.setattr("cascade.runtime._support.shared_connection.STOP_LIMIT", 60.0)
    leave, waits = asyncio.Event(), 0
    wait = asyncio.wait

    async def counted(*args: Any, timeout: float | None = None) -> Any:
        nonlocal waits
        waits += timeout == 0.01
        return await wait(*args, timeout=timeout)

    class Slow(Plain):
        async def connect(self) -> None:
            await super().connect()
            if self.log.count("connect") == 1:
                return
            await asyncio.Event().wait()

        async def disconnect(self) -> None:
            await super().disconnect()
            await leave.wait()

    connector = Slow()
    first = asyncio.create_task(Engine(connector=connector).run(double(1)))
    while "disconnect" not in connector.log:
        await asyncio.sleep(0)
    monkeypatch.setattr("cascade.runtime._support.shared_connection.asyncio.wait", counted)
    others = [asyncio.create_task(Engine(connector=connector).run(double(n))) for n in (2, 3)]
    async with time_limit(50):
        while waits < 2:
            await asyncio.sleep(0)
        assert not first.done()
        leave.set()
        assert await asyncio.gather(first, *others) == [2, 4, 6]


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


async def test_an_error_while_disconnecting_is_logged_and_the_run_keeps_its_result(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The next run connects again."""

    class Failing(Plain):
        async def disconnect(self) -> None:
            await super().disconnect()
            raise OSError("gone")

    connector = Failing()
    engine = Engine(connector=connector)
    assert await engine.run(double(1)) == 2
    (record,) = caplog.records
    assert record.getMessage().endswith("failed to disconnect: OSError: gone")
    assert await engine.run(double(2)) == 4
    assert connector.log == ["connect", "disconnect"] * 2


async def test_other_work_goes_on_while_a_run_connects() -> None:
    """It begins after the connector has begun, and once; a connector that is there at once leaves no time for it."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Plain):
        async def connect(self) -> None:
            await super().connect()
            begun.set()
            await go_on.wait()

    connector = Slow()

    async def prepare() -> None:
        assert begun.is_set()
        connector.log.append("prepare")
        go_on.set()

    async with SharedConnection.hold(connector, meanwhile=prepare):
        connector.log.append("run")
    assert connector.log == ["connect", "prepare", "run", "disconnect"]


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


@pytest.mark.parametrize("drain", [None, 0, 3, 3.5, 30, 30.0, "long"])
async def test_a_connector_is_given_more_than_its_own_limit_to_disconnect(
    drain: object, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its drain has to end first; without a number, or with a small one, the engine's own limit holds."""
    monkeypatch.setattr("cascade.runtime._support.shared_connection.STOP_LIMIT", 0.01)
    limits: list[float] = []
    wait = asyncio.wait

    async def noted(tasks: Any, *, timeout: float | None = None) -> Any:
        if not limits and any("cascade disconnect" in repr(each) for each in tasks):
            assert timeout is not None
            limits.append(timeout)
            return await wait(tasks, timeout=0.01)
        return await wait(tasks, timeout=timeout)

    monkeypatch.setattr("cascade.runtime._support.shared_connection.asyncio.wait", noted)

    class Hanging(Plain):
        drain_timeout = drain

        async def disconnect(self) -> None:
            await asyncio.Event().wait()

    assert await Engine(connector=Hanging()).run(double(1)) == 2
    own = drain if isinstance(drain, int | float) else -10.0
    assert limits[0] > max(own, 0.0)
    assert limits[0] <= max(own, 0.0) + 10.0
    (record,) = caplog.records
    assert record.getMessage().endswith("is abandoned; its connection may stay open")
    assert f"within {limits[0]:g} s" in record.getMessage()
