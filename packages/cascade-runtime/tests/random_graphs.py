"""Random graphs of maps, routes, conditions and continuations, made from a seed; each call knows its place in them."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from random import Random
from typing import Any

from cascade.interfaces import StepInfo
from cascade.spec import LazyResult, Router, task

current: ContextVar[str] = ContextVar("key of the step that runs")

NAMES = ("load", "parse", "50%/s:[~]")


class Record:
    """The key under which each call ran; a call is known by the place at which the test's own code made it."""

    def __init__(self, seed: int) -> None:
        self.keys: dict[str, str] = {}
        self.random = Random(seed)

    async def around(self, step: StepInfo, call_next: Callable[[], Awaitable[Any]]) -> Any:
        current.set(step.key)
        return await call_next()

    async def note(self, place: str) -> None:
        assert place not in self.keys, f"{place} ran twice"
        self.keys[place] = current.get()
        for _ in range(self.random.randrange(8)):
            await asyncio.sleep(0)


class Hidden:
    """Holds a lazy result where the search for inputs does not look."""

    def __init__(self, lazy: LazyResult[Any]) -> None:
        self._box = [lazy]

    @property
    def lazy(self) -> LazyResult[Any]:
        return self._box[0]


@dataclass
class Plan:
    """What a call returns when it runs: a graph of its own, made from a seed."""

    seed: int
    depth: int
    outer: Hidden
    """A call of the run's first graph, which the new one uses, too."""


@task
async def call(place: str, record: Record, plan: Plan | None = None, inputs: Any = None) -> Any:
    await record.note(place)
    return Maker(place, record, plan).make() if plan is not None else len(place)


@task
async def choose(place: str, record: Record) -> int:
    await record.note(place)
    return len(place) % 3


@task
async def listing(place: str, record: Record, names: list[str | None]) -> Any:
    """Return items for a map; some of them hold a call that has not run."""
    await record.note(place)
    return [
        {"place": f"{place}#{n}", "more": call(f"{place}#{n}+", record).named(name) if name else None}
        for n, name in enumerate(names)
    ]


@task
async def item(x: Any, record: Record, plan: Plan | None = None) -> Any:
    await record.note(x["place"])
    return Maker(x["place"], record, plan).make() if plan is not None else 1


@task
async def second(x: Any, record: Record) -> Any:
    await record.note(x["place"] + " again")
    return 2


class Maker:
    """Declares a random graph."""

    def __init__(self, place: str, record: Record, plan: Plan) -> None:
        self.random = Random(plan.seed)
        self.place, self.record, self.depth, self.outer = place, record, plan.depth, plan.outer
        self.made: list[LazyResult[Any]] = [plan.outer.lazy]
        self.count = 0

    def make(self) -> LazyResult[Any]:
        shapes = (self.plain, self.plain, self.eager, self.lazily, self.routed)
        for _ in range(self.random.randint(1, 5)):
            self.made.append(self.random.choice(shapes)())
        return self.plain(*self.made[-2:])

    def new(self) -> str:
        self.count += 1
        return f"{self.place}>{self.count}"

    def some(self) -> list[LazyResult[Any]]:
        return self.random.sample(self.made, min(len(self.made), self.random.randrange(3)))

    def name(self) -> str:
        return self.random.choice(NAMES)

    def plan(self) -> Plan | None:
        if not self.depth or self.random.random() < 0.5:
            return None
        return Plan(self.random.randrange(10**9), self.depth - 1, self.outer)

    def plain(self, *inputs: LazyResult[Any]) -> LazyResult[Any]:
        made = call(self.new(), self.record, self.plan(), [*inputs, *self.some()]).after(*self.some())
        if self.random.random() < 0.2:
            made = made.run_if(self.random.choice(self.made), otherwise=0)
        return made.named(self.name())

    def eager(self) -> LazyResult[Any]:
        place, more = self.new(), [None, *self.made]
        column = [
            {"place": f"{place}#{n}", "more": self.random.choice(more)}
            for n in range(self.random.randrange(4))
        ]
        return item.partial(record=self.record, plan=self.plan()).map(x=column).named(self.name())

    def lazily(self) -> LazyResult[Any]:
        names = [self.random.choice((None, *NAMES)) for _ in range(self.random.randrange(4))]
        source = listing(self.new(), self.record, names)
        if not any(names):  # of two maps over such calls, the second may come when their values are released
            self.made.append(second.partial(record=self.record).map(x=source).named(self.name()))
        return item.partial(record=self.record, plan=self.plan()).map(x=source).named(self.name())

    def routed(self) -> LazyResult[Any]:
        routes = [*self.made, self.plain(), self.plain()][-3:]
        if self.random.random() < 0.5:
            self.made.append(self.random.choice(routes))
        chosen = choose(self.new(), self.record)
        return Router(chosen, {n: self.random.choice(routes) for n in range(3)})
