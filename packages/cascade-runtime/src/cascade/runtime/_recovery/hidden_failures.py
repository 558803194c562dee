"""Calls behind recorded values that have to be built nevertheless, because a step behind them may have failed. No I/O.

A call settles once everything that it needs has. So a failure hides behind a value in two ways only: a call whose condition
was false gave another value in place of its own or was skipped before one that only comes after it, or the failed step belongs
to the calls that a recorded step returned.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property

from cascade.interfaces import Journal, StepState
from cascade.runtime._graph.dependencies import dependencies_of
from cascade.runtime._graph.keys import scope_of
from cascade.runtime._graph.recorded import RecordedGraph
from cascade.runtime._recovery.changed_steps import ChangeFinder
from cascade.spec import Call, MapCall, RouteCall, Search


class HiddenFailures:
    """Finds the calls that a run must look at again before it may succeed, although no value of theirs is wanted."""

    def __init__(self, journal: Journal, finder: ChangeFinder) -> None:
        self._journal = journal
        self._finder = finder

    def mark(self, graph: RecordedGraph, new: Iterable[Call]) -> list[Call]:
        """Mark those among new calls, dependencies first, that a failure may hide behind; return what is marked now."""
        doubtful, search = graph.doubtful, Search()
        if not (doubtful or self._unsettled or any(map(_has_other_value, new))):
            return []
        for call in new:
            if (
                _has_other_value(call)
                or self._is_unsettled(graph, call)
                or any(needed in doubtful for needed in _needed(call, search, routes=True))
            ):
                doubtful.add(call)
        return [*doubtful]

    def behind(self, graph: RecordedGraph, recorded: Call, wanted: Collection[Call]) -> list[Call]:
        """Return the calls behind a recorded one that are to be built, without those that are wanted; each only once."""
        found, search = list[Call](), Search()
        stack = [recorded]
        while stack:
            call = stack.pop()
            if call not in graph.doubtful or graph.find(call) is not None:
                continue
            graph.doubtful.discard(call)
            if call not in wanted and self._has_to_be_built(graph, call):
                found.append(call)
            stack += _needed(call, search)
        return found

    @cached_property
    def _unsettled(self) -> frozenset[str]:
        """What the keys of steps without a value begin with, for each call around them that returned calls, and each map."""
        open_steps = self._journal.known_keys(StepState.FAILED, StepState.STARTED, StepState.RETRYING)
        returned = (key for key in open_steps if "~" in key)
        return frozenset(key[: part.start()] for key in returned for part in _PART.finditer(key))

    def _is_unsettled(self, graph: RecordedGraph, call: Call) -> bool:
        return bool(self._unsettled) and scope_of(graph.key_of(call)) in self._unsettled

    def _has_to_be_built(self, graph: RecordedGraph, call: Call) -> bool:
        # which route was taken, its selector has to say again
        if isinstance(call, RouteCall) or self._is_unsettled(graph, call):
            return True
        if not _has_other_value(call):
            return False
        key = graph.key_of(call)
        was_made = self._finder.has_items(key) if isinstance(call, MapCall) else self._finder.kept(key)
        return not was_made


def _needed(call: Call, search: Search, *, routes: bool = False) -> Iterator[Call]:
    """Yield what a call waits for, with ``routes`` also what it may take; a map without items takes nothing."""
    is_empty = isinstance(call, MapCall) and any(
        type(column) is tuple and not column for column in call.kwargs.values()
    )
    for needed, role in dependencies_of(call, search):
        if role == "before" or (not is_empty and (routes or role != "route")):
            yield needed


def _has_other_value(call: Call) -> bool:
    """Return whether a call settles although its condition is false: with another value, or skipped behind ``after``."""
    return call.condition is not None


_PART = re.compile(r"[\[~]")
