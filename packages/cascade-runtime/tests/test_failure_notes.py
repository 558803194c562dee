"""What an error says that a run raises, and the log line about what a run leaves behind."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any

import pytest
from desk import limits_of, pass_now
from observers import lines_of
from simple_tasks import double

from cascade.interfaces.tracebacks import show_arguments
from cascade.runtime import Engine
from cascade.spec import inject, resource, task
from cascade.testkit import eventually

HOUR = 3600.0
LIMIT = 50.0
"""Seconds after which what has not happened is a failure."""


@task(mode="inline")
def refuse(*values: Any, **named: Any) -> None:
    raise ValueError("no")


async def note_of(lazy: Any) -> str:
    with pytest.raises(ValueError, match="no") as raised:
        await Engine().run(lazy, run_id="night")
    (note,) = raised.value.__notes__
    return str(note)


async def test_what_is_written_to_a_journal_names_arguments_and_shows_no_value() -> None:
    """Only a terminal, or who asks for it, gets the values; a result of another task is named by its task."""
    call = refuse(double(1), user="ada", words=["s3cret"])
    for shown, expected in (
        (nullcontext(), "user, words"),
        (show_arguments(), "user='ada', words=['s3cret']"),
    ):
        with shown:
            note = await note_of(call)
        assert ("s3cret" in note) == ("s3cret" in expected), note
        assert "from double:0" in note or "double" in note


async def test_a_run_logs_how_many_calls_it_leaves_behind(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that outlives the time limit of its task; a run that leaves nothing logs nothing."""
    begun, free, limits = threading.Event(), threading.Event(), limits_of(HOUR, monkeypatch)

    @task(mode="thread")
    def stuck() -> None:
        begun.set()
        free.wait(LIMIT)

    engine = Engine(stop_timeout=0.0)
    assert await engine.run(double(1)) == 2
    assert lines_of(caplog, "cascade.engine") == []
    run = asyncio.create_task(engine.run(stuck().with_timeout(HOUR), run_id="night"))
    await eventually(begun.is_set)
    pass_now(limits[0])
    await asyncio.wait({run})
    free.set()
    (line,) = lines_of(caplog, "cascade.engine")
    assert line.getMessage() == "run night ended, but these run on: 1 call that cannot be stopped"


@pytest.mark.parametrize("what", ["tasks", "resources", "both"])
async def test_a_run_logs_by_name_what_does_not_end(caplog: pytest.LogCaptureFixture, what: str) -> None:
    """Tasks and resources that suppress their cancellation; those that end are not named."""
    begun, free = asyncio.Event(), asyncio.Event()

    async def go_on() -> None:
        while not free.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await free.wait()

    @resource
    async def stubborn() -> AsyncIterator[int]:
        yield 1
        if what != "tasks":
            await go_on()

    @task
    async def refuses(held: int = inject(stubborn)) -> None:
        begun.set()
        await (asyncio.Event().wait() if what == "resources" else go_on())

    engine = Engine(stop_timeout=0.01, close_timeout=0.01)
    run = asyncio.create_task(engine.run([refuses(), task(asyncio.Event().wait)()], run_id="night"))
    await begun.wait()
    run.cancel()
    await asyncio.wait({run})
    free.set()
    await eventually(lambda: asyncio.all_tasks() == {asyncio.current_task()})
    named = {"tasks": "tasks (refuses:0)", "resources": "resources (cascade resource stubborn)"}
    parts = [part for kind, part in named.items() if what in {kind, "both"}]
    line = lines_of(caplog, "cascade.engine")[-1].getMessage()
    expected = f"{'; '.join(parts)} that suppress asyncio.CancelledError"
    assert line == f"run night ended, but these run on: {expected}"
