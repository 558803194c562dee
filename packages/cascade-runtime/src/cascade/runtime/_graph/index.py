"""Find the node of a call: in one graph, and in those around it. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from cascade.runtime._graph.node import Node
from cascade.spec import Call


class NodeIndex:
    """The nodes of one graph by their calls; other calls are looked up further out.

    However many graphs lie around this one, that costs two lookups. Only a call of a graph between
    this one and the outermost costs more, once: then it is remembered here.
    """

    __slots__ = ("_between", "_nodes", "_outermost", "_parent")

    def __init__(self, parent: NodeIndex | None = None) -> None:
        self._parent = parent
        self._nodes: dict[Call, Node] = {}
        self._outermost: dict[Call, Node] = parent._outermost if parent is not None else self._nodes
        self._between: Counter[Call] = parent._between if parent is not None else Counter()
        """How many indexes, without the outermost, know each call."""

    @property
    def find(self) -> Callable[[Call], Node | None]:
        """Function that returns the node of a call, if it has one; get it once and call it often."""
        return self._nodes.get if self._parent is None else self._find

    @property
    def enter(self) -> Callable[[Call, Node], None]:
        """Function that adds the node of a call; get it once, too."""
        return self._nodes.__setitem__ if self._parent is None else self._enter

    def __len__(self) -> int:
        return len(self._nodes)

    def forget(self, call: Call) -> None:
        """Forget the node of a call, if it was entered here."""
        if self._nodes.pop(call, None) is not None and self._parent is not None:
            self._count_down(call)

    def clear(self) -> None:
        """Forget every node, so that a long chain of them is freed link by link."""
        if self._parent is not None:
            for call in self._nodes:
                self._count_down(call)
        self._nodes.clear()

    def forget_last(self, most: int) -> list[Node]:
        """Forget and return the nodes that were entered last into the outermost index, and what waits for them."""
        nodes = self._nodes
        last = [nodes.popitem()[1] for _ in range(min(most, len(nodes)))]
        for node in last:
            node.dependents = None
        return last

    def _count_down(self, call: Call) -> None:
        self._between[call] -= 1
        if not self._between[call]:
            del self._between[call]

    def _enter(self, call: Call, node: Node) -> None:
        self._nodes[call] = node
        self._between[call] += 1

    def _find(self, call: Call) -> Node | None:
        node = self._nodes.get(call) or self._outermost.get(call)
        return self._find_between(call) if node is None and call in self._between else node

    def _find_between(self, call: Call) -> Node | None:
        lookup = self._parent
        while lookup is not None:
            node = lookup._nodes.get(call)
            if node is not None:
                self._enter(call, node)
                return node
            lookup = lookup._parent
        return None
