"""The items of one map: their arguments, then an index each until they start, then a node. No I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from operator import length_hint
from typing import Any, Protocol

from cascade.runtime._graph.node import Columns, Kind, Node, Origin, Status
from cascade.spec import (
    MOST_UNCOUNTED,
    Call,
    LazyResult,
    MapCall,
    Search,
    TaskDefinition,
    call_of,
    check_lengths,
    column_of,
    too_many,
)


class ArgumentDigests(Protocol):
    """Computes the digests of the arguments of a map's items."""

    def of(self, number: int) -> bytes:
        """Return the digest of one item's arguments."""
        ...


class Recorded:
    """What an earlier attempt of the run recorded of one step: the value of a node of this kind until it expands."""

    __slots__ = ("after", "attempt", "turn", "value")

    def __init__(self, value: Any, attempt: int, turn: int = 0) -> None:
        self.value = value
        self.attempt = attempt
        self.turn = turn
        """Of a step that returned calls, which ``value`` holds: how many graphs have continued it; 0 for any other."""
        self.after: Sequence[Call] = ()
        """Calls behind the step that have to be settled before it, because a step behind them may have failed."""


class RecordedValues:
    """What earlier attempts recorded of the items of one map, in little memory."""

    __slots__ = ("_attempts", "_turns", "_values")

    def __init__(self, size: int) -> None:
        self._values: list[Any] = [None] * size
        self._attempts = [0] * size
        self._turns: dict[int, int] = {}

    def put(self, number: int, recorded: Recorded) -> None:
        """Note what is recorded of an item."""
        self._values[number], self._attempts[number] = recorded.value, recorded.attempt
        if recorded.turn:
            self._turns[number] = recorded.turn

    def take(self, number: int) -> Recorded | None:
        """Return and forget what is recorded of an item; None if nothing is."""
        attempt = self._attempts[number]
        if not attempt:
            return None
        value, self._values[number], self._attempts[number] = self._values[number], None, 0
        return Recorded(value, attempt, self._turns.get(number, 0))


class MapItems(Origin):
    """The items of a map whose arguments are known, and the values of those that are done.

    An item gets its node when it may start, and the map forgets the node when the item is settled.
    Only items that take lazy results of their own have their nodes from the beginning.
    """

    __slots__ = (
        "_inputs",
        "_kwargs",
        "_rows",
        "_unsettled",
        "_values",
        "_why",
        "call",
        "columns",
        "digests",
        "has_lazies",
        "input_failed",
        "is_queued",
        "limit",
        "nested",
        "recorded",
        "running",
        "size",
        "started",
        "waiting",
        "width",
    )

    is_map = True

    def __init__(self, node: Node, call: MapCall, columns: Columns) -> None:
        super().__init__(node)
        self.call = Call(replace(call.settings, condition=None), (), call.fixed)
        """What all items have in common."""
        self.columns = columns
        """The arguments of the items, by parameter."""
        self.size = len(next(iter(columns.values()))) if columns else 0
        self.started = 0
        """How many items have got a node: the first ones."""
        self.has_lazies = False
        """Whether items take lazy results of their own, and so may have to wait for them."""
        self.limit = call.limit
        """How many items run at the same time at most."""
        self.running = 0
        """Items that are ready, run or are being expanded."""
        self.waiting: deque[Node] = deque()
        """Items that are ready except for the limit, and have a node already."""
        self.is_queued = False
        """Whether the map stands in a queue so that its items get their nodes."""
        self.nested = False
        """Whether lazy results stand inside containers of the arguments that all items have in common."""
        self.input_failed = False
        """Whether an input that all items have in common was skipped or failed."""
        self.width = 0
        """How many of the inputs that all items have in common they take the values of."""
        self.recorded: RecordedValues | None = None
        """What earlier attempts of the run recorded of the items."""
        self.digests: ArgumentDigests | None = None
        """What computes the digests of the items' arguments, once a recording has asked for one."""
        self._inputs: tuple[Node, ...] = ()
        self._kwargs: Mapping[str, Any] = {}
        self._rows: Iterator[tuple[Any, ...]] = zip(*columns.values(), strict=True)
        self._values: list[list[Any] | tuple[Any, ...]] = []
        """Values of the items by index, in parts: as tuples, parts with plain values cost a garbage collection nothing."""
        self._unsettled: list[int] = []
        """How many items of each part are not settled."""
        self._why: tuple[bool, int, str] | None = None

    @property
    def unstarted(self) -> int:
        """How many items have no node yet."""
        return self.size - self.started

    @property
    def are_many(self) -> bool:
        """Whether collecting the values takes more than one step."""
        return len(self._values) > _PARTS_PER_STEP

    @property
    def has_room(self) -> bool:
        """Whether the limit permits one more item to run."""
        return self.limit is None or self.running < self.limit

    @property
    def over_limit(self) -> int:
        """How many items could start if the limit permitted it."""
        return len(self.waiting) + (0 if self.is_queued else self.unstarted)

    def arguments_of(self, number: int) -> dict[str, Any]:
        """Return the arguments of an item as they were declared."""
        return {**self.call.kwargs, **{name: column[number] for name, column in self.columns.items()}}

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the numbers and arguments of the items that have no node yet; each has one from then on."""
        names, fixed = tuple(self.columns), self._kwargs or self.call.kwargs
        for row in self._rows:
            number = self.started
            if not number % _PART:
                self._begin_part(min(_PART, self.size - number))
            self.started += 1
            yield number, {**fixed, **dict(zip(names, row, strict=True))}

    def share(self, inputs: tuple[Node, ...], kwargs: Mapping[str, Any]) -> None:
        """Take the inputs and arguments that all items have in common, with nodes in the places of lazy results."""
        self._inputs = inputs
        self._kwargs = kwargs

    def take(self, most: int) -> list[Node]:
        """Make the nodes of the next items that may start, in order."""
        if self.limit is not None:
            most = min(most, self.limit - self.running)
        made = [self._ready_node(number, kwargs) for number, kwargs in islice(self.rows(), most)]
        self.running += len(made)
        for needed in self._inputs:
            needed.readers += len(made)
        return made

    def new_node(self, number: int, kwargs: dict[str, Any]) -> Node:
        """Make the node of an item."""
        item = Node(self.call, self.node.scope)
        item.status = _WAITING
        item.origin = self
        item.number = number
        item.kwargs = kwargs
        item.dependents = self.node
        item.readers = 1
        if self.recorded is not None and (recorded := self.recorded.take(number)) is not None:
            item.kind, item.value = Kind.RECORDED, recorded
        return item

    def settle(self, item: Node) -> None:
        """Take the value of an item that is settled, or note why there is none."""
        self.running -= 1
        part, place = divmod(item.number, _PART)
        if item.status is _DONE:
            values: Any = self._values[part]
            values[place] = item.value
        else:
            self._note_missing(item)
        self._unsettled[part] -= 1
        if not self._unsettled[part]:
            self._values[part] = tuple(self._values[part])

    def collect(self) -> Generator[None, None, list[Any]]:
        """Return the values of the items, all of which are done, and forget them; yield between steps."""
        collected: list[Any] = []
        parts = self._values[::-1]
        self._values.clear()
        while parts:
            for _ in range(min(len(parts), _PARTS_PER_STEP)):
                collected += parts.pop()
            if parts:
                yield
        return collected

    def _note_missing(self, item: Node) -> None:
        failed = item.status is Status.FAILED
        why = f"{item.key} {'failed' if failed else 'was skipped'}"
        found = (not (failed or item.skipped_by_failure), item.number, why)
        self._why = found if self._why is None else min(self._why, found)

    def why_skipped(self) -> tuple[str, bool] | None:
        """Return why the map has no value, and whether a failure is the reason; None if it has one.

        The first item with a failure behind it counts, whatever the order of events, or else the first skipped one.
        """
        return (self._why[2], not self._why[0]) if self._why is not None else None

    def _begin_part(self, size: int) -> None:
        self._values.append([None] * size)
        self._unsettled.append(size)

    def _ready_node(self, number: int, kwargs: dict[str, Any]) -> Node:
        item = self.new_node(number, kwargs)
        item.inputs = self._inputs
        item.width = self.width
        item.nested = self.nested
        item.input_failed = self.input_failed
        item.unmet = 0
        return item


def has_to_wait(call: MapCall) -> bool:
    """Return whether the items, or whether there are any, are known only during the run."""
    return call.condition is not None or any(isinstance(items, LazyResult) for items in call.kwargs.values())


def columns_of(
    call: MapCall, value_of: Callable[[LazyResult[Any]], Any], is_plain: Callable[[LazyResult[Any]], bool]
) -> Generator[None, None, tuple[Columns, Iterator[LazyResult[Any]] | None]]:
    """Return the items for each parameter, now that the values of lazy ones are there; yield between steps.

    With them come the lazy results among the items, in their order, or None if there are none.
    ``is_plain`` returns whether the value of a lazy one is known to hold none.

    :raises TaskCallError: if one turned out not to be iterable, or may be endless.
    :raises MapLengthError: if the columns differ in length.
    """
    columns: dict[str, tuple[Any, ...]] = {}
    search, found = Search(), False
    for name, items in call.kwargs.items():
        if isinstance(items, LazyResult):
            given_by = call_of(items).definition.name
            value = yield from _read(value_of(items), call.definition, name)
            columns[name] = column_of(call.definition, name, value, given_by=given_by)
            yield
            if is_plain(items):
                continue
        else:
            columns[name] = items
        yield from search.look_ahead(columns[name])
        found |= bool(search.inside(columns[name]))
    check_lengths(call.definition.name, {name: len(items) for name, items in columns.items()})
    return columns, _lazies_in(columns, search) if found else None


def _read(value: Any, definition: TaskDefinition, name: str) -> Generator[None, None, Any]:
    """Return a value; the items of an iterable that can be read only once, or slowly, in a list.

    :raises TaskCallError: if it has no length and too many items.
    """
    if not isinstance(value, Iterable) or isinstance(value, str | bytes | Mapping | list | tuple):
        return value
    found: list[Any] = []
    rest = iter(value)
    uncounted = length_hint(value, -1) < 0
    while some := list(islice(rest, _COPIED_PER_STEP)):
        found += some
        if uncounted and len(found) > MOST_UNCOUNTED:
            raise too_many(definition, name, value)
        yield
    return found


def _lazies_in(columns: Columns, search: Search) -> Iterator[LazyResult[Any]]:
    for row in zip(*columns.values(), strict=True):
        for value in row:
            yield from search.inside(value)


_WAITING, _DONE = Status.WAITING, Status.DONE  # asked for each item
_PART = 512
"""How many values stand in one tuple."""
_PARTS_PER_STEP = 128
"""How many tuples of values are copied before the caller may do other work."""
_COPIED_PER_STEP = 4096
"""How many items of an iterable are taken before the caller may do other work."""
