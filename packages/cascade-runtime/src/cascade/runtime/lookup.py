"""Which node each call has: in one graph, and in those around it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from cascade.runtime.node import Node
from cascade.spec import Call


class Lookup:
    """The nodes of one graph by their calls; what is not in here is looked up further out.

    However many graphs lie around this one, that costs no more than looking into two of them, but
    for what stands in one between: that is remembered here when it was found.
    """

    __slots__ = ("_between", "_nodes", "_outermost", "_parent")

    def __init__(self, parent: Lookup | None = None) -> None:
        self._parent = parent
        self._nodes: dict[Call, Node] = {}
        self._outermost: dict[Call, Node] = parent._outermost if parent is not None else self._nodes
        self._between: Counter[Call] = parent._between if parent is not None else Counter()
        """How many lookups, the outermost left out, know each call: new calls are known to none."""

    @property
    def find(self) -> Callable[[Call], Node | None]:
        """Give the node of a call, if it has one. To be got once and called often: most runs have one graph."""
        return self._nodes.get if self._parent is None else self._find

    @property
    def enter(self) -> Callable[[Call, Node], None]:
        """Add the node of a call. To be got once, as well."""
        return self._nodes.__setitem__ if self._parent is None else self._enter

    def forget(self, call: Call) -> None:
        """Forget the node of a call that was entered here."""
        del self._nodes[call]
        if self._parent is not None:
            self._count_down(call)

    def clear(self) -> None:
        """Forget every node, so that a long chain of them is freed link by link."""
        if self._parent is not None:
            for call in self._nodes:
                self._count_down(call)
        self._nodes.clear()

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
