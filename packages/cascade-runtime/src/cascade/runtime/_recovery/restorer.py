"""Take from the journal what earlier attempts of a run recorded, as far as this one needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from cascade.interfaces import (
    ChangeKind,
    Journal,
    Plan,
    RunChangedError,
    StateUnavailable,
    StepChange,
    StepState,
)
from cascade.interfaces.logs import get_logger
from cascade.runtime._graph.dependencies import dependencies_of
from cascade.runtime._graph.keys import item_key, scope_of
from cascade.runtime._graph.mapping import has_to_wait
from cascade.runtime._graph.recorded import Recorded, RecordedGraph
from cascade.runtime._recovery import plans
from cascade.runtime._recovery.changes import ChangeFinder
from cascade.runtime._recovery.digests import StepDigests
from cascade.runtime._support.resume_rules import OnChange
from cascade.spec import Call, LazyResult, MapCall, Search, call_of

_log = get_logger("cascade.state")

_LOADED_AT_ONCE = 2_000
_MANY = 1_000


class _Place(NamedTuple):
    """A recorded step, and where its value is wanted; small, because a resume holds many."""

    call: Call
    key: str
    state: StepState
    attempt: int
    item: int | None = None


class _Problem(NamedTuple):
    """A recorded value that cannot be read."""

    change: tuple[Call, StepChange]
    error: Exception


class Restorer:
    """Finds, for calls that are about to be built, which of them need not run.

    From the calls that are wanted it goes to what they need, and stops at each call whose value is
    recorded: only these values are loaded, and what is behind them is not built. Before that it
    compares every recorded step of the calls with what is declared now.

    :param home: module of the run's target.
    """

    def __init__(
        self, journal: Journal, run_id: str, digests: StepDigests, *, home: str, on_change: OnChange
    ) -> None:
        self._journal = journal
        self._run_id = run_id
        self._digests = digests
        self._home = home
        self._on_change = on_change
        known = sum(1 for _ in journal.known_keys())
        self._is_new, self._are_many = not known, known > _MANY
        self._finder = ChangeFinder(journal, digests)
        self._compared_outermost = False
        self._deciders: dict[
            str, bytes
        ] = {}  # what steps returned that have to say again which calls they return

    async def restore(self, graph: RecordedGraph, lazies: Sequence[LazyResult[Any]]) -> None:
        """Give keys to calls, and recorded values to those that are to be built for them.

        :raises RunChangedError: if completed steps have changed, or their values cannot be read.
        """
        graph.declare(lazies)
        new = graph.take_new()
        for call in new:  # now: the source may be edited while the run goes on
            self._digests.code(call)
        if self._is_new:
            return
        await self._compare(graph, new)
        while True:
            graph.forget_restored()
            wanted, seen, problems = [call_of(lazy) for lazy in lazies], set[Call](), list[_Problem]()
            while wanted:
                places = list(self._frontier(graph, wanted, seen))
                wanted = await self._take(graph, places, problems)
            if not problems:
                return
            await self._handle(graph, [each.change for each in problems], problems[0].error)

    async def restore_items(
        self, graph: RecordedGraph, call: MapCall, columns: Mapping[str, Sequence[Any]]
    ) -> None:
        """Give recorded values to the items of a map, which are known now.

        :raises RunChangedError: as ``restore``.
        """
        if self._is_new:
            return
        if self._on_change != "keep":
            changes = list(self._finder.changed_items(graph, call, columns))
            if changes:
                await self._handle(graph, changes)
        while True:
            problems: list[_Problem] = []
            places = list(self._items(graph, call, len(next(iter(columns.values()), ()))))
            await self._take(graph, places, problems)
            if not problems:
                return
            await self._handle(graph, [each.change for each in problems], problems[0].error)

    async def check_returned(
        self, key: str, target: str, graph: RecordedGraph, lazy: LazyResult[Any]
    ) -> None:
        """Compare what a step returned with what it had returned before, if it was called again to say so.

        :raises RunChangedError: if that is not the same.
        """
        before = self._deciders.get(key)
        if before is None or self._on_change == "keep" or before == self._digests.returned(graph, lazy):
            return
        await self._handle(graph, [(None, StepChange(key, ChangeKind.PLAN))])
        await self._journal.discard(self._finder.recorded_below(f"{scope_of(target)}~{graph.turn}/"))

    async def _compare(self, graph: RecordedGraph, calls: Sequence[Call]) -> None:
        if self._on_change == "keep":
            return
        whole, self._compared_outermost = not self._compared_outermost, True

        def compared() -> list[tuple[Call | None, StepChange]]:
            gone = self._finder.gone(map(graph.key_of, calls)) if whole else ()
            return [*self._finder.changed(graph, calls), *((None, change) for change in gone)]

        # Nothing is changed meanwhile: many steps are compared beside the loop, which serves other runs.
        changes = await asyncio.to_thread(compared) if self._are_many else compared()
        if changes:
            await self._handle(graph, changes)

    async def _handle(
        self,
        graph: RecordedGraph,
        changes: Sequence[tuple[Call | None, StepChange]],
        error: Exception | None = None,
    ) -> None:
        """Have the changed steps run again with all that take their values, or refuse to go on."""
        if self._on_change == "keep" and error is not None:
            raise error
        if self._on_change != "rerun":
            raise RunChangedError(self._run_id, [change for _, change in changes]) from error
        changed = [call for call, _ in changes if call is not None]
        keys = [key for _, change in changes for key in self._finder.recorded_of(change.key)]
        keys += self._finder.dependents(graph, graph.calls(), changed)
        _log.warning("run %r: %d recorded steps run again, because of changes", self._run_id, len(set(keys)))
        await self._journal.discard(dict.fromkeys(keys))

    def _frontier(self, graph: RecordedGraph, wanted: list[Call], seen: set[Call]) -> Iterable[_Place]:
        """Yield the recorded steps nearest to the calls that are wanted; empty the list."""
        search = Search()
        wanted.reverse()
        while wanted:
            call = wanted.pop()
            if call in seen or graph.find(call) is not None:
                continue
            seen.add(call)
            record = self._finder.kept(graph.key_of(call)) if _is_step(call) else None
            if record is not None:
                yield _Place(call, record.key, record.state, record.attempt)
                continue
            if isinstance(call, MapCall) and call.kwargs and not has_to_wait(call):
                yield from self._items(graph, call, len(next(iter(call.kwargs.values()))))
            wanted += reversed(_needed(call, search))

    def _items(self, graph: RecordedGraph, call: MapCall, size: int) -> Iterable[_Place]:
        key = graph.key_of(call)
        for number in range(size):
            record = self._finder.kept(item_key(key, number))
            if record is not None:
                yield _Place(call, record.key, record.state, record.attempt, number)

    async def _take(self, graph: RecordedGraph, places: list[_Place], problems: list[_Problem]) -> list[Call]:
        """Load values and give them to the graph; return what has to be built because a step is called again."""
        wanted: list[Call] = []
        items: dict[Call, dict[int, Recorded]] = {}
        for start in range(0, len(places), _LOADED_AT_ONCE):
            some = places[start : start + _LOADED_AT_ONCE]
            values = await self._journal.load_all([place.key for place in some])
            for place, value in zip(some, values, strict=True):
                recorded = self._recorded(graph, place, value, problems)
                if recorded is None:
                    wanted += _needed(place.call, Search()) if place.item is None else []
                elif place.item is None:
                    graph.restore(place.call, recorded)
                else:
                    items.setdefault(place.call, {})[place.item] = recorded
        for call, found in items.items():
            graph.restore_items(call, found)
        return wanted

    def _recorded(
        self, graph: RecordedGraph, place: _Place, value: Any, problems: list[_Problem]
    ) -> Recorded | None:
        """Return what a node takes; None for a step that has to be called again."""
        key, attempt = place.key, place.attempt
        if isinstance(value, StateUnavailable):  # of a store that is not required: the step runs again
            return None
        if isinstance(value, Exception) and place.state is StepState.COMPLETED:
            problems.append(_unreadable(place, value))
            return None
        if place.state is StepState.COMPLETED:
            return Recorded(value, attempt)
        if isinstance(value, Plan) and value.decider:
            self._deciders[key] = value.content
            return None
        try:
            if isinstance(value, BaseException):
                raise value
            lazy = plans.decode(graph, value.content, home=self._home)
            return Recorded(lazy, attempt, value.content["turn"])
        except Exception as exc:  # a task of the plan is gone, or a class of its arguments
            problems.append(_unreadable(place, exc))
            return None


def _unreadable(place: _Place, error: Exception) -> _Problem:
    return _Problem((place.call, StepChange(place.key, ChangeKind.UNREADABLE)), error)


def _is_step(call: Call) -> bool:
    """Return whether a call has a row of its own: a map's items have theirs."""
    return type(call) is Call and not call.definition.structural


def _needed(call: Call, search: Search) -> list[Call]:
    return [needed for needed, role in dependencies_of(call, search) if role != "route"]
