"""The language: conditions, choices, loops, inputs, resources and failures, as a run gives them."""

import asyncio
import dataclasses
import gc
import traceback
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from observers import watch, watch_tasks
from simple_tasks import collect, double, fail, give

from cascade.interfaces import (
    ConfigurationError,
    InputsError,
    ResourceNotFoundError,
    RouteError,
    TaskState,
    TaskStateEvent,
    UsageError,
)
from cascade.runtime import Engine, ThreadExecutor, override_resource
from cascade.runtime._support.text import add_note
from cascade.spec import Env, LazyResult, Param, Router, inject, pipeline, resource, sequence, task


@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any = 0


def names(events: list[TaskStateEvent], state: TaskState = TaskState.RUNNING) -> list[str]:
    return [event.task_name for event in events if event.state is state]


async def test_items_and_attributes_are_taken_when_the_value_is_there() -> None:
    """lazy[key] and lazy.attribute work on the value; observers get no events about them."""
    engine = Engine()
    events = watch_tasks(engine)
    point = give(Point({"a": [1, 2]}, y=5))
    assert await engine.run([point.x["a"][1], double(point.y)]) == [2, 10]
    assert names(events) == ["give", "double"]
    with pytest.raises(KeyError, match="nothing"):
        await engine.run(give({"a": 1})["nothing"])


async def test_lazy_results_inside_dataclasses_are_found() -> None:
    """A dataclass that holds lazy results arrives as a copy that holds their values."""
    original = Point(double(1), [double(2)])
    value = await Engine().run(give(original))
    assert value == Point(2, [4])
    assert isinstance(original.x, LazyResult)


async def test_run_if_decides() -> None:
    """A true condition changes nothing; a false one skips the task and what takes its value, with the reason."""
    engine = Engine()
    events = watch_tasks(engine)
    yes, no = give(True), give(0)
    assert await engine.run(double(1).run_if(yes)) == 2
    skipped = double(1).run_if(no)
    assert await engine.run([skipped, double(skipped), give(3).after(skipped)]) == [None, None, 3]
    reasons = [e.reason for e in events if e.state is TaskState.SKIPPED]
    assert reasons == ["its condition give:0 is false", "double:0 was skipped"]


async def test_run_if_may_name_another_value() -> None:
    """With `otherwise` a false condition gives that value, and what takes it runs."""
    assert await Engine().run(double(double(1).run_if(give(False), otherwise=20))) == 40
    assert await Engine().run(double.map(x=[1, 2]).run_if(give(False), otherwise=[])) == []


async def test_run_if_decides_about_steps_of_the_graph_too() -> None:
    """Inputs, items, choices and sequences have conditions like any task; observers get no events about them, as always."""
    steps: list[LazyResult[Any]] = [
        Param("x", default=7),
        give([8])[0],
        Router(give("a"), {"a": give(9)}),
        sequence(give(10)),
    ]
    engine = Engine()
    events = watch_tasks(engine)
    assert await engine.run([step.run_if(give(1)) for step in steps]) == [7, 8, 9, [10]]
    events.clear()
    assert await engine.run([step.run_if(give(0)) for step in steps]) == [None] * 4
    assert await engine.run([step.run_if(give(0), otherwise=1) for step in steps]) == [1] * 4
    assert {event.task_name for event in events} == {"give"}


async def test_a_condition_without_a_truth_value_fails_with_its_own_message() -> None:
    """What bool() raises is the failure."""

    class Ambiguous:
        def __bool__(self) -> bool:
            raise ValueError("the truth is ambiguous")

    with pytest.raises(ValueError, match="ambiguous"):
        await Engine().run(double(1).run_if(give(Ambiguous())))


async def test_a_router_runs_only_the_chosen_route() -> None:
    """Tasks that only other routes need never start; what both share runs once and keeps its value."""
    engine = Engine()
    events = watch_tasks(engine)
    shared = give(5).named("shared")

    def target(kind: str) -> LazyResult[Any]:
        return Router(
            give(kind), {"a": double(shared).named("a"), "b": collect(shared, give(1).named("only b"))}
        )

    assert await engine.run([target("a"), target("b"), double(shared)]) == [10, [5, 1], 10]
    assert names(events).count("shared") == 1
    events.clear()
    assert await engine.run(collect(double(shared), target("a"))) == [10, 10]
    assert "only b" not in names(events)


async def test_a_value_without_a_route_is_named() -> None:
    """The error names the value and the routes."""
    with pytest.raises(RouteError, match="no route for 'c'; the routes are 'a', 'b'"):
        await Engine().run(Router(give("c"), {"a": give(1), "b": give(2)}))


async def test_a_task_may_return_its_next_step() -> None:
    """The value of a returned call is the task's value: recursion, also not in the last position."""

    @task(mode="inline")
    def factorial(n: int) -> Any:
        return 1 if n == 0 else times(n, factorial(n - 1))

    @task(mode="inline")
    def times(a: int, b: int) -> int:
        return a * b

    assert await Engine().run(collect(factorial(5), factorial(3))) == [120, 6]
    assert await Engine().run(double.map(x=[factorial(2), factorial(3)])) == [4, 12]


@pytest.mark.full
@pytest.mark.process
async def test_a_loop_of_returned_steps_grows_neither_depth_nor_memory() -> None:
    """Five thousand steps keep no more than two hundred did."""

    @task(mode="inline")
    def count(n: int, ballast: bytes) -> Any:
        return n if n == 0 else count(n - 1, bytes(1000))

    async def peak(steps: int) -> int:
        gc.collect()
        tracemalloc.start()
        assert await Engine().run(double(count(steps, b""))) == 0
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    small = await peak(200)
    assert await peak(5_000) < 2 * small + 200_000


async def test_a_returned_step_that_needs_a_value_long_gone_says_what_to_do() -> None:
    """Values are released when no known task needs them; pass them on as arguments."""
    outer = give(7)

    @task(mode="inline")
    def late(value: int) -> Any:
        return double(outer)

    with pytest.raises(UsageError, match="pass every result that the returned calls need"):
        await Engine().run(late(double(outer)))


async def test_a_bounded_map_runs_so_many_at_a_time(unhurried: None) -> None:
    """with_concurrency(n) holds for lists and lazy lists, and every item runs; others are not held."""
    running, most = 0, 0

    @task
    async def busy(x: int, step: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return x * step

    mapped = busy.partial(step=2).map(x=list(range(20))).with_concurrency(3)
    assert await Engine().run(mapped) == [2 * n for n in range(20)]
    assert most == 3
    most = 0
    lazily = busy.partial(step=give(3)).map(x=give(list(range(20)))).with_concurrency(4)
    assert await Engine().run(lazily) == [3 * n for n in range(20)]
    assert most == 4


async def test_a_bounded_map_holds_items_that_arrive_after_others_have_ended() -> None:
    """Items that wait for other tasks count when they start, each once."""
    running, most, ended = 0, 0, 0
    half = asyncio.Event()

    @task
    async def arrive(x: int) -> int:
        if x >= 6:
            await half.wait()
        return x

    @task
    async def busy(x: int) -> int:
        nonlocal running, most, ended
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        ended += 1
        if ended == 6:
            half.set()
        return x

    mapped = busy.map(x=[arrive(n) for n in range(20)]).with_concurrency(3)
    assert await Engine().run(mapped) == list(range(20))
    assert most == 3


async def test_a_map_known_in_the_run_may_demand_what_is_known_in_the_run() -> None:
    """Its items' lazy amounts are there when the items are, also if others had read them before."""
    amount = give(2)
    mapped = double.map(x=collect(1, give(amount))).with_constraints(slots=amount)
    assert await Engine(system_resources={"slots": 2}).run(mapped) == [2, 4]


async def test_sequence_and_pipeline() -> None:
    """A sequence runs one after the other and lists the values; a pipeline hands them on."""
    order: list[int] = []

    @task
    async def note(n: int) -> int:
        await asyncio.sleep(0.002 * (3 - n))
        order.append(n)
        return n

    assert await Engine().run(sequence(note(1), note(2), note(3))) == [1, 2, 3]
    assert order == [1, 2, 3]
    assert await Engine().run(pipeline(1, double, double, collect)) == [4]


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


async def test_an_input_that_only_one_route_needs_is_asked_for_too() -> None:
    """Inputs are those of the whole target, whatever is chosen later; a returned step may bring its own."""
    target = Router(give("a"), {"a": give(1), "b": give(Param("n"))})
    with pytest.raises(InputsError, match="'n' is missing"):
        await Engine().run(target)
    assert await Engine().run(target, {"n": 1}) == 1

    @task(mode="inline")
    def returns(_: Any) -> Any:
        return give(Param("n", default=8))

    assert await Engine().run(returns(Param("n", default=1))) == 8


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


def recording(log: list[str], name: str, **options: Any) -> Any:
    def opened(inner: Any = None) -> Iterator[str]:
        log.append(f"open {name}")
        try:
            yield name
        finally:
            log.append(f"close {name}")

    return resource(name=name, **options)(opened)


async def test_a_resource_is_opened_once_and_closed_at_the_end() -> None:
    """Whatever tasks ask for it, in threads or on the loop, share one; given arguments win."""
    log: list[str] = []
    db = recording(log, "db")

    @task
    async def query(sql: str, conn: str = inject("db")) -> str:
        return f"{conn}: {sql}"

    @task
    def in_thread(conn: str = inject(db)) -> str:
        return conn

    engine = Engine(resources=[db])
    assert await engine.run(
        [query("a"), query("b"), in_thread(), query("c", conn="mine"), query("d", "pos")]
    ) == [
        "db: a",
        "db: b",
        "db",
        "mine: c",
        "pos: d",
    ]
    assert log == ["open db", "close db"]
    log.clear()
    assert await engine.run(query("x", conn="mine")) == "mine: x"
    assert not log


async def test_resources_nest_and_close_in_reverse_order() -> None:
    """A resource may ask for others; each is closed before what it stands on, after success, failure and cancel."""
    log: list[str] = []

    @resource
    async def pool() -> AsyncIterator[str]:
        log.append("open pool")
        async with asyncio.timeout(60):  # must be left in the task that entered it
            yield "pool"
        log.append("close pool")

    @resource
    def session(source: str = inject(pool)) -> Iterator[str]:
        log.append("open session")
        yield f"session of {source}"
        log.append("close session")

    @task
    async def use(how: str, s: str = inject(session)) -> str:
        if how == "fail":
            raise ValueError(how)
        if how == "hang":
            started.set()
            await asyncio.Event().wait()
        return s

    expected = ["open pool", "open session", "close session", "close pool"]
    assert await Engine().run(use("work")) == "session of pool"
    assert log == expected
    log.clear()
    with pytest.raises(ValueError, match="fail"):
        await Engine().run(use("fail"))
    assert log == expected
    log.clear()
    started = asyncio.Event()
    run = asyncio.create_task(Engine().run(use("hang")))
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert log == expected


async def test_a_resource_of_task_scope_lives_for_one_attempt() -> None:
    """Each attempt opens its own and closes it before the next one begins."""
    log: list[str] = []
    temp = recording(log, "temp", scope="task")

    @task
    async def flaky(t: str = inject(temp)) -> int:
        log.append("use")
        if log.count("use") < 2:
            raise OSError
        return 1

    await Engine().run(flaky().with_retry(2))
    assert log == ["open temp", "use", "close temp"] * 2


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


async def test_a_resource_can_be_overridden() -> None:
    """Tests put a value or another resource in the place of a name, for the runs inside the context."""
    log: list[str] = []
    real = recording(log, "db")

    @task
    async def use(db: str = inject(real)) -> str:
        return db

    with override_resource("db", "fake"):
        assert await Engine().run(use()) == "fake"
    assert not log
    assert await Engine().run(use()) == "db"


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
    with pytest.raises(ConfigurationError, match="'stop' or 'continue'"):
        await engine.run(double(1), on_failure="ignore")  # type: ignore[call-overload]


async def test_a_failure_shows_the_users_code_and_where_arguments_came_from() -> None:
    """The traceback goes from run() to the task, without the engine's insides; secrets are masked."""

    @task
    def divide(a: int, b: Any) -> float:
        quotient: float = a / b["secret"]
        return quotient

    with pytest.raises(TypeError) as caught:
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

    @task(mode="inline")
    def wrap(times: int) -> None:
        for _ in range(times):
            add_note(shared, "closing failed too")
        raise shared

    for target in (refuse.map(x=list(range(20))), wrap(3)):
        with pytest.raises(ExceptionGroup):
            await Engine().run([target], on_failure="continue")
    notes = shared.__notes__
    assert notes[0] == "of its author"
    assert notes.count("closing failed too") == 1
    assert "in task 'wrap' (wrap:0)" in notes[-1]
    assert len(notes) == 10


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


def test_sys_exit_in_a_task_ends_the_run_in_good_order() -> None:
    """SystemExit ends the process: the run is cancelled first, then it is raised."""
    engine = Engine()
    told = watch(engine)

    @task(mode="inline")
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit, match="3"):
        asyncio.run(engine.run(leave()))
    assert told[-1].event.value == "ENGINE_STOPPED"
