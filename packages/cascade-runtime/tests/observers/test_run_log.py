"""Without a broker, the logger cascade.run says what became of a run and its tasks."""

import asyncio
import logging
from typing import Any

import pytest

from cascade.interfaces import TaskStateEvent
from cascade.runtime import Engine, EventBus
from cascade.runtime._observers import run_log
from cascade.spec import LazyResult, task


@task
async def give(value: Any) -> Any:
    return value


@task
async def fail(text: str) -> None:
    raise ValueError(text)


async def logged(
    caplog: pytest.LogCaptureFixture, target: LazyResult[Any], level: int, **settings: Any
) -> list[str]:
    """Run the target, which may fail; return the lines of the logger."""
    caplog.set_level(level, "cascade.run")
    of_run: dict[str, Any] = {"run_id": "r1"}
    of_run |= {key: settings.pop(key) for key in ("run_id", "name", "on_failure") if key in settings}
    try:
        await Engine(**settings).run(target, **of_run)
    except (ValueError, ExceptionGroup):
        logging.getLogger("users").debug("the run failed")
    return [
        f"{record.levelname} {record.getMessage()}"
        for record in caplog.records
        if record.name == "cascade.run"
    ]


def found(lines: list[str], *parts: str) -> list[str]:
    return [line for line in lines if all(part in line for part in parts)]


async def test_the_start_and_the_end_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With the run's name, how it ended, how long it took, and its tasks by state."""
    first, last = await logged(caplog, give(give(1)), logging.INFO, name="nightly")
    assert first == "INFO run r1 (nightly) started"
    assert last.startswith("INFO run r1 succeeded after ")
    assert last.endswith(": 2 completed")


async def test_equal_skips_are_logged_once_at_info(caplog: pytest.LogCaptureFixture) -> None:
    """The first task of each reason at INFO, the others at DEBUG."""
    target = [give.map(value=[1, 2, 3]).run_if(give(0)), give(fail("x"))]
    lines = await logged(caplog, give(target), logging.INFO, on_failure="continue")
    assert found(lines, "INFO", "is skipped: ")
    items = [give(n).run_if(give(0).named("no")) for n in range(3)]
    lines = await logged(caplog, give(items), logging.DEBUG, run_id="r2")
    skipped = [line.split()[0] for line in found(lines, "of run r2 is skipped: its condition")]
    assert sorted(skipped) == ["INFO"] * 3  # each has a condition of its own
    condition = give(0)
    lines = await logged(
        caplog, give([give(n).run_if(condition) for n in range(3)]), logging.DEBUG, run_id="r3"
    )
    skipped = [line.split()[0] for line in found(lines, "give:", "of run r3 is skipped: its condition")]
    assert sorted(skipped) == ["DEBUG", "DEBUG", "INFO"]


async def test_nothing_is_subscribed_when_the_logger_is_off(caplog: pytest.LogCaptureFixture) -> None:
    """Then events of tasks are not even made."""
    caplog.set_level(logging.WARNING, "cascade.run")
    bus, wanted = EventBus(), list[bool]()

    @task
    async def look() -> None:
        wanted.append(bus.wants(TaskStateEvent))

    await Engine(bus=bus).run(look())
    caplog.set_level(logging.INFO, "cascade.run")
    await Engine(bus=bus).run(look())
    assert wanted == [False, True]
    assert bus.handlers() == []


async def test_two_runs_of_one_bus_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    """They share the observer, which ends with the last of them."""
    caplog.set_level(logging.INFO, "cascade.run")
    engine, begun = Engine(), asyncio.Event()

    @task
    async def meet(first: bool) -> None:
        begun.set() if first else await begun.wait()

    await asyncio.gather(engine.run(meet(False), run_id="a"), engine.run(meet(True), run_id="b"))
    starts = [record.getMessage() for record in caplog.records if "started" in record.getMessage()]
    assert sorted(starts) == ["run a started", "run b started"]
    assert run_log._shared.values() == []


async def test_the_reasons_that_are_remembered_are_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound every skip is logged at DEBUG."""
    monkeypatch.setattr(run_log, "MOST_REASONS", 2)
    items = [give(n).run_if(give(0)) for n in range(5)]
    lines = await logged(caplog, give(items), logging.DEBUG)
    levels = [line.split()[0] for line in found(lines, "is skipped: its condition")]
    assert sorted(levels) == ["DEBUG"] * 3 + ["INFO"] * 2
