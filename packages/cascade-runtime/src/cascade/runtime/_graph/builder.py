"""The build of a graph: calls and all that they reach, added in steps, nothing left half-built. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import islice
from typing import Any

from cascade.runtime._graph.node import Node, Status
from cascade.spec import Call, LazyResult, MapCall, Search, call_of

NODES_PER_STEP = 128
"""How many nodes one step opens or finishes at most; the caller may do other work between steps."""

VISITS_PER_STEP = 20_000
"""After how many items of their arguments there is such a chance too."""


class GraphBuilder:
    """Adds ``lazies`` and all that they reach, dependencies first; takes ``lazies`` step by step.

    None of the new nodes may be admitted to the run before all of them are there. A build that
    fails, or is closed early, removes them: a later build that needs one builds it anew, instead
    of waiting for a node that never starts.

    :param behind: makes further nodes, once all that ``lazies`` reach are there.
    :param find: returns the node of a call, if it has one.
    :param open_node: makes the node of a call; returns it, and the calls to build before it.
    :param close_node: finishes a node, whose dependencies are all finished; returns what makes
        further nodes behind it, or None.
    :param remove: forgets nodes, the unfinished ones and the others, in steps; it empties the list of the others.
    :param check: called with each node that is finished; what it raises ends the build.
    """

    def __init__(
        self,
        lazies: Iterable[LazyResult[Any]],
        *,
        behind: Iterator[Node] | None,
        find: Callable[[Call], Node | None],
        open_node: Callable[[Call, Search], tuple[Node, list[Call]]],
        close_node: Callable[[Node, Search], Iterator[Node] | None],
        remove: Callable[[Iterator[Node], list[Node]], Iterator[None]],
        check: Callable[[Node], None],
    ) -> None:
        self._find = find
        self._open = open_node
        self._close = close_node
        self._remove = remove
        self._check = check
        self._lazies = iter(lazies)
        self._behind = behind
        # of a map that has just been finished
        self._items: Iterator[Node] | None = None
        self._seen: Call | None = None  # a map whose arguments were looked into
        self._stack: list[Call] = []
        self._search = Search()
        self._built: list[Node] = []

    def steps(self) -> Generator[list[Node], None, None]:
        """Yield the nodes that each step has finished."""
        built = self._built
        try:
            while self._stack or self._refill():
                yield from self._look_ahead()
                before = len(built)
                self._take_step()
                if self._items is None:
                    yield built[before:]
                else:
                    # items are admitted before their map, which waits for them
                    mapped = built[-1]
                    yield built[before:-1]
                    yield from self._further_nodes()
                    yield [mapped]
            self._items = self._behind
            yield from self._further_nodes()
        except GeneratorExit:
            for _ in self._undo():
                ...
            raise
        except BaseException:
            yield from self._undo()
            raise

    def _look_ahead(self) -> Generator[list[Node], None, None]:
        """Look into the arguments of the map that comes next, which may be many."""
        call = self._stack[-1]
        if type(call) is MapCall and call is not self._seen:
            self._seen = call
            for column in call.kwargs.values():
                for _ in self._search.look_ahead(column):
                    yield []

    def _further_nodes(self) -> Generator[list[Node], None, None]:
        """Make the nodes of a map's items."""
        items, self._items = self._items, None
        built = self._built
        while items is not None:
            before = len(built)
            # keeps those before one that raises
            built.extend(islice(items, NODES_PER_STEP))
            yield built[before:]
            if len(built) == before:
                return

    def _refill(self) -> bool:
        """Take some more of what is to be added; return whether there was any."""
        self._stack += [call_of(lazy) for lazy in islice(self._lazies, NODES_PER_STEP)][::-1]
        return bool(self._stack)

    def _take_step(self) -> None:
        stack, search = self._stack, self._search
        find, open_node, close_node, check = self._find, self._open, self._close, self._check
        enough = search.visits + VISITS_PER_STEP
        for _ in range(NODES_PER_STEP):
            call = stack[-1]
            node = find(call)
            if node is None:
                if type(call) is MapCall and call is not self._seen:
                    break
                node, missing = open_node(call, search)
                if search.visits >= enough:
                    stack += missing
                    break
                if missing:
                    stack += missing
                    continue
            if node.status is Status.OPENED:
                self._items = close_node(node, search)
                self._built.append(node)
                check(node)
            stack.pop()
            if not stack or self._items is not None:
                break

    def _undo(self) -> Generator[list[Node], None, None]:
        """Remove all nodes in steps; the rest at once if this generator is closed."""
        opened = map(self._find, self._stack)
        unfinished = (node for node in opened if node is not None and node.status is Status.OPENED)
        steps = self._remove(unfinished, self._built)
        try:
            for _ in steps:
                yield []
        finally:
            for _ in steps:
                ...
