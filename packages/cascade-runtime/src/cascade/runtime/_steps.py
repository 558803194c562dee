"""What a run does with its graph itself: skips, declined conditions, and steps that need no task."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from cascade.runtime._outcome import Outcome
from cascade.runtime.graph import Graph
from cascade.runtime.node import Kind, Node, Status
from cascade.runtime.run import gathered, why_skipped
from cascade.spec import Input, InputCall, read_inputs


class Steps:
    """Settles nodes at once, on the loop; ``params`` are the run's values for inputs."""

    def __init__(self, graph: Graph, outcome: Outcome, params: Mapping[str, Any]) -> None:
        self._graph = graph
        self._outcome = outcome
        self._params = params

    def refuse(self, node: Node) -> bool:
        """Settle a node that must not run, and tell why; return whether it is one."""
        if node.call.condition is not None and node.kind in _CONDITIONAL:
            judge = node.inputs[0]
            try:
                if judge.status is Status.DONE and not judge.value:
                    self._outcome.decline(node, judge)
                    return True
            except Exception as exc:  # a value that has no truth, such as an array
                self._outcome.fail(node, exc)
                return True
            except asyncio.CancelledError as exc:
                self._outcome.cancelled(node, exc)
                return True
        why = why_skipped(node)
        if why is not None:
            reason, broken = why
            self._outcome.skip(node, reason, broken=broken)
        return why is not None

    def take(self, node: Node) -> None:
        """Take a step of the graph."""
        try:
            if node.kind is Kind.GATHER:
                value: Any = gathered(node)
            elif node.kind is Kind.FORWARD:
                value = node.inputs[0].value
            elif isinstance(node.call, InputCall):
                value = self._input(node.call.source)
            else:
                args, kwargs = node.scope.arguments(node)
                value = node.definition.function(*args, **kwargs)
        except Exception as exc:
            self._outcome.fail(node, exc)
        except asyncio.CancelledError as exc:  # an attribute that asks a future
            self._outcome.cancelled(node, exc)
        else:
            self._outcome.complete(node, value)

    def _input(self, source: Input) -> Any:
        values = self._graph.values
        if source not in values:  # one that a task has returned
            known = () if source.from_environment else self._params.keys() & {source.name}
            values |= read_inputs([source], {name: self._params[name] for name in known}, os.environ)
        return values[source]


_CONDITIONAL = frozenset({Kind.CALL, Kind.MAP, Kind.ROUTE, Kind.INPUT})
