"""Completed steps of a recorded run that have changed. No I/O."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

from cascade.interfaces import ChangeKind, Journal, StepChange, StepRecord, StepState
from cascade.runtime._graph.dependencies import dependencies_of
from cascade.runtime._graph.items import has_to_wait
from cascade.runtime._graph.keys import item_keys, scope_of
from cascade.runtime._graph.recorded import RecordedGraph
from cascade.runtime._recovery.step_digests import StepDigests
from cascade.spec import Call, MapCall, Search

KEPT = frozenset({StepState.COMPLETED, StepState.EXPANDED})
_DYNAMIC = re.compile(r"[\[~]")
_PART = re.compile(r"[\[~/]")
_ITEM = re.compile(r"\[(\d+)\]$")


class ChangeFinder:
    """Compares what is recorded with what is declared now.

    Only steps with a value count: the others run in any case, with the code and arguments of today.
    """

    def __init__(self, journal: Journal, digests: StepDigests) -> None:
        self._journal = journal
        self._digests = digests

    @cached_property
    def _below(self) -> dict[str, list[str]]:
        """Keys of recorded items and continuations by the declared key that they begin with, in each graph."""
        below: defaultdict[str, list[str]] = defaultdict(list)
        for key in self._journal.known_keys():
            if (found := _DYNAMIC.search(key)) is not None:
                below[key[: found.start()]].append(key)
        return below

    @cached_property
    def _maps(self) -> set[str]:
        """What the keys of the recorded items of each map begin with, in all graphs."""
        return {key[: key.rindex("[")] for key in self._journal.known_keys() if key.endswith("]")}

    def kept(self, key: str) -> StepRecord | None:
        """Return what is recorded of a step if it has a value or a plan."""
        record = self._journal.known(key)
        return record if record is not None and record.state in KEPT else None

    def has_items(self, key: str) -> bool:
        """Return whether anything is recorded of the items of a map."""
        scope = scope_of(key)
        return scope in (self._below if _is_declared(scope) else self._maps)

    def changed(self, graph: RecordedGraph, calls: Iterable[Call]) -> Iterator[tuple[Call, StepChange]]:
        """Yield the changed steps among calls, and the calls that they belong to."""
        for call in calls:
            if call.definition.structural and not isinstance(call, MapCall):
                continue
            key = graph.key_of(call)
            record = self.kept(key)
            if not isinstance(call, MapCall):
                if record is None:
                    yield from self._items_of_a_call(call, key)
                elif type(call) is Call:
                    yield from self._compared(graph, call, record, call.args, call.kwargs)
            elif record is not None:  # it was no map
                yield call, StepChange(key, ChangeKind.GONE)
            elif has_to_wait(call):
                yield from self._items_by_code(graph, call)
            else:
                yield from self.changed_items(graph, call, call.kwargs)

    def changed_items(
        self, graph: RecordedGraph, call: MapCall, columns: Mapping[str, Any]
    ) -> Iterator[tuple[Call, StepChange]]:
        """Yield the changed items of a map whose items are known."""
        key, size = graph.key_of(call), len(next(iter(columns.values()), ()))
        code, inputs = (
            self._digests.code(call.definition.function),
            self._digests.items(graph, call, call.fixed, columns),
        )
        found = 0
        for number, each in enumerate(item_keys(key, size)):
            record = self._journal.known(each)
            if record is None or record.state not in KEPT:
                continue
            found += 1
            if _differ(record.code, code):
                yield call, StepChange(each, ChangeKind.CODE)
            elif record.inputs and record.inputs != inputs.of(number):
                yield call, StepChange(each, ChangeKind.ARGUMENTS)
        if len(self.recorded_of(key)) > found:
            for number, record in self._recorded_items(key):
                if number >= size:
                    yield call, StepChange(record.key, ChangeKind.GONE)

    def gone(self, declared: Iterable[str]) -> Iterator[StepChange]:
        """Yield the recorded steps of the outermost graph that are no longer declared."""
        known = {each for key in declared for each in (key, scope_of(key))}
        own = ((key, [key]) for key in self._journal.known_keys() if _is_declared(key))
        for outer, keys in chain(own, self._below.items()):
            if outer not in known and "\u2026" not in outer:
                yield from (StepChange(key, ChangeKind.GONE) for key in keys if self.kept(key) is not None)

    def dependents(
        self, graph: RecordedGraph, calls: Iterable[Call], changed: Iterable[Call]
    ) -> Iterator[str]:
        """Yield the keys of the calls that take a value of a changed one, directly or not."""
        tainted, search = set(changed), Search()
        for call in calls:
            if any(role != "before" and needed in tainted for needed, role in dependencies_of(call, search)):
                tainted.add(call)
                yield graph.key_of(call)

    def recorded_of_all(self, keys: Iterable[str]) -> list[str]:
        """Return the keys of all that is recorded of steps, each once: their own, and those below them.

        Each recorded key is looked at once, however many the steps are.
        """
        found = dict.fromkeys(keys)
        scopes = {scope_of(key) for key in found}
        for outer in dict.fromkeys(_outer_of(scope) for scope in scopes):
            found.update((key, None) for key in self._below.get(outer, ()) if _is_below(key, scopes))
        return [key for key in found if self._journal.known(key) is not None]

    def recorded_of(self, key: str) -> Sequence[str]:
        """Return the keys of all that is recorded of a step: its own, and those below it."""
        own = [key] if self._journal.known(key) is not None else []
        scope = scope_of(key)
        return own + self.recorded_below(f"{scope}[", f"{scope}~", f"{scope}/")

    def recorded_below(self, *beginnings: str) -> list[str]:
        """Return the keys of all recorded items and continuations whose keys begin with one of these."""
        return [each for each in self._below.get(_outer_of(beginnings[0]), ()) if each.startswith(beginnings)]

    def _items_of_a_call(self, call: Call, key: str) -> Iterator[tuple[Call, StepChange]]:
        """Yield the recorded items of a call that was a map."""
        if self.has_items(key):
            for _, record in self._recorded_items(key):
                yield call, StepChange(record.key, ChangeKind.GONE)

    def _items_by_code(self, graph: RecordedGraph, call: MapCall) -> Iterator[tuple[Call, StepChange]]:
        code = self._digests.code(call.definition.function)
        for _, record in self._recorded_items(graph.key_of(call)):
            if _differ(record.code, code):
                yield call, StepChange(record.key, ChangeKind.CODE)

    def _recorded_items(self, key: str) -> Iterator[tuple[int, StepRecord]]:
        """Yield the numbers and records of the items of a map that have a value or a plan."""
        start = len(scope_of(key))
        for each in self.recorded_of(key):
            found = _ITEM.search(each, start)
            if found is not None and found.start() == start and (record := self.kept(each)) is not None:
                yield int(found[1]), record

    def _compared(
        self,
        graph: RecordedGraph,
        call: Call,
        record: StepRecord,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Iterator[tuple[Call, StepChange]]:
        if _differ(record.code, self._digests.code(call.definition.function)):
            yield call, StepChange(record.key, ChangeKind.CODE)
        elif _differ(record.inputs, self._digests.inputs(graph, call, args, kwargs)):
            yield call, StepChange(record.key, ChangeKind.ARGUMENTS)


def _outer_of(key: str) -> str:
    """Return the declared key that a key of an item or a continuation begins with, or the key itself."""
    found = _DYNAMIC.search(key)
    return key if found is None else key[: found.start()]


def _is_below(key: str, scopes: Collection[str]) -> bool:
    """Return whether a key is that of an item or a continuation in one of these scopes, or of what is below them."""
    return any(key[: each.start()] in scopes for each in _PART.finditer(key))


def _is_declared(key: str) -> bool:
    """Return whether a key is not that of an item, a continuation, or what is declared below them."""
    return "[" not in key and "~" not in key


def _differ(before: bytes, now: bytes) -> bool:
    """Compare two digests; what has none never counts as changed."""
    return bool(before and now) and before != now
