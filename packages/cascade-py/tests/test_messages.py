"""Every error message that a user of the SDK can meet: what the user does, and what the message says.

Reread a message that you add or change: it says in plain words what is wrong and what to do next.
"""

# mypy: allow-untyped-decorators

import ast
import asyncio
import itertools
import operator
import re
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import numpy as np
import pytest

import cascade
from cascade.connectors import mqtt
from cascade.executors import dask
from cascade.interfaces.main_module import importing_main

# The calls are wrong on purpose, so type checkers must not know what they call.
cs: Any = cascade
MqttConnector: Any = mqtt.MqttConnector
DaskExecutor: Any = dask.DaskExecutor

PACKAGES = Path(__file__).parents[2]


@cs.task
def add(a: int, b: int = 2) -> int:
    return a + b


@cs.task
async def sleep_forever() -> None:
    await asyncio.Event().wait()


@cs.task
def give(value: Any) -> Any:
    return value


@cs.task(mode="inline")
def publish(name: str, data: Any) -> None:
    cs.publish(name, data)


@cs.task(mode="gpu")
def on_gpu() -> int:
    return 1


@cs.resource
def nothing() -> Iterator[int]:
    yield from ()


@cs.resource
def twice() -> Iterator[int]:
    yield 1
    yield 2


@cs.task
def use(value: int = cs.inject("database")) -> int:
    return value


@cs.task
def use_nothing(value: int = cs.inject(nothing)) -> int:
    return value


@cs.resource
def lazy_resource() -> Iterator[Any]:
    yield add(1)


@cs.task
def use_lazy(value: int = cs.inject(lazy_resource)) -> Any:
    return value


@cs.task
def use_twice(value: int = cs.inject(twice)) -> int:
    return value


@cs.resource(scope="task")
def for_one_task() -> Iterator[int]:
    yield 1


@cs.resource
def for_the_run(value: int = cs.inject(for_one_task)) -> Iterator[int]:
    yield value


@cs.resource
def chicken(value: int = cs.inject("egg")) -> Iterator[int]:
    yield value


@cs.resource
def egg(value: int = cs.inject("chicken")) -> Iterator[int]:
    yield value


@cs.task
def use_for_the_run(value: int = cs.inject(for_the_run)) -> int:
    return value


@cs.task
def use_chicken(value: int = cs.inject(chicken)) -> int:
    return value


@cs.task(mode="inline")
def on_loop() -> int:
    return 1


class Camera:
    @cs.task
    def shoot(self, seconds: float) -> str:
        return f"{seconds} s"


class Holder:
    def __init__(self, x: object) -> None:
        self.x = x


class Uncopied(list[Any]):
    def __copy__(self) -> Any:
        raise RuntimeError("no")


class CopiedAsList(list[Any]):
    def __copy__(self) -> list[Any]:
        return list(self)


def holds_itself(lazy: Any) -> Any:
    queue: deque[Any] = deque([lazy])
    queue.append(queue)
    return queue


async def await_it(lazy: Any) -> Any:
    return await lazy


def takes_lazy_default(x: Any = add(1)) -> Any:  # noqa: B008 - a mistake, on purpose
    return x


def plain(x: int) -> int:
    return x


def generator() -> Iterator[int]:
    yield 1


async def coroutine() -> None: ...


def needs_more(x: int) -> Iterator[int]:
    yield x


def while_importing(do: Callable[[], Any]) -> None:
    with importing_main():
        do()


async def run_inside() -> None:
    cs.run(add(1))


COMPUTED: list[tuple[Callable[[], object], str]] = [
    (lambda: add(1) + 1, "+"),
    (lambda: add(1) > 1, ">"),
    (lambda: max(add(1), add(2)), ">"),
    (lambda: sorted([add(1), add(2)]), "<"),
    (lambda: len(add(1)), "len()"),
    (lambda: int(add(1)), "int()"),
    (lambda: round(add(1)), "round()"),
    (lambda: 1 in add(1), "the test with in"),
    (lambda: -add(1), "-"),
    (lambda: add(1).run_if(add(2) > 1), ">"),
]
"""What a program computes with a value that is not there yet, and how the message names it."""

MESSAGES: list[tuple[Callable[[], object], str]] = [
    # set up a run
    (
        lambda: cs.Engine(cache_backend="cache.db"),
        "Engine(cache_backend=): pass a cache, such as cs.SqliteCache('cache.db') or cs.MemoryCache(), not 'cache.db'",
    ),
    (
        lambda: cs.Engine(executor=4),
        "Engine(executor=): pass an executor, such as cs.ThreadExecutor(4) or cs.ProcessExecutor(4), not 4",
    ),
    (
        lambda: cs.Engine(executors={"gpu": 2}),
        "Engine(executors['gpu']=): pass an executor, such as cs.ThreadExecutor(4) or cs.ProcessExecutor(4), not 2",
    ),
    (
        lambda: cs.Engine(executors=[5]),
        "Engine(executors=): takes a dict; write executors={'gpu': executor}, not list",
    ),
    (
        lambda: cs.Engine(system_resources=["gpu"]),
        "Engine(system_resources=): takes a dict; write system_resources={'gpu': 2}, not list",
    ),
    (
        lambda: cs.Engine(resources=5),
        "Engine(resources=): takes a list; write resources=[database], not 5",
    ),
    (lambda: cs.Engine(bus=5), "Engine(bus=): pass a cs.EventBus(), not 5"),
    (
        lambda: cs.Engine(clock=5),
        "Engine(clock=): pass an object with now() and monotonic(), not 5",
    ),
    (
        lambda: cs.Engine(stop_timeout="2 s"),
        "Engine(stop_timeout=): needs seconds, such as 2.0, not '2 s'",
    ),
    (
        lambda: cs.run(add(1), params=["a"]),
        "run(params=): takes a dict; write params={'name': value}, not list",
    ),
    # declare a task
    (lambda: cs.task(5), "5 is not callable; @cs.task decorates a function"),
    (
        lambda: cs.task(generator),
        "generator is a generator; a task returns one value: return a list instead, or decorate it with @cs.resource if it opens and closes something",
    ),
    (lambda: cs.task(mode=5)(plain), "task(mode=): needs 'auto', 'inline' or an executor's name, not 5"),
    (
        lambda: cs.task(mode="threads")(coroutine),
        "task(mode=): an async function runs on the event loop; leave mode out",
    ),
    (
        lambda: cs.resource(plain),
        "'plain' is not a generator; a resource is a function that yields once, with the value that tasks share",
    ),
    (
        lambda: cs.resource(needs_more),
        "the parameter 'x' of the resource 'needs_more' has no value; give it a default, such as cs.inject(...)",
    ),
    (lambda: cs.resource(scope="thread")(generator), "resource(scope=): needs run or task, not 'thread'"),
    (lambda: cs.inject(5), "inject(resource): takes a resource or its name, not 5"),
    (
        lambda: cs.workflow(5),
        "a workflow needs a function that returns what a call of a task returns, not 5",
    ),
    (
        lambda: cs.workflow(name="every night")(plain),
        "workflow(name=): needs a Python identifier of ASCII letters, not 'every night'",
    ),
    (
        lambda: cs.workflow(overlap="wait")(plain),
        "workflow(overlap=): needs 'skip', 'queue' or 'allow', not 'wait'",
    ),
    # call a task
    (add, "task 'add': missing a required argument: 'a'; its signature is add(a: int, b: int = 2) -> int"),
    (
        lambda: add(1, 2, 3),
        "task 'add': too many positional arguments; its signature is add(a: int, b: int = 2) -> int",
    ),
    (
        lambda: add(1, c=3),
        "task 'add': got an unexpected keyword argument 'c'; its signature is add(a: int, b: int = 2) -> int",
    ),
    (
        add.map,
        "task 'add': map needs at least one iterable, as a keyword argument; its signature is add(a: int, b: int = 2) -> int",
    ),
    (
        lambda: add.map(a=5),
        "task 'add': map needs a list of values for 'a', not int; for one value in all items write add.partial(a=...).map(...); its signature is add(a: int, b: int = 2) -> int",
    ),
    (
        lambda: add.map(a="text"),
        "task 'add': map needs a list of values for 'a', not str; for one value in all items write add.partial(a=...).map(...); its signature is add(a: int, b: int = 2) -> int",
    ),
    (
        lambda: add.map(a=[1, 2], b=[1]),
        "task 'add': map needs iterables of the same length, but a has 2, b has 1",
    ),
    (
        lambda: add.map(c=[1]),
        "task 'add': got an unexpected keyword argument 'c'; its signature is add(a: int, b: int = 2) -> int",
    ),
    (
        lambda: cs.task(retries=3)(plain),
        "task(retries=): it is not a setting; write task.with_retry(...) on the declared task",
    ),
    (
        lambda: cs.task(nmae="x")(plain),
        "task(nmae=): it is not a setting; task has name and mode; did you mean name?",
    ),
    (
        lambda: cs.task(takes_lazy_default),
        "the default of 'x' of task 'takes_lazy_default' is or holds a lazy result, which no call would wait for; pass it in the call: takes_lazy_default(x=...)",
    ),
    (
        lambda: give(vlue=1),
        "task 'give': got an unexpected keyword argument 'vlue'; did you mean value=?; its signature is give(value: Any) -> Any",
    ),
    (
        lambda: add.map([1, 2]),
        "task 'add': map takes its iterables by name; write add.map(a=[...]); its signature is add(a: int, b: int = 2) -> int",
    ),
    (
        lambda: add.partial(b=iter([1])).map(a=[1, 2]),
        "task 'add': 'b' is a list_iterator, which only the first item could read; pass a list; its signature is add(a: int, b: int = 2) -> int",
    ),
    (
        lambda: give.with_retry(3)(iter([1])),
        "with_retry: an argument is a list_iterator, which only the first attempt could read; pass a list",
    ),
    (
        lambda: give(Holder(add(1))),
        "task 'give': a lazy result stands in a Holder, in which no value can take its place; pass it as an argument of its own, or in a list, tuple, dict, set or dataclass; its signature is give(value: Any) -> Any",
    ),
    (
        lambda: give(Uncopied([add(1)])),
        "task 'give': a lazy result stands in a Uncopied, which cannot be copied (RuntimeError: no); pass it as an argument of its own, or in a list, tuple, dict, set or dataclass; its signature is give(value: Any) -> Any",
    ),
    (
        lambda: give(CopiedAsList([add(1)])),
        "task 'give': a lazy result stands in a CopiedAsList, whose copy is a list; pass it as an argument of its own, or in a list, tuple, dict, set or dataclass; its signature is give(value: Any) -> Any",
    ),
    (
        lambda: give(holds_itself(add(1))),
        "task 'give': a deque holds itself and a lazy result, so it cannot be copied; pass the lazy result as an argument of its own; its signature is give(value: Any) -> Any",
    ),
    (
        lambda: add(1) == 3,
        "<LazyResult add with 1 argument> has no value before it runs, so it cannot be compared with a value of type int; compare inside a task, or run it first with cs.run(...)",
    ),
    (
        lambda: f"{add(1)}",
        "<LazyResult add with 1 argument> has no value before it runs, so it cannot be put into a text; make the text inside a task, or run it first with cs.run(...)",
    ),
    (
        lambda: np.array([add(1), add(2)]),
        "<LazyResult add with 1 argument> has no value before it runs, so it cannot be put into a NumPy array; make the array inside a task, or run it first with cs.run(...)",
    ),
    (
        lambda: add(1).result(),
        "a lazy result has no method result(); write cs.run(lazy), or await cs.arun(lazy)",
    ),
    (
        lambda: add(1).compute(),
        "a lazy result has no method compute(); write cs.run(lazy), or await cs.arun(lazy)",
    ),
    (
        lambda: add(1).with_retries(3),
        "a lazy result has no method with_retries(); did you mean with_retry?; call methods of its value inside a task",
    ),
    (
        lambda: add(1).run_after(5),
        "a lazy result has no method run_after(); did you mean after?; call methods of its value inside a task",
    ),
    (
        lambda: add(1)(2),
        "<LazyResult add with 1 argument> cannot be called: it is the result of a call; call the task itself",
    ),
    (
        lambda: asyncio.run(await_it(add(1))),
        "<LazyResult add with 1 argument> is a declaration and cannot be awaited; write: await cs.arun(lazy), or pass it to another task",
    ),
    (
        lambda: add(1).named("sum of {x}"),
        "named(name): {x} is not a parameter of the task, which has a, b; write {{ and }} for braces",
    ),
    (
        lambda: on_loop.with_timeout(1),
        "with_timeout(seconds): task 'on_loop' has mode='inline' and blocks the event loop, so no time limit can end it; leave mode out, or make it an async function",
    ),
    (lambda: add.with_retry(3, on=5), "with_retry(on=): needs exception classes, not 5"),
    (
        lambda: cs.Router(add(1), {add(1): add(2)}),
        "Router(routes): a key is or holds a lazy result; keys are the values that the selector may have",
    ),
    (
        lambda: cs.Param("n", default=add(1)),
        "Param(default=): is or holds a lazy result; a default is a value that is known before the run",
    ),
    (
        lambda: cs.run(add(cs.Param("n")), {"n": add(1)}),
        "the value of parameter 'n' is or holds a lazy result: pass the lazy result to the task itself, in place of the input",
    ),
    (
        lambda: cs.run(add(cs.Param("n", default=1), cs.Param("n", default=2))),
        "parameter 'n' is declared twice with different defaults: declare it once, and use that object in each place",
    ),
    (
        lambda: cs.run(add(cs.Param("n", type=int), cs.Param("n", default="2")), {"n": "1"}),
        "parameter 'n' is declared twice with different types and defaults: declare it once, and use that object in each place",
    ),
    (
        lambda: bool(add(1)),
        "<LazyResult add with 1 argument> has no value before it runs; decide inside a task or with run_if(...), or run it first with cs.run(...)",
    ),
    (
        lambda: list(add(1)),
        "<LazyResult add with 1 argument> has no items before it runs; write task.map(x=lazy) for a task for each, or lazy[0] for one",
    ),
    (lambda: add(1).named(""), "named(name): needs a text, not ''"),
    (
        lambda: add(1).with_concurrency(4),
        "with_concurrency(limit): limits the items of a map; write task.map(...).with_concurrency(4)",
    ),
    (
        lambda: add.map(a=[1]).with_concurrency(0),
        "with_concurrency(limit): needs a whole number from 1, not 0",
    ),
    (
        lambda: add(1).run_if(5),
        "5 of type int is not a lazy result; run_if(...) takes the result of calling a task",
    ),
    # set a policy
    (lambda: add.with_retry(0), "with_retry(max_attempts=): needs a whole number from 1, not 0"),
    (lambda: add.with_retry(3, jitter=2), "with_retry(jitter=): needs a number from 0 to 1, not 2"),
    (lambda: add.with_retry(3, delay=-1), "with_retry(delay=): needs a number from 0, not -1"),
    (lambda: add.with_timeout(0), "with_timeout(seconds): needs a number above 0, not 0"),
    (lambda: add.with_timeout("1 s"), "with_timeout(seconds): needs a number above 0, not '1 s'"),
    (lambda: add.with_cache(ttl=-1), "with_cache(ttl=): needs a number of seconds above 0, not -1"),
    (
        lambda: add.with_cache(ignore=5),
        "with_cache(ignore=): needs names of parameters or variables, such as ('db',), not 5",
    ),
    (
        lambda: cs.run(give.with_cache(ignore=("valeu",))(1)),
        "with_cache(ignore=): 'valeu' is neither a parameter of task 'give' nor a variable that its code uses",
    ),
    (lambda: add.with_cache(key=5), "with_cache(key=): needs a function of the task's arguments, not 5"),
    (
        lambda: add.with_cache(backend=5),
        "with_cache(backend=): needs get, put and close, as MemoryCache and SqliteCache have; not 5",
    ),
    (lambda: add.with_constraints(gpu=-1), "with_constraints(gpu=): needs a number from 0, not -1"),
    (
        lambda: add.with_constraints(gpu="many"),
        "with_constraints(gpu=): needs a finite number from 0, or a lazy result that gives one, not 'many'",
    ),
    (
        lambda: add.map(a=[1])[0].with_retry(3),
        "with_retry: 'item' is a step of the graph and calls no task; set it on the tasks whose values it takes, or on a task that takes its value",
    ),
    (lambda: add.with_retry(3, on=[5]), "with_retry(on=): needs exception classes, not 5"),
    # build a graph
    (lambda: cs.Router(add(1), {}), "Router(routes): needs a dict of at least one lazy result, not {}"),
    (
        lambda: cs.Router(5, {"a": add(1)}),
        "5 of type int is not a lazy result; Router(selector, routes) takes the results of calling tasks",
    ),
    (lambda: cs.pipeline(1), "pipeline(value, *tasks): needs at least one task"),
    (
        lambda: cs.pipeline(1, plain),
        "pipeline(value, *tasks): takes functions decorated with @cs.task, not <function plain at 0x...>",
    ),
    (
        lambda: cs.sequence(5),
        "5 of type int is not a lazy result; sequence(...) takes the results of calling tasks",
    ),
    (lambda: cs.Param(""), "Param(name): needs a text, not ''"),
    (lambda: cs.Param("x", type=5), "Param(type=): needs a type or a function, not 5"),
    (lambda: cs.Env(""), "Env(name): needs a text, not ''"),
    (
        lambda: cs.visualize(add(1), format="png"),
        "visualize(format=): needs mermaid, dot, tree or svg, not 'png'",
    ),
    (
        lambda: cs.dry_run(5),
        "5 of type int is not a lazy result; call a function decorated with @cs.task and run what it returns",
    ),
    # run
    (
        lambda: cs.run(5),
        "5 of type int is not a lazy result; call a function decorated with @cs.task and run what it returns",
    ),
    (
        lambda: cs.run(plain),
        "<function plain at 0x...> of type function is not a lazy result; call a function decorated with @cs.task and run what it returns",
    ),
    (lambda: cs.run(add(cs.Param("n"))), "parameter 'n' is missing: pass params={'n': ...}"),
    (lambda: cs.run(add(1), params={"m": 1}), "parameter 'm' is unknown (the target takes none)"),
    (
        lambda: cs.run(add(cs.Param("n", type=int)), params={"n": "many"}),
        "parameter 'n' cannot be converted: ValueError: invalid literal for int() with base 10: 'many'",
    ),
    (
        lambda: cs.run(add(cs.Param("n", type=int)), params={"m": 1}),
        "parameter 'm' is unknown (the target takes n); parameter 'n' is missing: pass params={'n': ...}",
    ),
    (
        lambda: cs.run(add(cs.Param("n", type=bool)), params={"n": "perhaps"}),
        "parameter 'n' cannot be converted: ValueError: it is not a boolean; write true or false",
    ),
    (
        lambda: cs.run(add(cs.Env("CASCADE_TEST_UNSET"))),
        "environment variable 'CASCADE_TEST_UNSET' is missing: set it or give it a default",
    ),
    (
        lambda: cs.run(add(1), on_failure="ignore"),
        "run(on_failure=): needs 'stop', 'continue' or 'return', not 'ignore'",
    ),
    (lambda: cs.run(add(1), resume="always"), "run(resume=): needs 'auto' or 'cancelled', not 'always'"),
    (
        lambda: cs.run(add(1), on_change="ask"),
        "run(on_change=): needs 'refuse', 'rerun' or 'keep', not 'ask'",
    ),
    (
        lambda: cs.run(add(1), max_starts=0),
        "run(max_starts=): needs a whole number from 1, or None, not 0",
    ),
    (lambda: cs.run(add(1), state=5), "run(state=): needs a folder, such as 'runs', not 5"),
    (
        lambda: cs.run(add(1), state="runs", state_backend=cs.SqliteState("runs")),
        "run(state=) and run(state_backend=) are two ways to name one thing; give one of them",
    ),
    (lambda: cs.run(add(1), cache=5), "run(cache=): needs a file, such as 'cache.db', not 5"),
    (
        lambda: cs.run(add(1), state_backend="runs"),
        "run(state_backend=): pass a state, such as cs.SqliteState('runs'), not 'runs'",
    ),
    (cs.step, "cs.step() works only inside a task, in a process that knows the step"),
    (
        lambda: cs.run(add(1), connector=5),
        "run(connector=): 5 is not a connector: it lacks connect; make one with cs.connector('mqtt://broker')",
    ),
    (
        lambda: cs.run(add(1), require_control=True),
        "require_control: needs a connector with watch(), such as MqttConnector",
    ),
    (
        lambda: cs.run(on_gpu()),
        "task(mode=): the engine has no executor 'gpu' (it has process, thread); pass executors={'gpu': ...}",
    ),
    (
        lambda: cs.run(use()),
        "task 'use': the run has no resource named 'database' (it has none); pass resources=[...] to the engine or to cs.run",
    ),
    (lambda: cs.run(use_nothing()), "resource 'nothing' yields nothing; it must yield one value"),
    (
        lambda: cs.run(use_lazy()),
        "resource 'lazy_resource' yields a lazy result, which no task would wait for; make the call an argument of the task",
    ),
    (lambda: cs.run(use_twice()), "resource 'twice' yields more than once; it must yield one value"),
    (lambda: cs.run(add(1), resources=[5]), "resources: needs functions with @cs.resource, not 5"),
    (
        lambda: cs.run(add(1), resources=[nothing, nothing]),
        "resources: two resources have the name 'nothing'; rename one with @cs.resource(name=...)",
    ),
    (
        lambda: cs.run(sleep_forever.with_timeout(0.001)()),
        "task 'sleep_forever' took longer than its time limit of 0.001 s",
    ),
    (
        lambda: cs.run(cs.Router(give("c"), {"a": add(1), "b": add(2)})),
        "no route for 'c'; the routes are 'a', 'b'",
    ),
    (
        lambda: cs.run(add.map(a=give(5))),
        "task 'add': map needs a list of values for 'a', but 'give' gave int; its signature is add(a: int, b: int = 2) -> int",
    ),
    (
        lambda: cs.run(add.with_constraints(gpu=1)(1)),
        "task 'add' needs 'gpu', which this engine does not have (it has none); name it in system_resources={'gpu': ...}",
    ),
    (
        lambda: cs.run(add.with_constraints(gpu=3)(1), system_resources={"gpu": 2}),
        "task 'add' needs gpu=3, but this engine has gpu=2 in total; lower the demand or raise system_resources['gpu']",
    ),
    (
        lambda: cs.run(add(1), system_resources={"gpu": -1}),
        "system_resources['gpu']: needs a finite number from 0, not -1",
    ),
    (lambda: cs.run(add(1), run_id=""), "run(run_id=): needs a text of 1 to 200 characters, not ''"),
    (lambda: cs.run(add(1), name=5), "run(name=): needs a text of 1 to 200 characters, not 5"),
    (lambda: cs.run(add(1), workflow=""), "run(workflow=): needs a text of 1 to 200 characters, not ''"),
    (
        lambda: cs.run(add(1), traceparent="7"),
        "run(traceparent=): needs a text such as 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01, not '7'",
    ),
    (
        lambda: cs.run(add(1), tags="nightly"),
        "run(tags=): needs a dict from texts to texts, numbers or booleans, not 'nightly'",
    ),
    (
        lambda: cs.gate("power", topic="site/power"),
        "gate(above=): a gate needs one of above, below, inside, outside and equals, and has none; it is closed while that is true",
    ),
    (
        lambda: cs.run(add(1), gates=cs.gate("night", window="22:00-06:00 UTC")),
        "run(gates=): takes a list; write gates=[cs.gate('power', topic=..., above=...)]",
    ),
    (
        lambda: cs.run(add(1), gates=[5]),
        "run(gates=): takes what cs.gate(...) returns, not 5",
    ),
    (
        lambda: cs.run(add(1), gates=2 * [cs.gate("night", window="22:00-06:00 UTC")]),
        "run(gates=): has two gates called 'night'; give each a name of its own",
    ),
    (
        lambda: cs.run(add(1), gates=[cs.gate("power", topic="site/power", above=1)]),
        "run(gates=): the gate 'power' reads the topic 'site/power', which needs a connector with watch(), such as connector='mqtt://broker'",
    ),
    (
        lambda: cs.run(add(1), gates=[cs.gate(f"g{n}", topic=f"t/{n}", above=1) for n in range(101)]),
        "run(gates=): has gates on more than 100 topics",
    ),
    (
        lambda: cs.run(add(1), middleware=[5]),
        "run(middleware=): 5 is not callable; write an async function around(step, call_next)",
    ),
    (
        lambda: cs.Engine(middleware=print),
        "Engine(middleware=): takes a list; write middleware=[around], not <built-in function print>",
    ),
    (lambda: cs.Engine(logs="LOUD"), "Engine(logs=): needs the name of a level, such as 'INFO', not 'LOUD'"),
    (
        lambda: cs.Engine(labels=["site"]),
        "Engine(labels=): needs a dict from texts to texts, numbers or booleans, not ['site']",
    ),
    (
        lambda: cs.publish("temperature", 21.5),
        "cs.publish() works only inside a task; a program of its own uses its connector",
    ),
    (lambda: cs.run(publish("", 1)), "cs.publish(name): needs a text of 1 to 200 characters"),
    (
        lambda: cs.run(publish("x", {1, 2})),
        "cs.publish(data): needs a JSON value: Object of type set is not JSON serializable",
    ),
    (
        lambda: cs.run(publish("x", "y" * 20_000)),
        "cs.publish(data): has 20002 bytes as JSON; at most 16384 are sent",
    ),
    (lambda: cs.run(add(1), name="a\nb"), "run(name=): must not contain control characters, not 'a\\nb'"),
    (
        lambda: cs.run(add(1), tags={"a": [1]}),
        "run(tags={'a': ...}): needs a text, a finite number or a boolean, not [1]",
    ),
    (
        lambda: cs.run(add(1), tags={str(n): n for n in range(1_000)}),
        "run(tags=): takes at most 32 tags, not 1000",
    ),
    (
        lambda: cs.run(use_for_the_run(), resources=[for_one_task]),
        "task 'use_for_the_run': resource 'for_the_run' lives for the run and cannot use 'for_one_task', which lives for one task; give both the same scope",
    ),
    (
        lambda: cs.run(use_chicken(), resources=[chicken, egg]),
        "task 'use_chicken': resources need each other in a cycle: chicken -> egg -> chicken; remove one of these injections",
    ),
    (
        lambda: cs.run(give.with_cache()(object())),
        "task 'give' cannot be cached by its argument 'value': no digest can be computed of a builtins.object; if the result does not depend on it, write with_cache(ignore=('value',)), or with_cache(key=...) with a function of the arguments that returns plain values",
    ),
    (
        lambda: cs.Engine(connector="mqtt://broker"),
        "Engine(connector=): takes a connector, not a URL; make one with cs.connector('mqtt://broker')",
    ),
    (
        lambda: while_importing(lambda: cs.run(add(1))),
        'a run starts while the program is imported; put it under `if __name__ == "__main__":`',
    ),
    (
        lambda: while_importing(lambda: cs.main(add(1))),
        'cs.main is called while the program is imported; put it under `if __name__ == "__main__":`',
    ),
    (
        lambda: asyncio.run(run_inside()),
        "cs.run(...) cannot run inside a running event loop; write: await cs.arun(...)",
    ),
    # make executors and caches
    (lambda: cs.ThreadExecutor(0), "ThreadExecutor(workers=): needs a whole number from 1, not 0"),
    (lambda: cs.ProcessExecutor(0), "ProcessExecutor(workers=): needs a whole number from 1, not 0"),
    (lambda: cs.ProcessExecutor(reruns=-1), "ProcessExecutor(reruns=): needs a whole number from 0, not -1"),
    (lambda: cs.MemoryCache(max_entries=0), "MemoryCache(max_entries=): needs a whole number from 1, not 0"),
    (
        lambda: cs.SqliteCache("cache.db", max_bytes=0),
        "SqliteCache(max_bytes=): needs a whole number of bytes from 1, not 0",
    ),
    (
        lambda: cs.run(add(1), executor="futures"),
        "executor: 'futures' alone: missing a required argument: 'pool'; pass executor=cs.executor('futures', ...)",
    ),
    (
        lambda: cs.executor("das"),
        "no executor named 'das' (installed: dask, futures, process, thread); did you mean 'dask'?",
    ),
    (
        lambda: cs.executor("slurm"),
        "no executor named 'slurm' (installed: dask, futures, process, thread); install a package that has an entry point 'slurm' in the group 'cascade.executors'",
    ),
    (lambda: DaskExecutor(5), "DaskExecutor(address=): needs a text like tcp://host:8786, not 5"),
    (lambda: DaskExecutor(workers=0), "DaskExecutor(workers=): needs a whole number from 1, not 0"),
    (lambda: DaskExecutor(connect_timeout=0), "DaskExecutor(connect_timeout=): needs seconds above 0, not 0"),
    (
        lambda: cs.run(add(1), executor="threads"),
        "no executor named 'threads' (installed: dask, futures, process, thread); did you mean 'thread'?",
    ),
    (
        lambda: cs.run(add(1), redactor="iban"),
        "run(redactor=): takes a cs.Redactor, not str",
    ),
    (
        lambda: cs.Redactor(names="iban"),
        "Redactor(names=): takes a list; write names=[...]",
    ),
    (
        lambda: cs.Redactor(patterns=["a"] * 101),
        "Redactor(patterns=): takes at most 100, not 101",
    ),
    (
        lambda: cs.Redactor(names=[""]),
        "Redactor(names=): each is a text of 1 to 200 characters, not ''",
    ),
    # make a connector
    (
        lambda: cs.connector("file:"),
        "FileConnector(path): needs the path of a file, not ''",
    ),
    (
        lambda: cs.FileConnector.from_url("disk:run.jsonl"),
        "url: needs the form file:PATH, not 'disk:run.jsonl'",
    ),
    (
        lambda: cs.connector("file://host/run.jsonl"),
        "url: names a host; write file:PATH or file:///PATH, not 'file://host/run.jsonl'",
    ),
    (
        lambda: cs.connector("mqt"),
        "no connector named 'mqt' (installed: file, local, mqtt, mqtts, nats, tls, ws, wss); did you mean 'mqtt'?",
    ),
    (
        lambda: cs.connector("kafka://broker"),
        "no connector named 'kafka' (installed: file, local, mqtt, mqtts, nats, tls, ws, wss); install a package that has an entry point 'kafka' in the group 'cascade.connectors'",
    ),
    (
        lambda: cs.connector("localhost"),
        "no connector named 'localhost' (installed: file, local, mqtt, mqtts, nats, tls, ws, wss); for a broker on that host write mqtt://localhost",
    ),
    (
        lambda: cs.connector("local://hub"),
        "connector: 'local' has no URL; write 'local'",
    ),
    (
        lambda: cs.connector("mqtt://host:port"),
        "url: its port is not a number from 1 to 65535, or its host is missing; write mqtt://user@host:1883, or mqtts:// for TLS",
    ),
    (
        lambda: cs.connector("mqtt://host/topic"),
        "url: only ?source_id= may follow host and port; pass keywords beside it; special characters in user and password must be percent-encoded (@ is %40); write mqtt://user@host:1883, or mqtts:// for TLS",
    ),
    (
        lambda: cs.connector("mqtt://host?keepalive=5"),
        "url: only ?source_id=NAME and protocol=3.1.1 or 5 may follow host and port; pass other keywords beside it",
    ),
    (
        lambda: MqttConnector.from_url(5),
        "url: this is not a URL; write mqtt://user@host:1883, or mqtts:// for TLS",
    ),
    (lambda: MqttConnector(""), "hostname: it must be the broker's name or address, such as 'localhost'"),
    (lambda: MqttConnector("host", connect_timeout=0), "connect_timeout: it must be more than 0 seconds"),
    (
        lambda: MqttConnector("host", connect_timeout="1 s"),
        "connect_timeout: '1 s' is not a number of seconds from 0 to 3600",
    ),
    (
        lambda: MqttConnector("host", outbox_size=0),
        "outbox_size: MqttConnector has no such keyword; did you mean 'outbox_bytes'?",
    ),
    (lambda: MqttConnector("host", presence=1), "presence: 1 is neither True nor False"),
    (
        lambda: MqttConnector("host", source_id=""),
        "source_id: it must be a name, such as 'press-line-3', or be left out",
    ),
    (lambda: MqttConnector("host", source_id="x" * 300), "source_id: it has 300 bytes; use at most 64"),
    (
        lambda: MqttConnector("host", source_id="a\nb"),
        "source_id: it has characters that cannot be printed; brokers refuse those",
    ),
    (
        lambda: MqttConnector("host", tls_params=aiomqtt.TLSParameters(keyfile="key.pem")),
        "tls_params: keyfile: the file key.pem cannot be read: No such file or directory",
    ),
    (
        lambda: MqttConnector("host", tls_params=aiomqtt.TLSParameters(ca_certs="/no/such.pem")),
        "tls_params: ca_certs: the file /no/such.pem cannot be read: No such file or directory",
    ),
    (
        lambda: MqttConnector("host", outbox_messages=0),
        "outbox_messages: 0 is not a whole number of at least 1",
    ),
    (
        lambda: MqttConnector.from_url("mqtt://[host"),
        "url: it cannot be read; special characters in user and password must be percent-encoded (@ is %40); write mqtt://user@host:1883, or mqtts:// for TLS",
    ),
    (lambda: MqttConnector("host").watch(), "watch: name at least one topic filter"),
    # use a connector
    (
        lambda: asyncio.run(cs.LocalConnector().publish("a/#", {})),
        "topic 'a/#' has a wildcard, which only a subscription may have",
    ),
    (lambda: asyncio.run(cs.LocalConnector().publish("", {})), "topic '' is empty"),
    (
        lambda: asyncio.run(cs.LocalConnector().publish("a", [1])),
        "the payload for 'a' is a list; pass a dict, or None to clear a retained message",
    ),
    (
        lambda: asyncio.run(cs.LocalConnector().subscribe("a/#/b", print)),
        "topic 'a/#/b' has a '#' that is not its last level",
    ),
    (
        lambda: asyncio.run(cs.LocalConnector().subscribe("$share/group/a", print)),
        "topic '$share/group/a' is a shared subscription, which needs a broker of MQTT",
    ),
    (
        lambda: asyncio.run(MqttConnector("host").publish("a", {}, qos=3)),
        "qos: 3 is not a QoS; use 0, 1 or 2",
    ),
]
FIRST_DAY: list[tuple[Callable[[], object], str]] = [
    *(
        (
            compute,
            f"<LazyResult add with 1 argument> has no value before it runs, so {named} cannot compute with it; compute inside a task, or run it first with cs.run(...)",
        )
        for compute, named in COMPUTED
    ),
    # reach a broker
    (
        lambda: cs.run(add(1), connector=""),
        "connector: needs the URL of a broker, such as 'mqtt://broker', or a name, not ''",
    ),
    (
        lambda: cs.run(add(1), connector="http://broker"),
        "no connector named 'http' (installed: file, local, mqtt, mqtts, nats, tls, ws, wss); for a broker on that host write mqtt://broker",
    ),
    (
        lambda: cs.run(add(1), connector="https://broker:8883"),
        "no connector named 'https' (installed: file, local, mqtt, mqtts, nats, tls, ws, wss); for a broker on that host write mqtts://broker:8883",
    ),
    (
        lambda: cs.run(add(1), connector="tcp://broker:1883"),
        "no connector named 'tcp' (installed: file, local, mqtt, mqtts, nats, tls, ws, wss); for a broker on that host write mqtt://broker:1883",
    ),
    (
        lambda: cs.run(add(1), connector="broker:1883"),
        "no connector named 'broker' (installed: file, local, mqtt, mqtts, nats, tls, ws, wss); for a broker on that host write mqtt://broker:1883",
    ),
    (
        lambda: cs.run(add(1), connector="192.168.1.5:1883"),
        "no connector named '192.168.1.5' (installed: file, local, mqtt, mqtts, nats, tls, ws, wss); for a broker on that host write mqtt://192.168.1.5:1883",
    ),
    (
        lambda: cs.run(add(1), connector="MQTT://broker"),
        "no connector named 'MQTT' (installed: file, local, mqtt, mqtts, nats, tls, ws, wss); for a broker on that host write mqtt://broker",
    ),
    (
        lambda: cs.run(add(1), connector="mqtt:broker"),
        "url: this is not a URL; write mqtt://user@host:1883, or mqtts:// for TLS",
    ),
    (
        lambda: cs.run(add(1), connector="mqtt"),
        "connector: 'mqtt' alone: missing a required argument: 'hostname'; write the URL of the broker, such as 'mqtt://broker'",
    ),
    (
        lambda: cs.run(add(1), connector={"hostname": "broker"}),
        "run(connector=): {'hostname': 'broker'} is not a connector: it lacks connect; make one with cs.connector('mqtt://broker')",
    ),
    (
        lambda: cs.run(add(1), broker="mqtt://broker"),
        "run() got an unexpected keyword argument 'broker'; write connector='mqtt://broker'",
    ),
    (
        lambda: cs.run(add(1), sourceid="press-3"),
        "run() got an unexpected keyword argument 'sourceid'; write the engine's name into the URL: connector='mqtt://broker?source_id=press-3'",
    ),
    (
        lambda: cs.run(add(1), source_id="press-3"),
        "run() got an unexpected keyword argument 'source_id'; write the engine's name into the URL: connector='mqtt://broker?source_id=press-3'",
    ),
    (
        lambda: cs.run(add(1), "mqtt://broker"),
        "run(params=): takes a dict; write params={'name': value}, not 'mqtt://broker'",
    ),
    (
        lambda: cs.connector(None),
        "connector: needs the URL of a broker, such as 'mqtt://broker', or a name, not None",
    ),
    (
        lambda: cs.connector("mqtt", host="broker"),
        "connector: 'mqtt' alone: missing a required argument: 'hostname'; write the URL of the broker, such as 'mqtt://broker'",
    ),
    (
        lambda: cs.connector("mqtt://broker", sourceid="press-3"),
        "sourceid: MqttConnector has no such keyword; did you mean 'source_id'?",
    ),
    (
        lambda: cs.Engine("mqtt://broker"),
        "Engine() got 1 positional argument; it takes connector=, executor=, executors=, resources=, system_resources=, cache_backend=, state_backend=, require_control=, middleware=, gates=, observers=, redactor=, outbox=, labels=, host_report=, logs=, bus=, clock=, stop_timeout=, close_timeout=",
    ),
    (
        lambda: cs.MqttConnector("broker"),
        "module 'cascade' has no attribute 'MqttConnector'; it is in cascade.connectors.mqtt",
    ),
    # run something
    (
        lambda: cs.run(add),
        "<Task add(a: int, b: int = 2) -> int> of type Task is not a lazy result; it is the task itself; call it: add(...)",
    ),
    (lambda: cs.run(add(1), add(2)), "cs.run(...) takes several targets as a list: cs.run([a, b])"),
    (lambda: cs.run(add(1), add(2), add(3)), "cs.run(...) takes several targets as a list: cs.run([a, b])"),
    (
        lambda: cs.run([add(1), add]),
        "<Task add(a: int, b: int = 2) -> int> of type Task is not a lazy result; it is the task itself; call it: add(...)",
    ),
    (
        lambda: cs.run({"a": add(1)}),
        "{'a': <LazyResult add(1)>} of type dict is not a lazy result; pass several targets as one list",
    ),
    (
        lambda: cs.run({add(1)}),
        "{<LazyResult add(1)>} of type set is not a lazy result; pass several targets as one list",
    ),
    (
        lambda: cs.run([[add(1)]]),
        "[<LazyResult add(1)>] of type list is not a lazy result; pass several targets as one list",
    ),
    (
        lambda: cs.run(None),
        "None of type NoneType is not a lazy result; call a function decorated with @cs.task and run what it returns",
    ),
    (
        lambda: cs.run(print),
        "<built-in function print> of type builtin_function_or_method is not a lazy result; call a function decorated with @cs.task and run what it returns",
    ),
    (
        lambda: cs.run(add(1), retries=3),
        "run() got an unexpected keyword argument 'retries'; write task.with_retry(3) where the task is called",
    ),
    (
        lambda: cs.run(add(1), timeout=4),
        "run() got an unexpected keyword argument 'timeout'; write task.with_timeout(seconds) where the task is called",
    ),
    (
        lambda: cs.run(add(1), workers=4),
        "run() got an unexpected keyword argument 'workers'; write executor=cs.ThreadExecutor(4)",
    ),
    (
        lambda: cs.run(add(1), cache_file="cache.db"),
        "run() got an unexpected keyword argument 'cache_file'; write cache='cache.db'",
    ),
    (
        lambda: cs.run(add(1), a=1),
        "run() got an unexpected keyword argument 'a'; for an input of the target write params={'a': ...}; help(cs.run) lists the settings",
    ),
    (
        lambda: cs.run(add(1), param={"a": 1}),
        "run() got an unexpected keyword argument 'param'; did you mean params=?",
    ),
    (
        lambda: cs.run(add(1), on_failure="keep"),
        "run(on_failure=): needs 'stop', 'continue' or 'return', not 'keep'",
    ),
    (
        lambda: cs.run(add(1), on_failure=True),
        "run(on_failure=): needs 'stop', 'continue' or 'return', not True",
    ),
    (
        lambda: cs.run(add(1), executor="process:4"),
        "no executor named 'process:4' (installed: dask, futures, process, thread); did you mean 'process'?",
    ),
    (
        lambda: cs.run(add(1), executor=cs.executor),
        "run(executor=): pass an executor, such as cs.ThreadExecutor(4) or cs.ProcessExecutor(4), not function",
    ),
    (
        lambda: cs.run(add(1), cache_backend=cs.MemoryCache),
        "run(cache_backend=): pass a cache, such as cs.SqliteCache('cache.db') or cs.MemoryCache(), not <class 'cascade.runtime.cache._memory.MemoryCache'>",
    ),
    (lambda: cs.run(add(1), run_id=5), "run(run_id=): needs a text of 1 to 200 characters, not 5"),
    (lambda: cs.run(add(1), state=""), "run(state=): needs a folder, such as 'runs', not ''"),
    (lambda: cs.run(add(1), state="/dev/null"), "state /dev/null: is not a folder; name another one"),
    (
        lambda: cs.run(add(1), state="/dev/null/runs"),
        "state /dev/null/runs: cannot be used as a folder: File exists: /dev/null; name another one",
    ),
    (lambda: cs.run(add(1), resume=True), "run(resume=): needs 'auto' or 'cancelled', not True"),
    (
        lambda: cs.run(add(1), system_resources=2),
        "run(system_resources=): takes a dict; write system_resources={'gpu': 2}, not 2",
    ),
    (lambda: cs.run(add(1), logs=True), "run(logs=): needs the name of a level, such as 'INFO', not True"),
    (
        lambda: cs.run(add.with_constraints(gpus=1)(1), system_resources={"gpu": 1}),
        "task 'add' needs 'gpus', which this engine does not have (it has gpu); name it in system_resources={'gpus': ...}",
    ),
    (
        lambda: asyncio.run(cs.arun(add(1), nme="night")),
        "arun() got an unexpected keyword argument 'nme'; did you mean name=?",
    ),
    (
        lambda: asyncio.run(cs.Engine().run(add(1), add(2))),
        "run(params=): takes a dict; write params={'name': value}, not LazyResult",
    ),
    (
        lambda: cs.Engine(mqtt="broker"),
        "Engine() got an unexpected keyword argument 'mqtt'; it takes connector=, executor=, executors=, resources=, system_resources=, cache_backend=, state_backend=, require_control=, middleware=, gates=, observers=, redactor=, outbox=, labels=, host_report=, logs=, bus=, clock=, stop_timeout=, close_timeout=",
    ),
    (lambda: cs.rnu(add(1)), "module 'cascade' has no attribute 'rnu'; did you mean run?"),
    (
        lambda: cs.dry_run(add),
        "<Task add(a: int, b: int = 2) -> int> of type Task is not a lazy result; it is the task itself; call it: add(...)",
    ),
    (
        lambda: cs.visualize(add(1), "graph.svg"),
        "visualize() got 2 positional arguments; it takes target, format=",
    ),
    (
        lambda: cs.Param("n", int),
        "Param() got 2 positional arguments; it takes name, type=, default=, description=",
    ),
    (
        lambda: cs.Param("n", defualt=5),
        "Param() got an unexpected keyword argument 'defualt'; did you mean default=?",
    ),
    (
        lambda: cs.ThreadExecutor(max_workers=4),
        "ThreadExecutor() got an unexpected keyword argument 'max_workers'; did you mean workers=?",
    ),
    (lambda: cs.SqliteState(""), "SqliteState(folder): needs a folder, such as 'runs', not ''"),
    (lambda: cs.SqliteCache(""), "SqliteCache(path): needs a file, such as 'cache.db', not ''"),
    (
        lambda: cs.run(cs.workflow(plain)),
        "<Workflow plain> of type Workflow is not a lazy result; it is the workflow itself; call it: plain(...)",
    ),
    (
        lambda: cs.run(add(n) for n in range(3)),
        "<generator object <lambda>.<locals>.<genexpr> at 0x...> of type generator is not a lazy result; pass several targets as one list",
    ),
    (
        lambda: cs.run(map(add, [1, 2])),
        "<map object at 0x...> of type map is not a lazy result; pass several targets as one list",
    ),
    # declare and call tasks
    (lambda: cs.task("resize"), "'resize' is a text; for a name write @cs.task(name='resize')"),
    (lambda: cs.task(add), "'add' is a task already; leave one @cs.task out"),
    (lambda: cs.task(name=5)(plain), "task(name=): needs a text, not 5"),
    (
        lambda: cs.task(timeout=3)(plain),
        "task(timeout=): it is not a setting; write task.with_timeout(...) on the declared task",
    ),
    (
        lambda: cs.task(executor="process")(plain),
        "task(executor=): it is not a setting; write mode='process'",
    ),
    (
        lambda: cs.task(gpu=1)(plain),
        "task(gpu=): it is not a setting; write task.with_constraints(gpu=1) on the declared task",
    ),
    (lambda: cs.task(classmethod(print)), "print is a class method; write @cs.task below @classmethod"),
    (
        lambda: cs.run(cs.task(mode="threads")(plain)(1)),
        "task(mode=): the engine has no executor 'threads' (it has process, thread); did you mean 'thread'?",
    ),
    (
        lambda: cs.run(cs.task(mode="Process")(plain)(1)),
        "task(mode=): the engine has no executor 'Process' (it has process, thread); did you mean 'process'?",
    ),
    (
        lambda: cs.run(cs.task(mode="inlin")(plain)(1)),
        "task(mode=): the engine has no executor 'inlin' (it has process, thread); did you mean 'inline'?",
    ),
    (
        lambda: Camera().shoot(1),
        "task 'shoot': missing a required argument: 'seconds'; a task is not bound to an object: pass self as an argument, or make the task a function; its signature is shoot(self, seconds: float) -> str",
    ),
    (
        lambda: add.map(b=2),
        "task 'add': missing a required argument: 'a'; its signature is add(a: int, b: int = 2) -> int",
    ),
    (
        lambda: add.map(a=[1], b=2),
        "task 'add': map needs a list of values for 'b', not int; for one value in all items write add.partial(b=...).map(...); its signature is add(a: int, b: int = 2) -> int",
    ),
    (
        lambda: add.map(a=None),
        "task 'add': map needs a list of values for 'a', not NoneType; for one value in all items write add.partial(a=...).map(...); its signature is add(a: int, b: int = 2) -> int",
    ),
    (
        lambda: add.map(lambda: 1),
        "task 'add': map takes its iterables by name; write add.map(a=[...]); its signature is add(a: int, b: int = 2) -> int",
    ),
    (
        lambda: add.map(a=add),
        "task 'add': map needs a list of values for 'a', not Task; it is the task itself; call it: add(...); its signature is add(a: int, b: int = 2) -> int",
    ),
    (lambda: add.partial(1), "partial() got 1 positional argument; it takes name=value"),
    (
        lambda: add.delay(1),
        "task 'add' has no method delay; call the task, and run what the call returns with cs.run(...)",
    ),
    (
        lambda: add.with_retry(attempts=3),
        "with_retry() got an unexpected keyword argument 'attempts'; did you mean max_attempts=?",
    ),
    (lambda: add.with_retry("3"), "with_retry(max_attempts=): needs a whole number from 1, not '3'"),
    (lambda: add.with_retry(on="OSError"), "with_retry(on=): needs exception classes, not 'OSError'"),
    (
        lambda: add.with_timeout(timeout=5),
        "with_timeout() got an unexpected keyword argument 'timeout'; it takes seconds",
    ),
    (lambda: add.with_timeout(None), "with_timeout(seconds): needs a number above 0, not None"),
    (
        lambda: add.with_cache(60),
        "with_cache(policy=): needs a CachePolicy, or settings by name, as with_cache(ttl=60), not 60",
    ),
    (
        lambda: add.with_cache(tll=60),
        "with_cache(tll=): is unknown; there are ttl, key, ignore, version, backend, file, newer_than; did you mean ttl=?",
    ),
    (lambda: add.with_cache(ttl="1h"), "with_cache(ttl=): needs a number of seconds above 0, not '1h'"),
    (
        lambda: add.with_rate("20"),
        'with_rate(rate): rate must be a number per second, or a text as "10/s", "10/m" or "10/h"; it is \'20\'',
    ),
    (
        lambda: add.with_rate("20/day"),
        'with_rate(rate): rate must be a number per second, or a text as "10/s", "10/m" or "10/h"; it is \'20/day\'',
    ),
    (
        lambda: add.with_rate(0),
        "with_rate(rate): rate must be above 0; to stop everything use a pause; it is 0",
    ),
    (lambda: add.with_rate(None), "with_rate(rate): needs a number per second or a text as '20/s', not None"),
    (lambda: add.with_rate(20, "s"), "with_rate() got 2 positional arguments; it takes rate, burst="),
    (lambda: add.with_rate("20/s", burst=0), "with_rate(burst=): needs a number from 1, not 0"),
    (
        lambda: add.with_constraints("gpu"),
        "with_constraints() got 1 positional argument; it takes name=value",
    ),
    (
        lambda: add.with_constraints({"gpu": 1}),
        "with_constraints() got 1 positional argument; it takes name=value",
    ),
    (
        lambda: add.with_concurrency(4),
        "task 'add' has no method with_concurrency; it is a method of a call: add.map(...).with_concurrency(...)",
    ),
    (
        lambda: add.keep_failures,
        "task 'add' has no method keep_failures; it is a method of a call: add.map(...).keep_failures(...)",
    ),
    (
        lambda: add(1).keep_failures(),
        "keep_failures(): keeps the failed items of a map; write task.map(...).keep_failures(), or call(...).or_else(value) for one call",
    ),
    (
        lambda: add.or_else(add(2)),
        "or_else(value): needs a value, not a lazy result; choose between calls inside a task",
    ),
    (
        lambda: add.map(a=[1]).with_concurency(4),
        "a lazy result has no method with_concurency(); did you mean with_concurrency?; call methods of its value inside a task",
    ),
    (lambda: add(1).map(b=[1]), "a lazy result has no method map(): it is the task's; write task.map(x=...)"),
    (
        lambda: add.map(a=itertools.count()),
        "task 'add': the count for 'a' has more than 1,000,000 items and may be endless; take some of them with itertools.islice(...), or pass a list if you need them all; its signature is add(a: int, b: int = 2) -> int",
    ),
    (
        lambda: cs.run(add.map(a=give(itertools.repeat(1)))),
        "task 'add': the repeat for 'a' has more than 1,000,000 items and may be endless; take some of them with itertools.islice(...), or pass a list if you need them all; its signature is add(a: int, b: int = 2) -> int",
    ),
    # use a value that is not there yet
    (
        lambda: sum(add(1)),
        "<LazyResult add with 1 argument> has no items before it runs; write task.map(x=lazy) for a task for each, or lazy[0] for one",
    ),
    (
        lambda: range(add(1)),
        "<LazyResult add with 1 argument> has no value before it runs, so it cannot be a whole number, as range() and an index need one; use it inside a task, or run it first with cs.run(...)",
    ),
    (
        lambda: [1, 2, 3][add(1)],
        "<LazyResult add with 1 argument> has no value before it runs, so it cannot be a whole number, as range() and an index need one; use it inside a task, or run it first with cs.run(...)",
    ),
    (
        lambda: add(1) in [1, 2],
        "<LazyResult add with 1 argument> has no value before it runs, so it cannot be compared with a value of type int; compare inside a task, or run it first with cs.run(...)",
    ),
    (
        lambda: not add(1),
        "<LazyResult add with 1 argument> has no value before it runs; decide inside a task or with run_if(...), or run it first with cs.run(...)",
    ),
    (lambda: dict(add(1)), "a lazy result has no method keys(); call methods of its value inside a task"),
    (
        lambda: open(add(1)),  # noqa: SIM115
        "<LazyResult add with 1 argument> has no value before it runs, so it cannot be the name of a file; open the file inside a task that takes the name, or run it first with cs.run(...)",
    ),
    (
        lambda: Path("folder") / add(1),
        "<LazyResult add with 1 argument> has no value before it runs, so it cannot be the name of a file; open the file inside a task that takes the name, or run it first with cs.run(...)",
    ),
    (
        lambda: operator.setitem(add(1), 0, 1),
        "<LazyResult add with 1 argument> has no value before it runs, so it has no items to set; change the value inside a task, or run it first with cs.run(...)",
    ),
    (
        lambda: operator.delitem(add(1), 0),
        "<LazyResult add with 1 argument> has no value before it runs, so it has no items to delete; change the value inside a task, or run it first with cs.run(...)",
    ),
    (
        lambda: setattr(add(1), "x", 1),
        "<LazyResult add with 1 argument> is immutable; its methods return new nodes",
    ),
    (lambda: add(1).upper(), "a lazy result has no method upper(); call methods of its value inside a task"),
    (lambda: add(1).wait(), "a lazy result has no method wait(); write cs.run(lazy), or await cs.arun(lazy)"),
    (
        lambda: add(1).run_if(True),
        "True of type bool is not a lazy result; run_if(...) takes the result of calling a task",
    ),
    (
        lambda: add(1).run_if(add),
        "<Task add(a: int, b: int = 2) -> int> of type Task is not a lazy result; it is the task itself; call it: add(...)",
    ),
    (
        lambda: add(1).after([add(2)]),
        "[<LazyResult add(2)>] of type list is not a lazy result; after(...) takes the results of calling tasks; pass each of its items by itself",
    ),
    (
        lambda: cs.sequence(add, add),
        "<Task add(a: int, b: int = 2) -> int> of type Task is not a lazy result; it is the task itself; call it: add(...)",
    ),
    (
        lambda: cs.sequence([add(1), add(2)]),
        "[<LazyResult add(1)>, <LazyResult add(2)>] of type list is not a lazy result; sequence(...) takes the results of calling tasks; pass each of its items by itself",
    ),
    (
        lambda: cs.pipeline(add, add),
        "pipeline(value, *tasks): the value is the task 'add' itself; begin with add(...)",
    ),
    (
        lambda: cs.pipeline(1, add(1)),
        "pipeline(value, *tasks): takes functions decorated with @cs.task, not <LazyResult add(1)>",
    ),
    (
        lambda: cs.Router(add(1), [add(2)]),
        "Router(routes): needs a dict of at least one lazy result, not [<LazyResult add(2)>]",
    ),
    (
        lambda: cs.Router(add(1), {"a": add}),
        "<Task add(a: int, b: int = 2) -> int> of type Task is not a lazy result; it is the task itself; call it: add(...)",
    ),
]
# Messages that need files, a broker or a longer program, and the tests that show them.
ELSEWHERE = {
    **dict.fromkeys(
        (
            " is more than ",
            " is not a number from 1 to 65535; ",
            " is not a number of seconds above 0",
            " is not a version of MQTT; write '3.1.1' or '5'",
            " is not a whole number from 0 to 65535",
            "MQTT 5 uses clean_start instead",
            "identifier sets the same; pass only one of the two",
            "it begins with none of ",
            "it belongs to MQTT 5; pass protocol='5' too",
            "it has no host; ",
            "it is longer than ",
            "it is not sent without a user; pass username= too",
            "it must be an aiomqtt.TLSParameters",
            "it must be an ssl.SSLContext",
            "it must be one of ",
            "it must be text",
            "pass the port beside it: ",
            "the broker keeps a session by its client id; pass client_id= too",
            "the connection does not use TLS; pass tls_context= or tls_params= too",
            "the connector sets its own will; pass presence=False to set another one",
            "this is a URL; pass it to ",
            "tls_context sets the same; pass only one of the two",
        ),
        "test_config_words.py",
    ),
    **dict.fromkeys(
        (
            "cannot be given with cron=; leave one out",
            "is the time zone of cron=, which is missing",
            "needs 'none', 'one' or 'all'",
            "needs 1s to less than a year",
            "needs a text such as '0 3 * * *'",
            "needs a whole number with a unit: 90s, 10m, 2h or 1d",
            "needs five fields: write ",
            "workflow(cron=)",
            "workflow(tz=)",
        ),
        "test_schedules.py",
    ),
    **dict.fromkeys((", and a clock gives none; give a default",), "test_ticks.py"),
    **dict.fromkeys(
        (
            "belongs to lease=, which is missing",
            "is for the ticks of cron= or every=, which are missing",
            (
                "needs an MQTT broker, which gives all machines one order of messages; NATS gives none to retained ones: "
                "pass connector='mqtt://broker?source_id=press-line-3', or leave lease= out"
            ),
            "serve(connector=)",
            "workflow(lease=)",
            "workflow(lease_ttl=)",
        ),
        "test_leases.py",
    ),
    **dict.fromkeys(("DaskExecutor(address=, cluster=)", "DaskExecutor(cluster=)"), "test_dask_surface.py"),
    "FuturesExecutor(pool=)": "test_futures_executor.py",
    "takes a list; write observers=[": "test_otel.py",
    "; free some space": "test_sqlite_state.py",
    **dict.fromkeys(
        (
            "cs.serve(...) cannot run inside a running event loop; write: await cs.aserve(...)",
            "is missing, and no workflow has a schedule; pass connector='mqtt://broker?source_id=press-line-3'",
            "belongs to one run, and a service has many; leave it out",
            "needs a name, by which others ask it: mqtt://broker?source_id=press-line-3",
            "needs a connector with watch(), such as mqtt://broker",
            "two workflows have the name ",
            "needs at least one workflow",
        ),
        "test_serve.py",
    ),
    "=): needs a number, not ": "test_checkpoints_in_processes.py",
    "=... for an input of the graph": "test_nightly_runs.py",
    " is not in doubt: it is ": "test_history.py",
    "; cascade history --state ": "test_history.py",
    "the folder does not exist": "test_resolving.py",
    " has a level that nats-server takes for a wildcard": "test_acl_nats.py",
    "; rename one, or pass --config FOLDER": "test_acl_nats.py",
    "holds a call in something other than a list, tuple or dict": "test_returned_calls.py",
    "cs.publish() does not work in a worker whose executor offers no context of the call; return the value, and "
    "publish it from a task with mode='thread' or an async one": "test_publishing.py",
    " is not a user name; ": "test_acl.py",
    " does not exist; cascade outbox list shows the senders": "test_outbox_command.py",
    "the disk does not answer; try again when it works": "test_open_outbox.py",
    "other users of this machine can read the key ": "test_config.py",
    "it needs a certificate; set ": "test_config.py",
    "it needs a certfile; pass certfile too": "test_config.py",
    ") cannot be used: both must be in PEM form and belong together, and keyfile_password must open the key if it is "
    "encrypted": "test_config.py",
    " contains no certificates in PEM form": "test_config.py",
    "aiomqtt refuses its keywords: ": "test_config.py",
    " exclude each other; pass one": "test_config.py",
    "user and password belong together; pass both, or token=": "test_config.py",
    "it may have up to 64 of A-Z a-z 0-9 _ and -": "test_config.py",
    "the file that it names cannot be read: ": "test_config.py",
    "cannot be read here: ": "test_pickled_calls.py",
    "is not percent-encoded UTF-8": "test_topics.py",
    ", not an object": "test_wire.py",
    "not JSON: ": "test_wire.py",
    "does not support watch(), which is needed to receive constraints": "test_manager.py",
    " is not the name of a workflow": "test_access.py",
    "the topic of a gate ": "test_access.py",
    " has no parameter ": "test_starting.py",
    " itself; return a call that does not need this task's value": "test_expansion_costs.py",
    " is done and its value has been released; pass every result that the returned calls need to the task as an argument": (
        "test_language.py"
    ),
    " characters; use at most ": "test_telemetry.py",
    " is running on this engine; wait for it to end, or give another id": "test_engine.py",
    "the engine has runs on another event loop; make one engine for each loop": "test_engine.py",
    "the system cannot start more threads": "test_thread_executor.py",
    "cs.main needs the command line; install it with: ": "test_sdk.py",
    # the store of recorded runs
    "needs a connector, through which the events leave": "test_outbox_queue.py",
    "needs a connector with deliver_nowait, such as MqttConnector, not ": "test_outbox_queue.py",
    "run(outbox=)": "test_platforms.py",  # with a text of its own for a system without file locks
    "needs an engine name; pass the connector source_id=": "test_outbox_queue.py",
    "takes cs.Outbox('events'), not ": "test_outbox_queue.py",
    "needs a folder, such as 'events'": "test_outbox_queue.py",
    "needs a number of bytes from 65536": "test_outbox_queue.py",
    "needs a timedelta above 0": "test_outbox_queue.py",
    "needs seconds from 0 to 60": "test_outbox_queue.py",
    "needs 'oldest' or 'live-first'": "test_outbox_queue.py",
    "needs the name of the collector, such as 'collector-1'": "test_outbox_queue.py",
    "a value in the template is empty, . or .., or has a separator of paths; pass it as a Path, or pass a function as file=": (
        "test_cache_files.py"
    ),
    ", where SQLite's WAL is not safe; name a local folder": "test_sqlite_state.py",
    "belongs to another user; run this as that user, or name a folder of your own": "test_sqlite_state.py",
    " by others; chmod 700 ": "test_sqlite_state.py",
    "; give another run_id": "test_sqlite_state.py",
    ", and is given ": "test_state_contract.py",
    "another value of ": "test_state_contract.py",
    "the recorded inputs of the run cannot be read: ": "test_state_faults.py",
    " bytes, more than ": "test_sqlite_state.py",
    "it was changed, or signed with another key": "test_state_faults.py",
    "cannot be recorded: ": "test_state_contract.py",
    "it is a database of another program": "test_sqlite_state.py",
    ", and this Cascade writes ": "test_sqlite_state.py",
    ", which is migrated ": "test_sqlite_state.py",
    "SqliteState(retry_for=)": "test_sqlite_state.py",
    "needs a timedelta from 0, or None": "test_sqlite_state.py",
    "none is recorded": "test_state_contract.py",
}

# What the glossary replaced: none of these words explains anything to a user.
PRIVATE_WORDS = re.compile(
    r"""\b(?:ticket|turnstile|obstacle|entrance|heir|growth|grown?|grows|forsake|forsaken|unbegun|begun|stubborn|troubled
    |trouble|parcel|courier|letter|tally|bell|standstill|complaints?|dice|good-bye|mend|mends|slip|circle
    |somebody|nobody|whoever|told|tells|patience|let\ go|gives?\ way|(?<!there\ )(?:is|are)\ no(?!\ longer)|(?:an?|each|every|this|one|first|next|failed|another)\ try|turned?\ away|carry\ out)\b""",
    re.VERBOSE | re.IGNORECASE,
)
USER_ERRORS = {
    name
    for name in cs.__all__
    if isinstance(error := getattr(cs, name), type) and issubclass(error, Exception)
}


@pytest.mark.parametrize(("action", "message"), [*MESSAGES, *FIRST_DAY])
def test_the_message_says_what_is_wrong(action: Callable[[], object], message: str) -> None:
    """An address in memory is replaced, because it differs from run to run.

    Where Python refuses a call or an attribute, its own kind of error is raised, with our words.
    """
    with pytest.raises((cs.CascadeError, TypeError, AttributeError)) as raised:
        action()
    assert re.sub(r" at 0x[0-9a-f]+", " at 0x...", str(raised.value)) == message


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield every text that a module can print, log or raise, with its line; docstrings are left out."""
    nodes = list(ast.walk(ast.parse(source)))
    docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            yield node.lineno, node.value


def names(source: str) -> Iterator[tuple[int, str]]:
    """Yield every name that a module gives or uses, with blanks for underscores."""
    for node in ast.walk(ast.parse(source)):
        for field in ("id", "attr", "arg", "name"):
            if isinstance(name := getattr(node, field, None), str):
                yield getattr(node, "lineno", 0), name.replace("_", " ")


def literals(call: ast.Call) -> list[str]:
    """The literal parts of a call's arguments."""
    return [
        part.value
        for part in ast.walk(call)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]


def sources() -> list[Path]:
    """The sources of all distributions, the testkit's too: its errors are read by authors of connectors."""
    return sorted(PACKAGES.glob("*/src/**/*.py"))


def programs(*folders: str) -> list[Path]:
    """What is in these folders beside the sources."""
    return sorted(path for folder in folders for path in PACKAGES.glob(f"*/{folder}/**/*.py"))


@pytest.mark.full
def test_every_message_that_is_raised_is_listed() -> None:
    """A new error message is added here and reread; one that needs more than a line is named with its test."""
    listed = "\n".join(message for _, message in [*MESSAGES, *FIRST_DAY])
    longest = {
        max(texts, key=len)
        for path in sources()
        if "cascade-testkit" not in path.parts
        for texts in raised_messages(path.read_text("utf-8"))
    }
    missing = {text for text in longest if text not in listed}
    assert missing == set(ELSEWHERE)
    assert [name for name in ELSEWHERE.values() if not list(PACKAGES.glob(f"*/tests/**/{name}"))] == []


def raised_messages(source: str) -> Iterator[list[str]]:
    """Yield the literal parts of each error of the public interface that a module raises with a text."""
    errors = {*USER_ERRORS, "unusable"}
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
            continue
        if ast.unparse(node.exc.func).rpartition(".")[2] not in errors:
            continue
        if texts := [text for text in literals(node.exc) if len(text) > 3]:
            yield texts


@pytest.mark.full
def test_no_text_has_a_word_that_the_glossary_replaced() -> None:
    """Errors, log messages and what programs print are in the field's terms, also where no table provokes them."""
    found = [
        f"{path.relative_to(PACKAGES)}:{line}: {text!r}"
        for path in [*sources(), *programs("demo", "examples", "benchmarks", "mutation")]
        for line, text in texts(path.read_text("utf-8"))
        if " " in text and PRIVATE_WORDS.search(text)
    ]
    assert found == []
    assert [message for _, message in [*MESSAGES, *FIRST_DAY] if PRIVATE_WORDS.search(message)] == []


def test_no_name_in_a_program_has_such_a_word() -> None:
    """Demos and examples are read as much as pages are."""
    found = [
        f"{path.relative_to(PACKAGES)}:{line}: {name!r}"
        for path in programs("demo", "examples")
        for line, name in names(path.read_text("utf-8"))
        if PRIVATE_WORDS.search(name)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""Nobody."""', []),
        ('def f():\n    """Nobody."""\n    log.info("told %s")', ["told %s"]),
        ('raise ValueError(f"{x} is no number")', [" is no number"]),
        ('raise ValueError("there is no such number")', []),
        ('print("each try of the step")', ["each try of the step"]),
    ],
)
def test_a_word_is_found_wherever_it_is_printed(source: str, found: list[str]) -> None:
    assert [text for _, text in texts(source) if PRIVATE_WORDS.search(text)] == found
