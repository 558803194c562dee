"""Bad input is refused as early as it can be known, in words that name the task and the remedy."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from observers import watch
from simple_tasks import give

from cascade.interfaces import (
    ConfigurationError,
    ExecutorUnavailable,
    InvalidTargetError,
    MapLengthError,
    ResourceNotFoundError,
    TaskCallError,
    TaskDefinitionError,
    TaskNotPicklableError,
    UsageError,
)
from cascade.runtime import Engine
from cascade.spec import LazyResult, Param, Router, inject, resource, sequence, task


@task
def add(a: int, b: int = 0) -> int:
    return a + b


@task
async def query(sql: str, db: Any = inject("db")) -> Any:  # noqa: B008 - that is how it is declared
    return sql, db


def numbers() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("declare", "error", "words"),
    [
        (add, TaskCallError, r"task 'add': missing a required argument: 'a'; its signature is add\("),
        (
            lambda: add(1, 2, 3),  # type: ignore[call-arg]
            TaskCallError,
            r"task 'add': too many positional arguments; its signature is",
        ),
        (
            lambda: add(1, c=2),  # type: ignore[call-arg]
            TaskCallError,
            r"task 'add': .*unexpected keyword argument 'c'; its signature is",
        ),
        (lambda: add.partial(c=2), TaskCallError, r"task 'add': .*unexpected keyword argument 'c'"),
        (lambda: add.map(a=[1], c=[2]), TaskCallError, r"task 'add': .*unexpected keyword argument 'c'"),
        (lambda: add.map(a=3), TaskCallError, r"task 'add': map needs a list of values for 'a', not int"),  # type: ignore[arg-type]
        (lambda: add.map(a=[1, 2], b=[1]), MapLengthError, r"task 'add': .*a has 2, b has 1"),
        (lambda: task(numbers), TaskDefinitionError, r"numbers is a generator; .* return a list instead"),
        (lambda: Router(give(1), {}), ConfigurationError, r"Router\(routes\): needs a dict of at least one"),
        (lambda: Router(give(1), {1: 2}), InvalidTargetError, r"2 of type int is not a lazy result"),  # type: ignore[arg-type]
        (lambda: give(1).run_if(True), InvalidTargetError, r"run_if\(...\) takes the result of calling a task"),  # type: ignore[call-overload]
        (lambda: add.with_cache(file="{c}.txt"), ConfigurationError, r"\{c\} is not a parameter of task 'add'"),
        (lambda: task(mode="process")(query.function), ConfigurationError, r"leave mode out"),
        (lambda: Router(give(1), {1: give(2)}).with_timeout(1), ConfigurationError, r"with_timeout: 'route' is a step .*on the tasks"),
        (lambda: give([1])[0].with_retry(2), ConfigurationError, r"with_retry: 'item' is a step of the graph and calls no task"),
        (lambda: sequence(give(1)).with_cache(), ConfigurationError, r"with_cache: 'sequence' is a step of the graph"),
        (lambda: Param("x").with_constraints(gpu=1), ConfigurationError, r"with_constraints: 'x' is a step of the graph"),
    ],
)  # fmt: skip
def test_what_is_declared_wrong_is_refused_where_it_is_declared(
    declare: Callable[[], object], error: type[Exception], words: str
) -> None:
    """No run is needed to hear of it, so the traceback shows the line that is wrong."""
    with pytest.raises(error, match=words):
        declare()


def lambda_for_a_process() -> LazyResult[int]:
    return task(name="squeeze", mode="process")(lambda: 1)()


def nested_for_a_process() -> LazyResult[int]:
    @task(mode="process")
    def inner() -> int:
        return 1

    return inner()


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        (lambda: query("x"), ResourceNotFoundError, r"task 'query': .*no resource named 'db' \(it has pool\)"),
        (lambda: query.map(sql=["x"]), ResourceNotFoundError, r"'db' .*pass resources=\[...\]"),
        (lambda: query.map(sql=give(["x"])), ResourceNotFoundError, r"no resource named 'db'"),
        (lambda: task(mode="gpu")(add.function)(1), ConfigurationError, r"task\(mode=\).*no executor 'gpu' \(it has"),
        (lambda_for_a_process, TaskNotPicklableError, r"a lambda; define it with def at the top of a module"),
        (nested_for_a_process, TaskNotPicklableError, r"'.*inner' .*defined inside another function"),
        (lambda: add(1).with_constraints(gpu=1), UsageError, r"'add'.*gpu"),
    ],
)  # fmt: skip
async def test_what_the_engine_lacks_is_reported_before_any_task_starts(
    target: Callable[[], LazyResult[Any]], error: type[Exception], words: str
) -> None:
    """Known when the graph is built: nothing has run, also what stood before it in the graph."""

    @resource
    def pool() -> Iterator[int]:
        yield 1

    started: list[object] = []

    @task(mode="inline")
    def first() -> None:
        started.append(1)

    engine = Engine(resources=[pool])
    with pytest.raises(error, match=words):
        await engine.run([first(), target().after(first())])
    assert not started


async def test_a_resource_that_is_given_need_not_be_there() -> None:
    """An argument in its place is enough, for a call and for every item of a map."""
    assert await Engine().run(query("x", db=1)) == ("x", 1)
    assert await Engine().run(query.partial(db=2).map(sql=["x"])) == [("x", 2)]


async def test_an_executor_whose_cluster_is_not_there_fails_the_run_before_its_first_task() -> None:
    """Who offers start() is asked first, and its words reach the user."""

    class Absent:
        workers = 1

        async def start(self) -> None:
            raise ExecutorUnavailable("tcp://nowhere:8786", "it does not answer", "start a scheduler there")

        async def run(self, function: Any, args: Any, kwargs: Any) -> Any:
            raise AssertionError("no task must reach it")

        async def settle(self, timeout: float) -> int:
            return 0

        async def close(self) -> None: ...

    engine = Engine(executor=Absent())
    events = watch(engine)
    with pytest.raises(
        ExecutorUnavailable, match="nowhere:8786 cannot run tasks: it does not answer; start a scheduler"
    ):
        await engine.run([add(1), give(1)])
    assert len(events) == 2  # that the run began, and that it failed
