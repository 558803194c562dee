"""One build: calls added to a graph in steps, with all that they reach, and nothing left half-built. Pure."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, Protocol

from cascade.runtime.arguments import Search
from cascade.runtime.node import Node
from cascade.spec import Call, LazyResult, call_of

NODES_PER_STEP = 128
"""How many nodes are begun or finished at most between two chances to do something else."""

VISITS_PER_STEP = 20_000
"""After how many items of their arguments there is such a chance too."""


class Site(Protocol):
    """The graph that is built, as its builds see it."""

    @property
    def find(self) -> Callable[[Call], Node | None]:
        """Give the node of a call, if it has one here or further out."""
        ...

    def open(self, call: Call, search: Search) -> list[Call]:
        """Make the node of a call; return what has to be built before it."""
        ...

    def close(self, node: Node) -> None:
        """Finish a node, now that all is there that it needs."""
        ...

    def take_back(self, nodes: Iterable[Node]) -> None:
        """Forget nodes that were not admitted to the run, finished or not."""
        ...


class Build:
    """Adds ``lazies`` and all that they reach, dependencies first.

    None of the new nodes may be admitted to the run before all of them are there. A build that
    fails, or is given up, takes them back: whoever needs one later builds it anew, instead of
    waiting for one that never starts.

    :param check: called with each node that is finished; what it raises ends the build.
    """

    def __init__(self, site: Site, lazies: Iterable[LazyResult[Any]], check: Callable[[Node], None]) -> None:
        self._site = site
        self._check = check
        self._stack = [call_of(lazy) for lazy in lazies][::-1]
        self._search = Search()
        self._built: list[Node] = []

    def steps(self) -> Generator[list[Node], None, None]:
        """Yield the nodes that each step has finished."""
        built = self._built
        try:
            while self._stack:
                before = len(built)
                self._take_step()
                yield built[before:]
        except BaseException:
            self._take_back()
            raise

    def _take_step(self) -> None:
        site, stack, search = self._site, self._stack, self._search
        find, check = site.find, self._check
        enough = search.visits + VISITS_PER_STEP
        for _ in range(NODES_PER_STEP):
            node = find(stack[-1])
            if node is None:
                stack += site.open(stack[-1], search)
                if search.visits >= enough:
                    break
                continue
            if node.index < 0:
                site.close(node)
                self._built.append(node)
                check(node)
            stack.pop()
            if not stack:
                break

    def _take_back(self) -> None:
        begun = [node for node in map(self._site.find, self._stack) if node is not None and node.index < 0]
        self._site.take_back([*begun, *self._built])
