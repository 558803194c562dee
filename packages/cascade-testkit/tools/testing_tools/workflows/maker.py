"""Makes workflows at random: every shape that the language has, in every combination."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from cascade.spec import LazyResult, Param, Router, Task, call_of, task
from testing_tools.workflows import work

Lazy = LazyResult[Any]
FOLDER = "folder"
"""The parameter of every workflow: where its steps keep what they count."""

MOST_STEPS = 14
MOST_TARGETS = 3
MOST_TURNS = 6  # of a loop
_DEEPEST = 2  # containers inside containers
_NUMBER = 7  # what a step gives instead of a number of its own
_FALLIBLE = (work.fail, work.flaky, work.picky, work.descend, work.cycle, work.unfold, work.fan_out)
"""Functions whose calls may fail, or return calls that do: some give a number in place of a failure."""


def make_workflow(random: Random) -> list[Lazy]:
    """Return the targets of a workflow."""
    maker = _Maker(random)
    for seed in range(random.randint(1, MOST_STEPS)):
        maker.add(seed)
    return maker.targets()


class _Maker:
    """Adds steps that need earlier ones."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._folder: Lazy = Param(FOLDER)
        self._steps: list[Lazy] = []
        self._lists: list[Lazy] = []
        self._pairs: list[Lazy] = []
        self._once = task(name="once")(work.once).with_cache()
        self._never: Task[..., Any] = task(name="never")(work.fail).with_cache()
        self._ways: tuple[Callable[[int], Lazy], ...] = (
            self._plain,
            self._plain,
            self._list,
            self._pair,
            self._failing,
            self._flaky,
            self._cached,
            self._cached_flaky,
            self._cached_failing,
            self._equipped,
            self._loop,
            self._loop,
            self._recursion,
            self._fan_out,
            self._map,
            self._map,
            self._lazy_map,
            self._route,
            self._route,
            self._item,
            self._attribute,
        )

    def targets(self) -> list[Lazy]:
        """Return what the workflow is for."""
        wanted = [self._pick(self._steps) for _ in range(self._random.randint(1, MOST_TARGETS))]
        return [*wanted, task(work.anchor)(self._folder)]

    def add(self, seed: int) -> None:
        """Add one step."""
        self._steps.append(self._random.choice(self._ways)(seed))

    def _plain(self, seed: int) -> Lazy:
        return self._shaped(self._task(work.mix, seed)(seed, *self._arguments(), x=self._argument()))

    def _list(self, seed: int) -> Lazy:
        made = self._shaped(self._task(work.spread, seed)(seed, *self._arguments()), [1, 2])
        self._lists.append(made)
        return made

    def _pair(self, seed: int) -> Lazy:
        made = self._shaped(self._task(work.pair, seed)(seed, *self._arguments()), work.Pair(1, 2))
        self._pairs.append(made)
        return made

    def _failing(self, seed: int) -> Lazy:
        return self._shaped(self._task(work.fail, seed)(seed, *self._arguments()), None)

    def _flaky(self, seed: int) -> Lazy:
        failures, attempts = self._random.randint(0, 2), self._random.randint(1, 3)
        call = self._task(work.flaky, seed)(seed, self._folder, failures, *self._arguments())
        retried = call.with_retry(attempts)
        blocks = call_of(call).definition.mode == "inline"
        return self._shaped(retried if blocks else retried.with_timeout(60))

    def _cached(self, seed: int) -> Lazy:
        return self._once(self._random.randint(0, 1), self._folder, *self._arguments()[:1])

    def _cached_flaky(self, seed: int) -> Lazy:
        """Map over equal items, which fail at first; which of them computes is open, so its end is not compared."""
        failures = self._random.randint(0, 2)
        where = self._random.choice((work.flaky, work.as_async(work.flaky)))
        cached = task(name="late")(where).with_cache().with_retry(failures + 1)
        items = cached.partial(folder=self._folder, failures=failures)
        return items.map(seed=[seed] * self._random.randint(1, 4))

    def _cached_failing(self, seed: int) -> Lazy:
        """Fail, and fail again for each equal call."""
        return self._never(self._random.randint(0, 1)).with_retry(self._random.randint(1, 2))

    def _equipped(self, seed: int) -> Lazy:
        return self._shaped(self._task(work.equipped, seed)(seed, *self._arguments()))

    def _loop(self, seed: int) -> Lazy:
        turns, end = (
            self._random.randint(0, MOST_TURNS),
            self._random.choice(("value", "value", "fail", "skip")),
        )
        function = self._random.choice((work.descend, work.cycle))
        return self._shaped(self._task(function, seed)(seed, turns, end, *self._arguments()))

    def _recursion(self, seed: int) -> Lazy:
        depth = self._random.randint(0, MOST_TURNS)
        return self._shaped(self._task(work.unfold, seed)(seed, depth, *self._arguments()))

    def _fan_out(self, seed: int) -> Lazy:
        failing = self._chance(6)
        return self._shaped(self._task(work.fan_out, seed)(seed, failing, *self._arguments()))

    def _map(self, seed: int) -> Lazy:
        length = self._random.randint(0, 3)
        columns = {name: [self._argument() for _ in range(length)] for name in self._names()}
        return self._mapped(seed, columns)

    def _lazy_map(self, seed: int) -> Lazy:
        if not self._lists:
            return self._list(seed)
        return self._mapped(seed, {"x": self._pick(self._lists)})

    def _mapped(self, seed: int, columns: dict[str, Any]) -> Lazy:
        function = self._random.choice((work.mix, work.mix, work.picky))
        declared = self._task(function, seed).partial(seed=seed)
        if "y" not in columns:
            declared = declared.partial(y=self._argument())
        mapped: Lazy = declared.map(**columns)
        if self._chance(3):
            mapped = mapped.keep_failures()
        if self._chance(3):
            mapped = mapped.with_concurrency(self._random.randint(1, 2))
        made = self._shaped(mapped, [3])
        self._lists.append(made)
        return made

    def _route(self, seed: int) -> Lazy:
        selector = self._task(work.choose, seed)(seed, *self._arguments())
        if not self._steps:
            return selector
        routes = {choice: self._pick(self._steps) for choice in range(self._random.randint(2, 4))}
        return self._shaped(Router(selector, routes))

    def _item(self, seed: int) -> Lazy:
        if not self._lists:
            return self._list(seed)
        return self._shaped(self._pick(self._lists)[self._random.randint(0, 1)])

    def _attribute(self, seed: int) -> Lazy:
        if not self._pairs:
            return self._pair(seed)
        return self._pick(self._pairs).left

    def _task(self, function: Callable[..., Any], seed: int) -> Task[..., Any]:
        where = self._random.choice(("executor", "executor", "inline", "async"))
        runs = work.as_async(function) if where == "async" else function
        declared = task(name=f"step {seed}", mode="inline" if where == "inline" else "auto")(runs)
        return declared.or_else(_NUMBER) if function in _FALLIBLE and self._chance(4) else declared

    def _shaped(self, made: Lazy, otherwise: Any = _NUMBER) -> Lazy:
        """Give a step demands, a rate, an order, a condition, or all of them."""
        if not call_of(made).definition.structural and self._chance(4):
            made = made.with_constraints(slots=self._amount())
        if not call_of(made).definition.structural and self._chance(6):
            # it decides when a step starts, and never what it gives
            made = made.with_rate(self._random.choice((500, "2000/s")), burst=self._random.randint(1, 3))
        if self._steps and self._chance(4):
            made = made.after(*(self._pick(self._steps) for _ in range(self._random.randint(1, 2))))
        if self._steps and self._chance(4):
            judge = task(mode="inline")(work.bit)(self._random.randint(0, 9), self._pick(self._steps))
            if self._chance(2):
                made = made.run_if(judge)
            else:
                made = made.run_if(judge, otherwise=self._otherwise(otherwise))
        return made

    def _otherwise(self, plain: Any) -> Any:
        """Return what a step gives whose condition is false: a value, another step, or a list with one."""
        kind = self._random.randint(0, 3)
        if plain != _NUMBER or kind <= 1:  # steps that need a list or pair get one
            return plain
        step = self._pick(self._steps)
        return step if kind == 2 else [step, plain]

    def _amount(self) -> Any:
        if self._chance(2):
            return self._random.randint(0, work.MOST_SLOTS)
        seed = self._random.randint(0, 9)
        return self._task(work.amount, seed)(seed, *self._arguments()[:1])

    def _arguments(self) -> list[Any]:
        return [self._argument() for _ in range(self._random.randint(0, 2))]

    def _argument(self, depth: int = 0) -> Any:
        kind = self._random.randint(0, 3 if depth >= _DEEPEST else 7)
        if kind <= 1 or (kind <= 3 and not self._steps):
            return self._random.randint(0, 2)
        if kind <= 3:
            return self._pick(self._steps)
        inside = [self._argument(depth + 1) for _ in range(2)]
        if kind == 4:
            return inside
        if kind == 5:
            return tuple(inside)
        return {"a": inside[0], "b": inside[1]} if kind == 6 else work.Pair(*inside)

    def _names(self) -> tuple[str, ...]:
        return self._random.choice((("x",), ("x", "y")))

    def _pick(self, lazies: list[Lazy]) -> Lazy:
        return self._random.choice(lazies)

    def _chance(self, one_in: int) -> bool:
        return self._random.randrange(one_in) == 0
