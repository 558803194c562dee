"""Look at a graph before it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from cascade.interfaces.call_errors import explains_calls
from cascade.interfaces.errors import ConfigurationError
from cascade.spec import LazyResult, targets_of

if TYPE_CHECKING:
    from cascade.runtime import Step

Target = LazyResult[Any] | Sequence[LazyResult[Any]]
Shape = Literal["mermaid", "dot", "tree", "svg"]


def dry_run(target: Target, params: Mapping[str, Any] | None = None) -> list[Step]:
    """Return the steps that a run would take, dependencies first; nothing is run.

    A map is one step; of a choice all routes are there. Inputs are checked as a run would.

    :raises InvalidTargetError: if a target is not a lazy result.
    :raises InputsError: once for all inputs that are missing, unknown or wrong.
    """
    from cascade.runtime import check_inputs

    targets = targets_of(target)
    check_inputs(targets, params or {}, os.environ)
    return _plan(targets)


@explains_calls
def visualize(target: Target, *, format: Shape = "mermaid") -> str:  # noqa: A002 - the caller's term
    """Return the graph as text: Mermaid, which many pages and notebooks draw, Graphviz's DOT, a tree to read, or SVG.

    In the tree, the steps that a step needs are below it; a step that several others need is shown once. The
    SVG needs no other program; it shows more than 300 steps by name.

    :raises InvalidTargetError: if a target is not a lazy result.
    :raises ConfigurationError: if the format is unknown.
    """
    from cascade.sdk._pictures import DRAWN

    if format not in DRAWN:
        raise ConfigurationError("visualize(format=)", f"needs mermaid, dot, tree or svg, not {format!r}")
    return DRAWN[format](_plan(targets_of(target)))


def to_json(target: Target) -> str:
    """Return the graph as JSON: a list of steps; no argument's value is in it.

    :raises InvalidTargetError: if a target is not a lazy result.
    """
    import json

    return json.dumps([asdict(step) for step in _plan(targets_of(target))], indent=2)


def _plan(targets: list[LazyResult[Any]]) -> list[Step]:
    from cascade.runtime import plan

    return plan(targets)
