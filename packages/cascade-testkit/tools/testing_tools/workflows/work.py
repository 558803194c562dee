"""Functions that random workflows are made of: every worker can import them, and all but files is arithmetic."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from cascade.interfaces import Failure
from cascade.spec import LazyResult, Router, inject, task

MOST_SLOTS = 2
"""How much there is of what steps occupy while they run."""


class Broken(Exception):
    """What a step raises that is meant to fail."""


@dataclass(frozen=True)
class Pair:
    """A container, and a value with attributes."""

    left: Any
    right: Any


def mix(seed: int, *args: Any, x: Any = None, y: Any = None) -> int:
    """Return a number that depends on every argument and on where it stands."""
    return zlib.crc32(repr(without_causes((seed, args, x, y))).encode())


def without_causes(value: Any) -> Any:
    """Return a value with one text in the places of kept failures: which of several came first is open."""
    if isinstance(value, Failure):
        return "failed"
    if isinstance(value, list | tuple):
        return type(value)(map(without_causes, value))
    if isinstance(value, dict):
        return {key: without_causes(each) for key, each in value.items()}
    if isinstance(value, Pair):
        return Pair(without_causes(value.left), without_causes(value.right))
    return value


def bit(seed: int, *args: Any) -> bool:
    """Return true or false."""
    return mix(seed, *args) % 2 == 1


def choose(seed: int, *args: Any) -> int:
    """Return 0, 1, 2 or 3."""
    return mix(seed, *args) % 4


def spread(seed: int, *args: Any) -> list[int]:
    """Return a list of 0 to 3 numbers."""
    number = mix(seed, *args)
    return [number % (7 + position) for position in range(number % 4)]


def pair(seed: int, *args: Any) -> Pair:
    """Return a pair of a number and a list."""
    return Pair(mix(seed, *args), [seed])


def fail(seed: int, *args: Any) -> NoReturn:
    """Raise an error of its own."""
    raise Broken(f"step {seed}")


def picky(seed: int, x: Any = None, y: Any = None) -> int:
    """Raise an error for some arguments."""
    number = mix(seed, x=x, y=y)
    if number % 4 == 0:
        raise Broken(f"step {seed} dislikes {number}")
    return number


def flaky(seed: int, folder: str, failures: int, *args: Any) -> int:
    """Fail so many times, counted in a folder, and then give a number."""
    marks = Path(folder)
    before = len(list(marks.glob(f"flaky-{seed}-*")))
    if before < failures:
        (marks / f"flaky-{seed}-{before}").touch()
        raise Broken(f"step {seed}, attempt {before}")
    return mix(seed, *args)


def once(seed: int, folder: str, *args: Any) -> int:
    """Give a number; complain if it was asked for the same before."""
    number = mix(seed, *args)
    (Path(folder) / f"once-{number}").touch(exist_ok=False)
    return number


def equipped(seed: int, *args: Any, shared: int = inject("shared"), own: int = inject("own")) -> int:
    """Return a number that depends on resources."""
    return mix(seed, *args, x=shared, y=own)


def amount(seed: int, *args: Any) -> int:
    """Return how much of something a step occupies while it runs."""
    return mix(seed, *args) % (MOST_SLOTS + 1)


def descend(seed: int, depth: int, end: str, *args: Any) -> Any:
    """Return the next step of a loop, and at its end a number, a failure, or a step that is skipped."""
    if depth:
        return task(descend)(mix(seed), depth - 1, end, *args)
    return mix(seed, *args) if end == "value" else _last(seed, end)


def cycle(seed: int, depth: int, end: str, *args: Any) -> Any:
    """Return a choice between the next step of a loop and its end, or a choice of such a choice."""
    routes: dict[bool, LazyResult[Any]] = {False: _last(seed, end, *args)}
    if depth:
        routes[True] = task(cycle)(mix(seed), depth - 1, end, *args)
    chosen: LazyResult[Any] = Router(task(mode="inline")(bool)(depth), routes)
    return Router(task(bit)(seed), {False: chosen, True: chosen}) if seed % 2 else chosen


def _last(seed: int, end: str, *args: Any) -> LazyResult[Any]:
    if end == "skip":
        return task(mix)(seed).run_if(task(mode="inline")(bool)(0))
    return task(fail)(seed) if end == "fail" else task(mix)(seed, *args)


def unfold(seed: int, depth: int, *args: Any) -> int | LazyResult[int]:
    """Return a number that stands on returned steps: recursion that is not in the last place."""
    return task(mix)(seed, task(unfold)(seed, depth - 1, *args), [depth]) if depth else mix(seed, *args)


def fan_out(seed: int, failing: bool, *args: Any) -> dict[str, Any]:
    """Return calls in containers: they are run, too."""
    last = task(fail)(seed) if failing else task(mix)(seed + 1, *args)
    return {"both": [task(mix)(seed, *args), (last, seed)], "seed": seed}


def anchor(folder: str) -> int:
    """Take the folder, so that every workflow has a use for it."""
    return 0


def as_async(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same function for the event loop."""

    @functools.wraps(function)
    async def on_loop(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return on_loop
