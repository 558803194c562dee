"""The graph of one run: built from calls, without recursion and without running anything."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from typing import Any

from cascade.interfaces import UsageError
from cascade.runtime._graph.alternatives import CallNumbers, Declared, chosen
from cascade.runtime._graph.builder import NODES_PER_STEP, GraphBuilder
from cascade.runtime._graph.dependencies import (
    DEPENDS_ON_ITSELF,
    alternatives_of,
    dependencies_of,
    inputs_of,
)
from cascade.runtime._graph.items import MapItems, columns_of, has_to_wait
from cascade.runtime._graph.linked import LinkedNodes
from cascade.runtime._graph.node import Columns, Kind, Node, Origin, Status
from cascade.spec import Call, Input, LazyResult, MapCall, RouteCall, Search, call_of

_CALL, _GATHER = Kind.CALL, Kind.GATHER
_OPENED, _WAITING = Status.OPENED, Status.WAITING  # asked for each node


class Graph(LinkedNodes):
    """The nodes of a run, or of the call that one task returned: one for each call that is reached.

    The graph of a returned call finds the nodes of the graphs around it, too.
    """

    def __init__(self, parent: Graph | None = None, *, target: Node | None = None, turn: int = 0) -> None:
        super().__init__(parent)
        self._parent = parent
        self.target = target
        """The node whose continuation this graph is; None for the graph of the run itself."""
        self.turn = turn
        """How many graphs have continued the target, this one included."""
        self._root: Graph = parent._root if parent is not None else self
        self._numbers = CallNumbers()
        self.names = self._numbers.counts
        """How many calls of each name are numbered."""
        self._complete = False
        """Whether the first build is done: later ones expand maps and routes."""
        self._expanded = False
        """Of the root graph: whether an expansion has added a call that other graphs may find, too."""
        self.values: dict[Input, Any] = parent.values if parent is not None else {}
        """Values from outside, known before anything runs."""
        self.dynamic = False
        """Whether there are inputs or routes: parts that a plain walk over the nodes does not show."""

    def build(
        self, lazies: Iterable[LazyResult[Any]], check: Callable[[Node], None] = lambda node: None
    ) -> Generator[list[Node], None, None]:
        """Add nodes for ``lazies`` and all that they reach, dependencies first.

        Yields the new nodes in lists, some of them empty, so that the caller can do something else
        in between; but nothing else may be built in the same run until the last one, or until the
        generator is closed. ``check`` is called with each node; what it raises ends the build.

        :raises UsageError: if a container was changed so that a task waits for itself.
        """
        if self._root._expanded and not self._complete:
            self._declare(list(map(call_of, lazies)))
        yield from self._builder(lazies, check).steps()
        self._complete = True

    def columns(self, node: Node) -> Generator[None, None, tuple[Columns, Iterator[LazyResult[Any]] | None]]:
        """Return the arguments of a map's items, and the lazy results in them if there are any; yield between steps.

        :raises TaskCallError: if a value turned out not to be iterable.
        :raises MapLengthError: if the iterables differ in length.
        """
        call = node.call
        assert isinstance(call, MapCall)
        return (yield from columns_of(call, self._value, self._is_plain))

    def begin_items(self, node: Node, columns: Columns) -> None:
        """Turn a map into the gathering of its items, none of which takes a lazy result of its own."""
        items = self._new_items(node, columns)
        taken, items.nested = inputs_of(items.call, Search())
        shared = self.nodes((*taken, *items.call.predecessors))
        for needed in shared:  # so that their values outlive the release below
            needed.readers += 1
        self.release(node)
        node.inputs, node.width = tuple(shared), len(taken)
        self._share(items)

    def build_items(
        self,
        node: Node,
        columns: Columns,
        lazies: Iterator[LazyResult[Any]],
        check: Callable[[Node], None],
    ) -> Generator[list[Node], None, None]:
        """Do what ``begin_items`` does for items that take lazy results, and add nodes for them and all that they need.

        Yields as ``build`` does.
        """
        items = self._new_items(node, columns)
        items.has_lazies = True
        yield from self._builder(lazies, check, behind=self._linked_items(items, Search())).steps()
        self.release(node)

    def route(self, node: Node) -> LazyResult[Any]:
        """Return the route that the selector's value chooses, or the call to be made instead of this one.

        :raises RouteError: if there is none for it.
        """
        condition = node.call.condition
        if node.kind is Kind.OTHERWISE and condition is not None:
            instead: LazyResult[Any] = condition.otherwise
            return instead
        assert isinstance(node.call, RouteCall)
        return chosen(node.call, node.inputs[node.width - 1].value)

    def continue_at(self, node: Node, turn: int) -> Graph:
        """Return an empty graph for the calls that ``node``'s call, and those that replaced it, returned last."""
        return type(self)(self, target=node, turn=turn)

    def continuation(self, node: Node) -> tuple[Graph, Node]:
        """Return where to build what ``node``'s call returned, and the node that takes its value.

        A call that was itself returned makes a tail call: its graph is replaced. So a loop that
        returns its next step needs neither more depth nor more memory in each turn.
        """
        target = _replaceable_target(node)
        if target is None:
            return self.continue_at(node, 1), node
        node.status = Status.DONE
        self.release(node)
        self.clear()
        target.expansion = None
        return type(self)(self._parent, target=target, turn=self.turn + 1), target

    def forward(self, node: Node, lazy: LazyResult[Any]) -> Node:
        """Have ``node`` take the value of another call, which has been built in this graph.

        Return the node that takes it: for a route that was itself returned, its continuation target.

        :raises UsageError: if the other call waits for this one, or its value has been released.
        """
        found = self.node(lazy)
        if found.status is Status.DONE:
            self._check_kept(found)
        # most graphs never expand
        from cascade.runtime._graph.cycles import waits_for

        if waits_for(found, node):
            raise UsageError(
                f"{node.key!r} returned a call that depends on {node.key!r} itself; return a call that does not need this task's value"
            )
        found.readers += 1  # so that its value outlives the releases below
        taker = self._tail_call(node)
        self.release(taker)
        taker.kind = Kind.FORWARD
        taker.unmet = 0  # the call that this one replaced will never be done
        self._link(taker, (lazy,), 1)
        found.readers -= 1
        if taker.scope is not self:
            taker.expansion = self
            if found.scope is self:
                found.continuation_target = taker
        return taker

    def _open(self, call: Call, search: Search) -> tuple[Node, list[Call]]:
        """Make the node of ``call``; return it, and what has to be built before it."""
        node = Node(call, self)
        self._enter(call, node)
        if type(call) is Call:
            taken, node.nested = inputs_of(call, search)
        else:
            taken = self._taken(node, search)
        settings = call.settings
        condition = settings.condition
        if condition is not None:
            taken = (condition.lazy, *taken)
            if isinstance(condition.otherwise, LazyResult) and not node.keeps_alternatives:
                self._keep_alternatives(node)
        gathers = node.kind is _GATHER
        found = (*taken, *settings.predecessors) if settings.predecessors else taken
        missing: list[Call] = []
        if not found and not gathers:
            return node, missing
        node.inputs = found  # until _close() knows their nodes
        node.width = len(taken)
        for lazy in reversed(found):
            needed = call_of(lazy)
            known = self.find(needed)
            if known is None:
                missing.append(needed)
            elif known.status is _OPENED:
                raise UsageError(f"{lazy!r} {DEPENDS_ON_ITSELF}")
        # before the items, so that numbers do not depend on how many there are
        if gathers:
            dependencies = dependencies_of(call, search)
            if node.items is not None:
                missing += [needed for needed, _ in reversed(dependencies) if not self.find(needed)]
            else:  # without items they are declared, but not needed
                self._declare([needed for needed, role in dependencies if role != "before"])
        return node, missing

    def _close(self, node: Node, search: Search) -> Iterator[Node] | None:
        """Link a node to what it needs, all of which has been built.

        Return what makes the nodes of a map's items, if these take lazy results of their own.
        """
        node.status = _WAITING
        found: Any = node.inputs
        if found:
            self._link(node, found, node.width)
            if node.kind is _CALL and not node.nested:
                self._take_nodes(node)
        if self._numbers.ahead is not None:
            self._take_number(node, self._numbers.ahead)
        else:
            name, counts = node.definition.name, self.names
            node.number = number = counts.get(name, 0)
            counts[name] = number + 1
        items = node.items
        if not isinstance(items, MapItems):
            return None
        if items.has_lazies:
            return self._linked_items(items, search)
        self._share(items)
        return None

    def _share(self, items: MapItems) -> None:
        """Give items the inputs and arguments that all of them have in common: those that their map waits for."""
        node, find = items.node, self.node
        kwargs = items.call.kwargs
        if not items.nested:
            kwargs = {k: find(a) if isinstance(a, LazyResult) else a for k, a in kwargs.items()}
        items.width = node.width
        items.share(node.inputs, kwargs)

    def _linked_items(self, items: MapItems, search: Search) -> Iterator[Node]:
        """Make the nodes of items that take lazy results, all of which have been built."""
        node, call = items.node, items.call
        for number, kwargs in items.rows():
            item = items.new_node(number, kwargs)
            taken, item.nested = inputs_of(Call(call.settings, (), kwargs), search)
            self._link(item, (*taken, *call.predecessors), len(taken))
            if not item.nested:
                self._take_nodes(item)
            node.unmet += 1
            yield item

    def _new_items(self, node: Node, columns: Columns) -> MapItems:
        assert isinstance(node.call, MapCall)
        node.kind = Kind.GATHER
        node.items = items = MapItems(node, node.call, columns)
        return items

    def _builder(
        self,
        lazies: Iterable[LazyResult[Any]],
        check: Callable[[Node], None],
        *,
        behind: Iterator[Node] | None = None,
    ) -> GraphBuilder:
        return GraphBuilder(
            lazies,
            behind=behind,
            find=self.find,
            open_node=self._open,
            close_node=self._close,
            remove=self._remove,
            check=check,
        )

    def _remove(self, unfinished: Iterator[Node], linked: list[Node]) -> Iterator[None]:
        """Forget nodes that were not admitted to the run, in steps: it is as if they had not been built.

        The list is emptied, so that its nodes are freed in steps, too.
        """
        for start in range(0, len(linked), NODES_PER_STEP):
            for node in linked[start : start + NODES_PER_STEP]:
                node.status = Status.REMOVED
            yield
        others: set[Node] = set()
        while linked:
            others.update(self._unlinked(linked[-NODES_PER_STEP:]))
            del linked[-NODES_PER_STEP:]
            yield
        for needed in others:
            kept = [each for each in needed.all_dependents if each.status is not Status.REMOVED]
            needed.dependents = kept or None
        while some := [*islice(unfinished, NODES_PER_STEP)]:
            for node in some:
                if node.keeps_alternatives:
                    self._release_alternatives(node)
                self._lookup.forget(node.call)
            yield

    def _unlinked(self, nodes: list[Node]) -> Iterator[Node]:
        """Release and forget nodes; yield what they had waited for and what stays."""
        for node in nodes:
            yield from [needed for needed in node.inputs if needed.status is not Status.REMOVED]
            self.release(node)
            node.dependents = None
            self._lookup.forget(node.call)

    def _take_number(self, node: Node, declared: dict[Call, Declared]) -> None:
        """Give a node its number in a graph whose calls may have theirs before they are built."""
        call = node.call
        if node.keeps_alternatives:
            self._declare(alternatives_of(call), call)
        place = declared.get(call)
        if place is None:
            node.number = self._numbers.take(node.definition.name)
            return
        node.number, origin = place
        if self._complete and origin is not None:
            node.origin = Origin(self.find(origin) or self._unbuilt(origin, declared[origin][0]))
            self._root._expanded = True

    def _unbuilt(self, route: Call, number: int) -> Node:
        """Return a node that only names a route: the first one that declares a call, where another one was taken."""
        node = Node(route, self)
        node.number = number
        return node

    def _declare(self, calls: list[Call], chooser: Call | None = None) -> None:
        """Give numbers to calls, and all that they reach, before they are built; ``chooser`` may choose them.

        A graph that other graphs may have expanded numbers all its calls so: which of them it
        finds there, as a route's or not yet, depends on the order of events.
        """
        for _ in self._numbers.declare(calls, self._is_numbered, chooser):
            pass

    def _is_numbered(self, call: Call) -> bool:
        node = self.find(call)
        return call in (self._numbers.ahead or ()) or (node is not None and node.origin is None)

    def _taken(self, node: Node, search: Search) -> tuple[LazyResult[Any], ...]:
        """Return the inputs whose values a new node that calls no task takes, and see what kind of node it is."""
        call = node.call
        if isinstance(call, MapCall):
            return self._map_inputs(node, call, search)
        if isinstance(call, RouteCall):
            node.kind = Kind.ROUTE
            self._keep_alternatives(node)
            return call.args
        self._root.dynamic = True
        node.kind = Kind.INPUT
        return ()

    def _tail_call(self, node: Node) -> Node:
        """Settle a route whose value only its continuation target would read; return the node that takes the value."""
        target = _replaceable_target(node)
        if target is None:
            return node
        node.status = Status.DONE
        self.release(node)
        target.expansion = None  # it was this graph, which goes on
        return target

    def _map_inputs(self, node: Node, call: MapCall, search: Search) -> tuple[LazyResult[Any], ...]:
        if has_to_wait(call):
            node.kind = Kind.MAP
            given = (*(call.policies.demands or {}).values(), *call.kwargs.values(), *call.fixed.values())
            return tuple([lazy for argument in given for lazy in search.inside(argument)])
        node.kind = Kind.GATHER
        if not any(call.kwargs.values()):
            return ()
        items = self._new_items(node, call.kwargs)
        items.has_lazies = any(search.inside(column) for column in call.kwargs.values())
        taken, items.nested = inputs_of(items.call, search)
        return () if items.has_lazies else taken

    def _keep_alternatives(self, node: Node) -> None:
        """Keep what the alternatives of a node may need, until one of them is chosen."""
        node.keeps_alternatives = True
        self._root.dynamic = True
        self._numbers.begin_ahead()
        self._route_counts.add(node.call)


def _replaceable_target(node: Node) -> Node | None:
    """Return the node that takes a node's value, if no other node reads it and no failure may give it another value."""
    replaceable = node.readers == 1 and node.call.settings.policies.fallback is None
    return node.continuation_target if replaceable else None
