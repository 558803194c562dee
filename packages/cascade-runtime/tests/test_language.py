"""The language: conditions, choices, loops, inputs, resources and failures, as a run gives them."""

import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from observers import watch_tasks
from simple_tasks import collect, double, fail, give

from cascade.interfaces import (
    ConfigurationError,
    InputsError,
    ResourceNotFoundError,
    TaskState,
    TaskStateEvent,
    UsageError,
)
from cascade.interfaces.tracebacks import show_arguments
from cascade.runtime import Engine, ThreadExecutor
from cascade.spec import Env, LazyResult, Param, inject, resource, task


def names(events: list[TaskStateEvent], state: TaskState = TaskState.RUNNING) -> list[str]:
    return [event.task_name for event in events if event.state is state]


async def test_a_returned_step_that_needs_a_value_long_gone_says_what_to_do() -> None:
    """Values are released when no known task needs them; pass them on as arguments."""
    outer = give(7)

    @task(mode="inline")
    def late(value: int) -> Any:
        return double(outer)

    with pytest.raises(UsageError, match="pass every result that the returned calls need"):
        await Engine().run(late(double(outer)))


async def test_inputs_come_from_the_caller_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Params and environment variables are converted; missing ones are reported before any task runs."""
    monkeypatch.setenv("CASCADE_TEST_COUNT", "4")
    target = collect(Param("n", type=int), [Env("CASCADE_TEST_COUNT", type=int)], Param("d", default="x"))
    engine = Engine()
    events = watch_tasks(engine)
    assert await engine.run(target, {"n": "3"}) == [3, [4], "x"]
    events.clear()
    with pytest.raises(InputsError, match=r"parameter 'm' is unknown.*parameter 'n' is missing"):
        await engine.run(collect(target, give(1)), {"m": 1})
    assert not events
    with pytest.raises(InputsError, match="the target takes none"):
        await engine.run(give(1), {"m": 1})


async def test_a_returned_step_reads_its_inputs_when_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parameter is what the run was given under its name, else its default; a variable is read then."""
    monkeypatch.setenv("CASCADE_TEST_X", "4")
    steps = iter(
        [
            give(Param("CASCADE_TEST_X", type=int)),
            give(Env("CASCADE_TEST_X", type=int)),
            give(Param("other", default=5)),
            give(Param("another")),
        ]
    )

    @task(mode="inline")
    def returns(_: Any) -> Any:
        return next(steps)

    async def run() -> Any:
        return await Engine().run(returns(Param("CASCADE_TEST_X")), {"CASCADE_TEST_X": "3"})

    assert [await run() for _ in range(3)] == [3, 4, 5]
    with pytest.raises(InputsError, match="'another' is missing"):
        await run()
    with pytest.raises(InputsError, match="'another' is unknown"):
        await Engine().run(returns(1), {"another": 1})


def refuse(words: str) -> Iterator[int]:
    raise OSError(words)


async def test_a_resource_that_goes_wrong_says_so() -> None:
    """Unknown names, failing opening and closing, no yield and two yields each give an error in words."""

    def using(what: Any) -> LazyResult[Any]:
        @task
        async def use(r: Any = inject(what)) -> Any:  # noqa: B008 - each has its own
            return r

        return use()

    @resource
    def empty() -> Iterator[int]:
        yield from ()

    @resource
    def twice() -> Iterator[int]:
        yield 1
        yield 2

    @resource
    def broken() -> Iterator[int]:
        yield from refuse("no database")

    @resource
    def leaky() -> Iterator[int]:
        yield 1
        raise OSError("cannot close")

    engine = Engine(resources=[empty])
    with pytest.raises(ResourceNotFoundError, match=r"no resource named 'dbx' \(it has empty\)"):
        await engine.run(using("dbx"))
    with pytest.raises(UsageError, match="'empty' yields nothing; it must yield one value"):
        await engine.run(using("empty"))
    with pytest.raises(UsageError, match="'twice' yields more than once; it must yield one value"):
        await engine.run(using(twice))
    with pytest.raises(OSError, match="no database"):
        await engine.run(using(broken))
    with pytest.raises(OSError, match="cannot close"):
        await engine.run(using(leaky))
    with pytest.raises(ConfigurationError, match="two resources have the name 'empty'"):
        await Engine(resources=[empty, empty]).run(give(1))


async def test_carry_on_runs_everything_that_can_run() -> None:
    """Only what needs a failed task is skipped, with the reason; all failures come as one group."""
    engine = Engine()
    events = watch_tasks(engine)
    lost = double(fail("one"))
    target = [collect(double(1), lost), fail("two"), double(3).named("fine"), give(1).after(fail("three"))]
    with pytest.raises(ExceptionGroup) as caught:
        await engine.run(target, on_failure="continue")
    assert sorted(str(error) for error in caught.value.exceptions) == ["one", "three", "two"]
    assert "fine" in names(events, TaskState.COMPLETED)
    assert {e.task_name: e.reason for e in events if e.state is TaskState.SKIPPED} == {
        "double": "fail:0 failed",
        "collect": "double:1 was skipped",
        "give": "fail:2 failed",
    }
    assert await engine.run([double(1)], on_failure="continue") == [2]
    with pytest.raises(ConfigurationError, match="'stop', 'continue' or 'return'"):
        await engine.run(double(1), on_failure="ignore")  # type: ignore[call-overload]


async def test_a_failure_shows_the_users_code_and_where_arguments_came_from() -> None:
    """The traceback goes from run() to the task, without the engine's insides; secrets are masked."""

    @task
    def divide(a: int, b: Any) -> float:
        quotient: float = a / b["secret"]
        return quotient

    with show_arguments(), pytest.raises(TypeError) as caught:
        await Engine().run(divide(double(1), {"secret": "s3cret"}))
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert frames[-2:] == ["run", "divide"]
    assert caught.value.__notes__[0].endswith("called with a=2 from double:0, b={'secret': ***}")
    assert "s3cret" not in caught.value.__notes__[0]


async def test_an_error_that_is_raised_again_and_again_does_not_grow() -> None:
    """One object, of many tasks and runs: the last notes stay, each once, and those of its author."""
    shared = ValueError("shared")
    shared.add_note("of its author")

    @task(mode="inline")
    def refuse(x: int) -> None:
        raise shared

    with pytest.raises(ExceptionGroup):
        await Engine().run(refuse.map(x=list(range(20))), on_failure="continue")
    with pytest.raises(ValueError, match="shared"):
        await Engine().run(refuse(1).named("again"))
    notes = shared.__notes__
    assert notes[0] == "of its author"
    assert "in task 'again' (again:0)" in notes[-1]
    assert len(set(notes)) == len(notes) == 9


async def test_a_task_names_its_executor() -> None:
    """mode= chooses among the executors that the engine was given; an unknown one is refused with those it has."""

    class Recording(ThreadExecutor):
        used = 0

        async def run(self, function: Any, args: Any, kwargs: Any) -> Any:
            self.used += 1
            return await super().run(function, args, kwargs)

    special, default = Recording(1), Recording(1)

    @task(mode="special")
    def on_special() -> int:
        return 1

    @task
    def on_default() -> int:
        return 2

    @task(mode="thread")
    def on_thread() -> int:
        return 3

    engine = Engine(executor=default, executors={"special": special})
    assert await engine.run([on_special(), on_default(), on_thread()]) == [1, 2, 3]
    assert (special.used, default.used) == (1, 1)
    with pytest.raises(ConfigurationError, match=r"no executor 'special' \(it has .*thread"):
        await Engine().run(on_special())
    await special.close()
    await default.close()
