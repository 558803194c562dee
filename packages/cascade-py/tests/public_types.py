"""What type checkers must find in the public interface, as a user has it: from installed wheels.

The session ``types`` gives this file to mypy and to pyright, both strict; it is never run. A line with
``type: ignore`` is a mistake that they must find, since an ignore that is not needed is an error.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, assert_type

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import protocols
from cascade.runtime import Engine, EventBus, LocalConnector, TelemetrySubscriber


@cs.task
def count(path: str) -> int:
    """A synchronous task."""
    return len(path)


@cs.task
async def fetch(path: str, *, tries: int = 1) -> bytes:
    """An asynchronous task: its value is what the coroutine returns."""
    return path.encode() * tries


@cs.task(name="total", mode="inline")
def add(numbers: list[int]) -> int:
    """A task with settings."""
    return sum(numbers)


@cs.task
def double(x: int) -> int:
    """Take a number."""
    return 2 * x


@cs.task
def size(named: dict[str, int]) -> int:
    """Take a dict."""
    return len(named)


@cs.task
def largest(numbers: Sequence[int]) -> int:
    """Take any sequence: also a list of lazy results that stands in a variable."""
    return max(numbers)


def tasks_give_lazy_results() -> None:
    """Calling a task gives a lazy result of what its function returns."""
    as_callable: Callable[[str], cs.LazyResult[int]] = count  # a task has its function's parameters
    as_task: cs.Task[..., bytes] = fetch
    _ = (as_callable, as_task)
    assert_type(count("a"), cs.LazyResult[int])
    assert_type(fetch("a", tries=2), cs.LazyResult[bytes])
    assert_type(add([count("a"), count("b")]), cs.LazyResult[int])
    assert_type(count.map(path=["a", "b"]), cs.LazyResult[list[int]])
    assert_type(count.name, str)


def lazy_results_are_accepted_as_values() -> None:
    """A lazy result may stand wherever its value is expected, also inside containers."""
    assert_type(count(cs.pipeline("a", fetch)), cs.LazyResult[int])
    assert_type(double(double(1)), cs.LazyResult[int])
    assert_type(double(x=double(1)), cs.LazyResult[int])
    assert_type(add([double(number) for number in range(3)]), cs.LazyResult[int])
    assert_type(add([1, double(1)]), cs.LazyResult[int])
    assert_type(size({"a": double(1)}), cs.LazyResult[int])
    numbers = [double(number) for number in range(3)]
    assert_type(largest(numbers), cs.LazyResult[int])


def policies_keep_the_type() -> None:
    """A policy gives another of the same kind, on a task and on a call."""
    assert_type(count.with_retry(3, delay=0.1, backoff=2.0)("a"), cs.LazyResult[int])
    assert_type(count.with_retry(3, on=OSError)("a"), cs.LazyResult[int])
    assert_type(fetch.with_timeout(5)("a", tries=2), cs.LazyResult[bytes])
    assert_type(count("a").with_retry(max_attempts=2).with_timeout(1.5), cs.LazyResult[int])
    assert_type(count("a").after(fetch("b")), cs.LazyResult[int])


def shapes_keep_the_type() -> None:
    """What a declaration gives is known whatever its shape; only an item or attribute may be anything."""
    assert_type(count("a").named("first").with_cache(ttl=60), cs.LazyResult[int])
    assert_type(count("a").with_constraints(gpu=1), cs.LazyResult[int])
    assert_type(count("a").run_if(fetch("b")), cs.LazyResult[int])
    assert_type(count("a").run_if(fetch("b"), otherwise=0), cs.LazyResult[int])
    assert_type(count("a").run_if(fetch("b"), otherwise=double(1)), cs.LazyResult[int])
    assert_type(count("a").run_if(fetch("b"), otherwise=None), cs.LazyResult[int | None])
    assert_type(count("a").run_if(fetch("b"), otherwise=fetch("c")), cs.LazyResult[int | bytes])
    assert_type(fetch.partial(tries=2), cs.Task[..., bytes])
    assert_type(fetch.partial(tries=2).map(path=add.map(numbers=[[1]])), cs.LazyResult[list[bytes]])
    assert_type(count.map(path=["a"]).with_concurrency(2), cs.LazyResult[list[int]])
    assert_type(cs.Router(fetch("a"), {"a": count("a"), "b": count("b")}), cs.Router[int])
    assert_type(cs.sequence(count("a"), fetch("b")), cs.LazyResult[list[Any]])
    assert_type(cs.pipeline("a", fetch, count), cs.LazyResult[Any])
    assert_type(count.map(path=["a"])[0], cs.LazyResult[Any])
    assert_type(cs.run(count.map(path=["a"])), list[int])
    assert_type(cs.run(cs.Router(fetch("a"), {"a": count("a")})), int)
    assert_type(cs.run(count("a"), {}, on_failure="return", run_id="night"), cs.RunResult[int])
    assert_type(cs.run([count("a")], on_failure="return"), cs.RunResult[Sequence[int]])


def inputs_have_the_type_they_are_converted_to() -> None:
    """``type=`` decides; without it an input is a text."""
    assert_type(cs.Param("name"), cs.Param[str])
    assert_type(cs.Param("name", default="x", description="who"), cs.Param[str])
    assert_type(cs.Env("HOME"), cs.Env[str])
    assert_type(cs.run(count(cs.Param("name")), {"name": "x"}), int)
    assert_type(cs.Param("n", type=int), cs.Param[int])
    assert_type(cs.Env("HOME", type=Path), cs.Env[Path])
    assert_type(cs.run(cs.Param("n", type=int), {"n": 3}), int)


@cs.resource
def connection() -> Iterator[str]:
    """Open something for the time of a run."""
    yield "open"


@cs.task
def query(sql: str, db: str = cs.inject(connection)) -> list[str]:
    """Ask for a resource."""
    return [sql, db]


def resources_are_asked_for_in_defaults() -> None:
    """A parameter that a resource fills keeps its type."""
    assert_type(connection, cs.Resource)
    assert_type(query("a"), cs.LazyResult[list[str]])


def tools_take_what_run_takes() -> None:
    """One target or several."""
    assert_type(cs.visualize([count("a"), fetch("b")], format="dot"), str)
    assert_type(cs.to_json(count("a")), str)
    assert_type([step.name for step in cs.dry_run(count("a"))], list[str])


def running_gives_the_values() -> None:
    """A target gives its value, a list of targets the list of theirs, a tuple the tuple of theirs."""
    assert_type(cs.run(count("a")), int)
    a, b = count("a"), fetch("b")
    assert_type(cs.run((a, b)), tuple[int, bytes])
    assert_type(cs.run((a, b, a)), tuple[int, bytes, int])
    assert_type(cs.run((a, b, a, b)), tuple[int, bytes, int, bytes])
    assert_type(cs.run((a, b, a, b, add([a]))), tuple[int, bytes, int, bytes, int])
    assert_type(cs.run(tuple(count(path) for path in "abc")), tuple[int, ...])
    assert_type(cs.run([a, a, a, a, a]), list[int])
    assert_type(cs.run([count("a"), count("b")]), list[int])
    assert_type(cs.run(add([1]), connector=MqttConnector(hostname="broker")), int)
    assert_type(cs.run(add([1]), connector="mqtt://broker"), int)


async def running_inside_a_loop_too() -> None:
    """So do the ones to await."""
    assert_type(await cs.arun(fetch("a")), bytes)
    assert_type(await cs.arun([fetch("a")]), list[bytes])
    assert_type(await cs.arun((fetch("a"), count("b"))), tuple[bytes, int])
    assert_type(await Engine(connector=LocalConnector()).run(count("a")), int)
    assert_type(await Engine().run((count("a"), count("b"))), tuple[int, ...])
    assert_type(await Engine().run([count("a")]), list[int])


def connectors_fulfil_the_protocols() -> None:
    """Both connectors are connectors, with every ability, and so is one made by name."""
    for made in (MqttConnector(hostname="broker", port=8883), LocalConnector()):
        link: protocols.Connector = made
        nowait: protocols.SupportsPublishNowait = made
        watch: protocols.SupportsWatch = made
        replies: protocols.SupportsReplies = made
        flush: protocols.SupportsFlush = made
        statistics: protocols.SupportsStatistics = made
        TelemetrySubscriber(EventBus(), link)
        _ = (nowait, watch, replies, flush, statistics)
    assert_type(MqttConnector.from_url("mqtts://user@broker:8883"), MqttConnector)
    assert_type(cs.connector("mqtt", hostname="broker"), cs.Connector)


def script() -> NoReturn:
    """The last call of a script never returns, and takes what can be run or a function that makes it."""
    cs.main(parts if double else [double(1), double(2)], arguments=["--number", "3"])


def parts(number: int) -> cs.LazyResult[int]:
    return double(number)


def mistakes_are_found() -> None:
    """What cannot work is refused by the type checker already."""
    double("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    double()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    double(y=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    double(1, 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    double.with_retry(3)("a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    double.map([1, 2])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    double.with_retries(3)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    cs.task(retries=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    cs.Param("n", type=5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    cs.run(3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    cs.run(count("a"), connector=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    cs.run(count("a"), sate="runs")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    cs.run(count("a"), on_failure="return", sate="runs")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    number: str = cs.run(count("a"))  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    callback: Callable[[], None] = count  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    _ = (number, callback)
