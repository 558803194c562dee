"""Writes a graph as text: Mermaid, Graphviz's DOT, and a tree to read. No I/O."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from cascade.interfaces.text import printable

if TYPE_CHECKING:
    from cascade.runtime import Step

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
DOTTED = frozenset({"before", "route", "condition", "amount"})
"""Roles of the edges that carry no value."""


def mermaid(steps: list[Step]) -> str:
    """Return a Mermaid flowchart: a line for each step and each edge."""
    numbers = {step.id: f"n{number}" for number, step in enumerate(steps)}
    lines = ["flowchart TD"]
    for step in steps:
        label = printable(step.name).replace('"', "#quot;")
        lines.append(f"    {numbers[step.id]}{_SHAPES['mermaid'][step.kind].format(label)}")
    for step in steps:
        for edge in step.edges:
            arrow = f"-. {edge.role} .->" if edge.role in DOTTED else "-->"
            lines.append(f"    {numbers[edge.source]} {arrow} {numbers[step.id]}")
    return "\n".join(lines) + "\n"


def dot(steps: list[Step]) -> str:
    """Return a directed graph in Graphviz's language."""
    lines = ["digraph cascade {", "    rankdir=TB;"]
    for step in steps:
        label = f"{step.name} for each" if step.kind == "map" else step.name
        lines.append(f"    {_quoted(step.id)} [label={_quoted(label)}, shape={_SHAPES['dot'][step.kind]}];")
    for step in steps:
        for edge in step.edges:
            style = f' [style=dashed, label="{edge.role}"]' if edge.role in DOTTED else ""
            lines.append(f"    {_quoted(edge.source)} -> {_quoted(step.id)}{style};")
    return "\n".join([*lines, "}"]) + "\n"


def tree(steps: list[Step]) -> str:
    """Return a tree: below each step the steps that it needs; each step is shown once."""
    needed = {edge.source for step in steps for edge in step.edges}
    by_id = {step.id: step for step in steps}
    names = Counter(step.name for step in steps)
    lines: list[str] = []
    shown: set[str] = set()
    left = [(step, "", "", "") for step in reversed(steps) if step.id not in needed]
    while left:
        step, role, branch, indent = left.pop()
        known = step.id in shown
        shown.add(step.id)
        lines.append(
            f"{branch}{_titled(step, role, alone=names[step.name] == 1)}{', see above' if known and step.edges else ''}"
        )
        below = [] if known else step.edges[::-1]
        # from the last one, as they are popped from the end
        for position, edge in enumerate(below):
            corner, bar = ("└─ ", "   ") if position == 0 else ("├─ ", "│  ")
            left.append((by_id[edge.source], edge.role, indent + corner, indent + bar))
    return "\n".join(lines) + "\n"


def _titled(step: Step, role: str, *, alone: bool) -> str:
    kind = {"map": " for each", "input": " (input)", "route": " (route)"}.get(step.kind, "")
    name = step.name if alone else step.id
    return f"{printable(name)}{kind}{f', {role}' if role in DOTTED else ''}"


def _quoted(text: str) -> str:
    return '"' + printable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'
