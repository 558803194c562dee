"""Take from the journal what earlier attempts of a run recorded, as far as this one needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple, TypeVar

from cascade.interfaces import (
    ChangeKind,
    Clock,
    Journal,
    Plan,
    RecordedStatus,
    RunChangedError,
    StateUnavailable,
    StepChange,
    StepState,
    UnreadableResultError,
)
from cascade.interfaces.logs import get_logger
from cascade.runtime._graph.dependencies import dependencies_of
from cascade.runtime._graph.items import Recorded, RecordedValues, has_to_wait
from cascade.runtime._graph.keys import item_keys, scope_of
from cascade.runtime._graph.recorded import RecordedGraph
from cascade.runtime._recovery import returned_calls
from cascade.runtime._recovery.changed_steps import ChangeFinder
from cascade.runtime._recovery.hidden_failures import HiddenFailures
from cascade.runtime._recovery.step_digests import StepDigests
from cascade.runtime._support.loop_steps import LoopShare, finished, turn
from cascade.runtime._support.settings import OnChange
from cascade.spec import Call, LazyResult, MapCall, Search, call_of

_log = get_logger("cascade.state")

_AT_ONCE = 1_000
"""How many steps are looked at, and how many values are taken, before the loop may run other callbacks."""
_MANY = 1_000


Found = TypeVar("Found")

_Change = tuple[Call | None, StepChange]
"""A changed step, and the call that it belongs to; None for a step that is not declared any longer."""


class _Place(NamedTuple):
    """A recorded step, and where its value is wanted; small, because a resume holds many."""

    call: Call
    key: str
    state: StepState
    attempt: int
    item: int | None = None
    size: int = 0
    """How many items the map has."""


class _Problem(NamedTuple):
    """A recorded value that cannot be read."""

    change: tuple[Call, StepChange]
    error: Exception


class _Loaded:
    """What is recorded of calls that are to be built."""

    def __init__(self) -> None:
        self.calls: dict[Call, Recorded] = {}
        self.items: dict[Call, RecordedValues] = {}
        self.problems: list[_Problem] = []
        self.wanted: list[Call] = []
        """What has to be built because a step is called again."""


class Restorer:
    """Finds, for calls that are about to be built, which of them need not run.

    From the calls that are wanted it goes to what they need, and stops at each call whose value is
    recorded: only these values are loaded, and what is behind them is not built, unless a step may have failed there.
    Before that it compares every recorded step of the calls with what is declared now.

    :param home: module of the run's target.
    """

    def __init__(
        self,
        journal: Journal,
        run_id: str,
        digests: StepDigests,
        *,
        home: str,
        on_change: OnChange,
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._run_id = run_id
        self._digests = digests
        self._home = home
        self._on_change = on_change
        self._clock = clock
        known = sum(1 for _ in journal.known_keys())
        self._is_new, self._are_many = not known, known > _MANY
        self._finder = ChangeFinder(journal, digests)
        self._hidden = HiddenFailures(journal, self._finder)
        earlier = journal.earlier
        self._has_succeeded = earlier is not None and earlier.status is RecordedStatus.SUCCEEDED
        self._compared_outermost = False
        self._deciders: dict[
            str, bytes
            # what steps returned that have to say again which calls they return
        ] = {}

    async def restore(self, graph: RecordedGraph, lazies: Sequence[LazyResult[Any]]) -> None:
        """Give keys to calls, and recorded values to those that are to be built for them.

        :raises RunChangedError: if completed steps have changed, or their values cannot be read.
        """
        await finished(graph.declare(lazies), self._clock)
        new = graph.take_new()
        for call in new:
            # now: the source may be edited while the run goes on
            self._digests.code(call.definition.function)
        if self._is_new:
            return
        await self._compare(graph, new)
        if not self._has_succeeded:
            await self._beside(lambda: self._hidden.mark(graph, new))
        behind: dict[Call, list[Call]] = {}
        await self._restore(graph, lambda: self._for_calls(graph, lazies, behind))

    async def restore_items(
        self, graph: RecordedGraph, call: MapCall, columns: Mapping[str, Sequence[Any]]
    ) -> None:
        """Give recorded values to the items of a map, which are known now.

        :raises RunChangedError: as ``restore``.
        """
        if self._is_new:
            return
        if self._on_change != "keep":
            await self._check(graph, lambda: self._finder.changed_items(graph, call, columns))
        size = len(next(iter(columns.values()), ()))
        await self._restore(graph, lambda: self._for_items(graph, call, size))

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

        def compared() -> Iterator[_Change]:
            yield from self._finder.changed(graph, calls)
            if whole:
                yield from ((None, change) for change in self._finder.gone(map(graph.key_of, calls)))

        await self._check(graph, compared)

    async def _check(self, graph: RecordedGraph, compare: Callable[[], Iterator[_Change]]) -> None:
        """Handle the changes that a comparison finds.

        Many steps are compared beside the loop, which serves other runs, and other builds of this one: a comparison
        only looks up keys, and the outermost graph, whose comparison goes through all of them, is built first.
        """
        if changes := await self._beside(lambda: [*compare()]):
            await self._handle(graph, changes)

    async def _handle(
        self,
        graph: RecordedGraph,
        changes: Sequence[_Change],
        error: Exception | None = None,
    ) -> None:
        """Have the changed steps run again with all that take their values, or refuse to go on."""
        if self._on_change == "keep" and error is not None:
            raise error
        if self._on_change != "rerun":
            raise RunChangedError(self._run_id, [change for _, change in changes]) from error
        calls = [*graph.calls()]  # further ones may be declared meanwhile

        def affected() -> list[str]:
            changed = {call for call, _ in changes if call is not None}
            dependents = self._finder.dependents(graph, calls, changed)
            return self._finder.recorded_of_all([*(change.key for _, change in changes), *dependents])

        keys = await self._beside(affected)
        _log.warning("run %r: %d recorded steps run again, because of changes", self._run_id, len(keys))
        await self._journal.discard(keys)

    async def _beside(self, find: Callable[[], list[Found]]) -> list[Found]:
        """Return what is found: beside the loop if many steps are recorded."""
        return await asyncio.to_thread(find) if self._are_many else find()

    async def _restore(self, graph: RecordedGraph, load: Callable[[], Awaitable[_Loaded]]) -> None:
        """Give the graph what ``load`` returns, once all that can be read of it is as it is declared."""
        loaded = await load()
        while loaded.problems:
            changes = [problem.change for problem in loaded.problems]
            await self._handle(graph, changes, loaded.problems[0].error)
            loaded = await load()
        graph.restore(loaded.calls, loaded.items)

    async def _for_calls(
        self, graph: RecordedGraph, lazies: Sequence[LazyResult[Any]], behind: dict[Call, list[Call]]
    ) -> _Loaded:
        """Load what is recorded nearest to the calls that are wanted, and to those ``behind`` these, which are added."""
        loaded, seen = _Loaded(), set[Call]()
        wanted = [*map(call_of, lazies), *chain.from_iterable(behind.values())]
        while wanted:
            await self._load(graph, self._frontier(graph, wanted, seen), loaded)
            wanted, loaded.wanted = loaded.wanted, []
            if not wanted and graph.doubtful:
                found = await self._behind(graph, loaded, seen)
                behind |= found
                wanted = [*chain.from_iterable(found.values())]
        for call in behind.keys() & loaded.calls.keys():
            loaded.calls[call].after = behind[call]
        return loaded

    async def _behind(self, graph: RecordedGraph, loaded: _Loaded, seen: set[Call]) -> dict[Call, list[Call]]:
        """Return what is to be settled before recorded calls: steps behind it may have failed."""
        leaves = [call for call in loaded.calls if call in graph.doubtful]
        hidden = self._hidden
        return dict(await self._beside(lambda: [(each, hidden.behind(graph, each, seen)) for each in leaves]))

    async def _for_items(self, graph: RecordedGraph, call: MapCall, size: int) -> _Loaded:
        """Load what is recorded of the items of a map."""
        loaded = _Loaded()
        await self._load(graph, self._items(graph, call, size), loaded)
        return loaded

    async def _load(self, graph: RecordedGraph, parts: Iterator[list[_Place]], loaded: _Loaded) -> None:
        """Load values part by part; the loop runs other callbacks in between."""
        with LoopShare.taken() as share:
            began = self._clock.monotonic()
            for part in parts:
                if part:
                    values = await self._journal.load_all([place.key for place in part])
                    for place, value in zip(part, values, strict=True):
                        self._take(graph, place, value, loaded)
                began = await turn(began, share, self._clock)

    def _frontier(self, graph: RecordedGraph, wanted: list[Call], seen: set[Call]) -> Iterator[list[_Place]]:
        """Yield the recorded steps nearest to the calls that are wanted, in parts, some of which are empty."""
        search, stack = Search(), wanted[::-1]
        part, looked = list[_Place](), 0
        while stack:
            call = stack.pop()
            if call in seen or graph.find(call) is not None:
                continue
            seen.add(call)
            looked += 1
            if looked % _AT_ONCE == 0:
                yield part
                part = []
            record = self._finder.kept(graph.key_of(call)) if _is_step(call) else None
            if record is not None:
                part.append(_Place(call, record.key, record.state, record.attempt))
                continue
            if isinstance(call, MapCall) and call.kwargs and not has_to_wait(call):
                yield from self._items(graph, call, len(next(iter(call.kwargs.values()))))
            stack += reversed(_needed(call, search))
        yield part

    def _items(self, graph: RecordedGraph, call: MapCall, size: int) -> Iterator[list[_Place]]:
        """Yield the recorded items of a map in parts, some of which are empty."""
        keys = item_keys(graph.key_of(call), size)
        for start in range(0, size, _AT_ONCE):
            found = (
                (number, self._finder.kept(key)) for number, key in enumerate(islice(keys, _AT_ONCE), start)
            )
            yield [
                _Place(call, record.key, record.state, record.attempt, number, size)
                for number, record in found
                if record is not None
            ]

    def _take(self, graph: RecordedGraph, place: _Place, value: Any, loaded: _Loaded) -> None:
        """Note a value for the graph, or what has to be built because a step is called again."""
        recorded = self._recorded(graph, place, value, loaded.problems)
        if place.item is not None:
            if recorded is not None:
                items = loaded.items.get(place.call)
                if items is None:
                    items = loaded.items[place.call] = RecordedValues(place.size)
                items.put(place.item, recorded)
        elif recorded is not None:
            loaded.calls[place.call] = recorded
        else:
            loaded.wanted += _needed(place.call, Search())

    def _recorded(
        self, graph: RecordedGraph, place: _Place, value: Any, problems: list[_Problem]
    ) -> Recorded | None:
        """Return what a node takes; None for a step that has to be called again."""
        key, attempt = place.key, place.attempt
        # of a store that is not required: the step runs again
        if isinstance(value, StateUnavailable):
            return None
        if isinstance(value, UnreadableResultError) and place.state is StepState.COMPLETED:
            problems.append(_unreadable(place, value))
            return None
        if place.state is StepState.COMPLETED:
            return Recorded(value, attempt)
        if isinstance(value, Plan) and value.decider:
            self._deciders[key] = value.content
            return None
        try:
            if isinstance(value, UnreadableResultError):
                raise value
            lazy = returned_calls.decode(graph, value.content, home=self._home)
            return Recorded(lazy, attempt, value.content["turn"])
        except Exception as exc:
            # a task of the plan is gone, or a class of its arguments
            problems.append(_unreadable(place, exc))
            return None


def _unreadable(place: _Place, error: Exception) -> _Problem:
    return _Problem((place.call, StepChange(place.key, ChangeKind.UNREADABLE)), error)


def _is_step(call: Call) -> bool:
    """Return whether a call has a row of its own: a map's items have theirs."""
    return type(call) is Call and not call.definition.structural


def _needed(call: Call, search: Search) -> list[Call]:
    return [needed for needed, role in dependencies_of(call, search) if role != "route"]
