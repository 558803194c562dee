"""Look at a graph before it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from cascade.interfaces.errors import ConfigurationError
from cascade.spec import LazyResult, read_inputs, targets_of

if TYPE_CHECKING:
    from cascade.runtime.plan import Step

Target = LazyResult[Any] | Sequence[LazyResult[Any]]

_SHAPES = {
    "mermaid": {
        "task": '["{}"]',
        "map": '[["{} for each"]]',
        "route": '{{"{}"}}',
        "input": '(["{}"])',
        "structure": '("{}")',
    },
    "dot": {
        "task": "box",
        "map": "box3d",
        "route": "diamond",
        "input": "ellipse",
        "structure": "plaintext",
    },
}
_DOTTED = frozenset({"before", "route", "condition", "amount"})


def dry_run(target: Target, params: Mapping[str, Any] | None = None) -> list[Step]:
    """Return the steps that a run would take, dependencies first; nothing is run.

    A map is one step; of a choice all routes are there. Inputs are checked as a run would.

    :raises InvalidTargetError: if a target is no lazy result.
    :raises InputsError: once for all inputs that are missing, unknown or wrong.
    """
    from cascade.runtime.needs import inputs_among, walk

    targets = targets_of(target)
    read_inputs(inputs_among(walk(targets)), params or {}, os.environ)
    return _plan(targets)


def visualize(target: Target, *, format: Literal["mermaid", "dot"] = "mermaid") -> str:  # noqa: A002 - the word
    """Return the graph as text: Mermaid, which many pages and notebooks draw, or Graphviz's DOT.

    :raises InvalidTargetError: if a target is no lazy result.
    :raises ConfigurationError: if the format is unknown.
    """
    if format not in _SHAPES:
        raise ConfigurationError("visualize(format=)", f"knows mermaid and dot, not {format!r}")
    steps = _plan(targets_of(target))
    return _mermaid(steps) if format == "mermaid" else _dot(steps)


def to_json(target: Target) -> str:
    """Return the graph as JSON: a list of steps; no argument's value is in it.

    :raises InvalidTargetError: if a target is no lazy result.
    """
    import json

    return json.dumps([asdict(step) for step in _plan(targets_of(target))], indent=2)


def _plan(targets: list[LazyResult[Any]]) -> list[Step]:
    from cascade.runtime.plan import plan

    return plan(targets)


def _mermaid(steps: list[Step]) -> str:
    numbers = {step.id: f"n{number}" for number, step in enumerate(steps)}
    lines = ["flowchart TD"]
    for step in steps:
        label = step.name.replace('"', "#quot;")
        lines.append(f"    {numbers[step.id]}{_SHAPES['mermaid'][step.kind].format(label)}")
    for step in steps:
        for edge in step.edges:
            arrow = f"-. {edge.role} .->" if edge.role in _DOTTED else "-->"
            lines.append(f"    {numbers[edge.source]} {arrow} {numbers[step.id]}")
    return "\n".join(lines) + "\n"


def _dot(steps: list[Step]) -> str:
    lines = ["digraph cascade {", "    rankdir=TB;"]
    for step in steps:
        label = f"{step.name} for each" if step.kind == "map" else step.name
        lines.append(f"    {_quoted(step.id)} [label={_quoted(label)}, shape={_SHAPES['dot'][step.kind]}];")
    for step in steps:
        for edge in step.edges:
            style = f' [style=dashed, label="{edge.role}"]' if edge.role in _DOTTED else ""
            lines.append(f"    {_quoted(edge.source)} -> {_quoted(step.id)}{style};")
    return "\n".join([*lines, "}"]) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
