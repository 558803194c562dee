"""Row 32: values of arguments, results and inputs never leave the process and never appear in Cascade's logs."""

import asyncio
import json
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from simple_tasks import give

from cascade.interfaces import CascadeError, InputsError, RouteError
from cascade.runtime import Engine, LocalConnector, LocalHub, MemoryCache, checkpoint
from cascade.spec import Env, LazyResult, Param, Router, inject, resource, task
from cascade.testkit import eventually

PREFIX = "canary-"
VARIABLE = "CASCADE_TEST_CANARY"


def canary() -> str:
    return PREFIX + secrets.token_hex(8)


@task
async def take(value: Any, other: Any = canary()) -> Any:  # noqa: B008 - a default is a value too
    await checkpoint(done=1)
    return {"value": value, "other": other}


@task
def take_in_thread(*values: Any, **named: Any) -> Any:
    return values, named


@task
def fails_at_first(tries: list[str]) -> Any:
    tries.append(canary())
    if len(tries) == 1:
        raise OSError("not yet")
    return tries


@resource
def secret() -> Any:
    yield canary()


@task
async def use(value: Any = inject(secret)) -> Any:  # noqa: B008 - that is how it is declared
    return value


@task
async def fail(value: Any) -> Any:
    raise ValueError("a failure with a message of its own")


@task
async def hang(value: Any) -> Any:
    await asyncio.Event().wait()


def works() -> LazyResult[Any]:
    """A graph of every kind of node, in which every value is a canary."""
    items = [canary(), canary()]
    chosen = canary()
    cached = take_in_thread.with_cache()(items[0])
    made = canary()
    Path(made).touch()
    return take_in_thread(
        take(Param("word")),
        take_in_thread.map(named=items),
        take_in_thread.partial(more=canary()).map(named=give(items)).with_concurrency(1),
        give({canary(): canary()}),
        Router(give(chosen), {chosen: take(canary()), canary(): fail(canary())}),
        take(canary()).run_if(give(""), otherwise=canary()),
        fails_at_first([]).with_retry(2),
        take(Env(VARIABLE)),
        give(take(canary())),
        cached,
        cached.named("again"),
        use(),
        give.with_cache(file="{value}")(made),
        named=take(canary())["value"],
    )


FAILURES: dict[str, Callable[[], LazyResult[Any]]] = {
    "a task that fails": lambda: fail(Param("word")),
    "a task that is too slow": lambda: hang(Param("word")).with_timeout(0.01),
    "a parameter that is not a number": lambda: give(Param("word", type=int)),
    "a variable that is not a number": lambda: give([Param("word"), Env(VARIABLE, type=int)]),
    "a variable of a returned step": lambda: task(lambda value: give(Env(VARIABLE, type=float)))(
        Param("word")
    ),
    "a choice without a route": lambda: Router(give(Param("word")), {canary(): give(1), canary(): give(2)}),
    "no iterable": lambda: take.map(value=give(Param("word"))),
    "lists of two lengths": lambda: take.map(value=give([canary()]), other=[canary(), canary()]),
    "no amount": lambda: take(canary()).with_constraints(gpu=give(Param("word"))),
    "no lazy result": lambda: task(lambda value: give(1).after(value))(Param("word")),
    "a call with too many arguments": lambda: task(lambda value: take(value, value, value))(Param("word")),
    "an item that is missing": lambda: give({canary(): canary()})["missing"],
    "another file than meant": lambda: give.with_cache(file="{value}")(Param("word")),
}  # fmt: skip


async def leaves(target: LazyResult[Any], *, raises: type[Exception] | None = None) -> str:
    """Run with a canary as parameter; return every message that an observer receives."""
    hub, received = LocalHub(), list[str]()

    async def receive(topic: str, data: dict[str, Any]) -> None:
        received.append(topic + json.dumps(data))

    async with LocalConnector(hub) as observer:
        await observer.subscribe("#", receive)
        engine = Engine(
            connector=LocalConnector(hub, source_id="line-3"),
            cache_backend=MemoryCache(),
            system_resources={"gpu": 1},
        )
        if raises is None:
            await engine.run(target, {"word": canary()})
        else:
            with pytest.raises(raises):
                await engine.run(target, {"word": canary()})
        await eventually(lambda: any("ENGINE_STOPPED" in line for line in received))
    return "\n".join(received)


@pytest.fixture(autouse=True)
def _everything(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, canary())
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG)


async def test_no_value_of_a_successful_run_is_published(caplog: pytest.LogCaptureFixture) -> None:
    """That includes arguments, defaults, items, results, choices, conditions, inputs and resources."""
    received = await leaves(works())
    assert PREFIX not in received
    assert PREFIX not in caplog.text


@pytest.mark.parametrize("what", FAILURES)
async def test_no_value_of_a_failing_run_is_published(what: str, caplog: pytest.LogCaptureFixture) -> None:
    """Messages and logs about a failure contain no values; only the raised error does."""
    received = await leaves(FAILURES[what](), raises=Exception)
    assert '"Failed"' in received
    assert PREFIX not in received
    assert PREFIX not in caplog.text


async def test_the_raised_error_contains_the_values() -> None:
    """It has them in its message and as attributes, for the program that called run()."""
    value = canary()
    with pytest.raises(RouteError, match=value) as choice:
        await Engine().run(Router(give(value), {1: give(1)}))
    assert (choice.value.value, choice.value.routes) == (value, (1,))
    with pytest.raises(InputsError, match=value) as inputs:
        await Engine().run(give(Param("word", type=int)), {"word": value})
    assert value in inputs.value.problems["parameter 'word' cannot be converted"]
    for error in (choice.value, inputs.value):
        assert value not in error.public


def test_an_error_without_values_is_published_unchanged() -> None:
    """The public text of an error is its message, unless its class defines another."""
    assert CascadeError("no values").public == "no values"
