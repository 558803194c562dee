"""Nodes that call no task, settled on the loop: skipped ones, false conditions, and steps of the graph itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sized
from itertools import islice
from typing import Any

from cascade.interfaces import MissingItemError
from cascade.runtime._graph.graph import Graph
from cascade.runtime._graph.items import MapItems
from cascade.runtime._graph.node import Kind, Node, Origin, Status
from cascade.runtime._scheduler.outcome import RunOutcome
from cascade.runtime._scheduler.state import why_skipped
from cascade.spec import Input, InputCall, read_inputs


class StructuralSteps:
    """Settles nodes at once, on the loop.

    ``params`` are the run's values for inputs; ``expand`` starts to build what a node chose.
    """

    def __init__(
        self, graph: Graph, outcome: RunOutcome, params: Mapping[str, Any], *, expand: Callable[[Node], None]
    ) -> None:
        self._graph = graph
        self._outcome = outcome
        self._params = params
        self._expand = expand

    def skip_if_needed(self, node: Node) -> bool:
        """Settle a node that must not run, with the reason; return False for any other node."""
        if node.kind is Kind.RECORDED:
            return False
        if node.call.condition is not None and node.kind in _CONDITIONAL:
            condition_node = node.inputs[0]
            try:
                if condition_node.status is Status.DONE and not condition_node.value:
                    if self._outcome.decline(node, condition_node):
                        self._expand(node)
                    return True
            except BaseException as exc:
                # a value without a truth value, such as an array
                self._outcome.raised(node, exc)
                return True
        why = why_skipped(node)
        if why is not None:
            reason, by_failure = why
            self._outcome.skip(node, reason, by_failure=by_failure)
        return why is not None

    def settle(self, node: Node) -> None:
        """Settle a structural node with its value."""
        try:
            if isinstance(node.items, MapItems) and node.items.are_many:
                self._expand(node)
                return
            if node.kind is Kind.RECORDED:
                self._expand(node)
                return
            if node.kind is Kind.GATHER:
                value: Any = _collected(node.items)
            elif node.kind is Kind.FORWARD:
                value = node.inputs[0].value
            elif isinstance(node.call, InputCall):
                value = self._input(node.call.source)
            else:
                value = _called(node)
        except BaseException as exc:
            self._outcome.raised(node, exc)
        else:
            self._outcome.complete(node, value)

    def _input(self, source: Input) -> Any:
        values = self._graph.values
        if source not in values:  # an input in a call that a task returned
            known = () if source.from_environment else self._params.keys() & {source.name}
            values |= read_inputs([source], {name: self._params[name] for name in known}, os.environ)
        return values[source]


def _called(node: Node) -> Any:
    """Return the value of a step of the graph, such as an item of a value.

    :raises MissingItemError: if the value has no such item or attribute.
    """
    args, kwargs = node.scope.arguments(node)
    try:
        return node.definition.function(*args, **kwargs)
    except (LookupError, AttributeError) as exc:
        if node.definition.name not in ("item", "attribute") or not node.inputs:
            raise
        of = node.inputs[0]
        problem = f"{type(exc).__name__}: {exc}"
        raise MissingItemError(problem, f"{of.name} ({of.key})", _names_in(args[0])) from None


def _names_in(value: Any) -> str:
    """Return which items a value has, for a person: names and a length, never values."""
    if isinstance(value, Mapping):
        names = [f"{key!r}" for key in islice(value, _MOST_NAMES) if isinstance(key, str | int)]
        more = ["and more"] if len(value) > len(names) else []
        return ", ".join([*names, *more]) or "nothing"
    if isinstance(value, Sized):
        return f"{len(value)} items"
    names = [name for name in dir(value) if not name.startswith("_")]
    return ", ".join(names[:_MOST_NAMES] + ["and more"] * (len(names) > _MOST_NAMES))


_MOST_NAMES = 8


def _collected(items: Origin | None) -> list[Any]:
    """Return the values of a map's items, if there are any."""
    if not isinstance(items, MapItems):
        return []
    steps = items.collect()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            values: list[Any] = end.value
            return values


_CONDITIONAL = frozenset({Kind.CALL, Kind.MAP, Kind.ROUTE, Kind.INPUT})
