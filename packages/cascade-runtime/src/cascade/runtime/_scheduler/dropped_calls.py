"""Calls that a task made and dropped: they never run, and the task was probably meant to return them."""

from __future__ import annotations

import sys
from typing import Any

from cascade.interfaces.logs import get_logger
from cascade.runtime._graph.node import Node
from cascade.spec import LazyResult, call_of, place_of_call

_log = get_logger("cascade.engine")

Made = dict[Node, dict[int, tuple[LazyResult[Any], tuple[str, int]]]]
"""The lazy results that running tasks have made, by their identity, with file and line."""


def note_call(
    made: Made, node: Node, lazy: LazyResult[Any], replaced: LazyResult[Any] | None, *, depth: int
) -> None:
    """Note a lazy result that a task has made; from any thread.

    :param replaced: the lazy result whose place it takes.
    :param depth: calls between this one and the making of the lazy result.
    """
    calls = made.setdefault(node, {})
    if replaced is not None:
        calls.pop(id(replaced), None)
    calls[id(lazy)] = lazy, place_of_call(depth + 1)


def warn_of_dropped(made: Made, node: Node) -> None:
    """Log each call of a task that has ended which nothing refers to any more, once for each place in its code."""
    calls = made.pop(node, None)
    while calls:
        _, (lazy, (file, line)) = calls.popitem()
        if sys.getrefcount(lazy) > _ALONE or call_of(lazy).definition.structural:
            continue
        if (file, line) in _reported or len(_reported) >= _MOST_PLACES:
            continue
        _reported.add((file, line))
        definition = call_of(lazy).definition
        name = getattr(definition.function, "__name__", definition.name)
        _log.warning(
            "%s:%s: %s(...) was called inside task %s and its call was dropped: return it, or call %s.function(...)",
            file, line, name, node.name, name,
        )  # fmt: skip


def _alone() -> int:
    """Return the count of an object that one variable refers to: from Python 3.14 on, an argument may add none."""
    lazy = object()
    return sys.getrefcount(lazy)


_ALONE = _alone()
_reported: set[tuple[str, int]] = set()
_MOST_PLACES = 1_000
