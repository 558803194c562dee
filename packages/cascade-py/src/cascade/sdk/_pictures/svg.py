"""Draws a graph as SVG, without another program. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

from cascade.interfaces.text import printable
from cascade.sdk._pictures.layers import Layout, Point, laid_out
from cascade.sdk._pictures.text import DOTTED

if TYPE_CHECKING:
    from cascade.runtime import Step

FOLDED_ABOVE = 300
"""Steps; a picture of more has one box for each name."""

_HEIGHT = 32.0  # pixels of a box
_PITCH = 76.0  # from layer to layer
_MARGIN = 16.0
_CHARACTER = 7.8  # pixels of a monospaced character at 13 px
_LONGEST = 40  # characters of a label
_STYLE = (
    ".cs{color-scheme:light dark;font:13px ui-monospace,Menlo,Consolas,monospace}"
    ".cs path{fill:none;stroke:#57606a;stroke-width:1.3}.cs .head{fill:#57606a;stroke:none}"
    ".cs .box{fill:#eef4fb;stroke:#3b6ea5;stroke-width:1.3}.cs .input{fill:#f0f7ee;stroke:#4b7f3f}"
    ".cs .route{fill:#fdf3e3;stroke:#a06a1b}.cs .structure{fill:none;stroke:#8c959f;stroke-dasharray:3 3}"
    ".cs text{fill:#1f2328;text-anchor:middle}.cs .role{fill:#57606a;font-size:11px;text-anchor:start}"
    "@media(prefers-color-scheme:dark){.cs path{stroke:#9aa4ae}.cs .head{fill:#9aa4ae}"
    ".cs .box{fill:#17263a;stroke:#6ea8e0}.cs .input{fill:#1b2a1b;stroke:#7fb574}"
    ".cs .route{fill:#33270f;stroke:#d9a441}.cs .structure{fill:none;stroke:#768390}"
    ".cs text{fill:#e6edf3}.cs .role{fill:#9aa4ae}}"
)


@dataclass(frozen=True, slots=True)
class _Box:
    title: str
    """The whole name, which a pointer's rest shows."""
    label: str
    kind: str
    width: float


def svg(steps: Sequence[Step]) -> str:
    """Return the picture: a box for each step, or for each name if there are more than ``FOLDED_ABOVE``."""
    boxes, arrows = _by_name(steps) if len(steps) > FOLDED_ABOVE else _by_step(steps)
    layout = laid_out([box.width for box in boxes], list(arrows), _PITCH)
    lines = [
        _opening(layout, f"{len(steps):,} steps"),
        *(_arrow(path, role) for path, role in zip(layout.paths, arrows.values(), strict=True)),
        *(_drawn(box, centre) for box, centre in zip(boxes, layout.centres, strict=True)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _by_step(steps: Sequence[Step]) -> tuple[list[_Box], dict[tuple[int, int], str]]:
    numbers = {step.id: number for number, step in enumerate(steps)}
    boxes = [_box(step.name, step.kind, 1) for step in steps]
    arrows: dict[tuple[int, int], str] = {}
    for step in steps:
        for edge in step.edges:
            arrows.setdefault((numbers[edge.source], numbers[step.id]), edge.role)
    return boxes, arrows


def _by_name(steps: Sequence[Step]) -> tuple[list[_Box], dict[tuple[int, int], str]]:
    """Return one box for each name; an arrow leads from name to name, and from none to itself."""
    counts = Counter((step.name, step.kind) for step in steps)
    numbers = {key: number for number, key in enumerate(counts)}
    boxes = [_box(name, kind, count) for (name, kind), count in counts.items()]
    number_of = {step.id: numbers[step.name, step.kind] for step in steps}
    arrows: dict[tuple[int, int], str] = {}
    for step in steps:
        for edge in step.edges:
            source, target = number_of[edge.source], number_of[step.id]
            if source != target:
                arrows.setdefault((source, target), edge.role)
    return boxes, arrows


def _box(name: str, kind: str, count: int) -> _Box:
    title = (
        printable(name)
        + (" for each" if kind == "map" else "")
        + (f" ({count:,} steps)" if count > 1 else "")
    )
    label = title if len(title) <= _LONGEST else f"{title[: _LONGEST - 1]}…"
    columns = sum(2 if east_asian_width(char) in "WF" else 1 for char in label)
    return _Box(title, label, kind, columns * _CHARACTER + 28)


def _opening(layout: Layout, title: str) -> str:
    width, height = layout.width + 2 * _MARGIN, layout.height + 2 * _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="cs" role="img" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="{-_MARGIN:g} {-_MARGIN:g} {width:.0f} {height:.0f}">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n"
        '<defs><marker id="cs-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
        ' orient="auto"><path class="head" d="M0 0 8 4 0 8Z"/></marker></defs>'
    )


def _arrow(path: list[Point], role: str) -> str:
    """Draw an arrow through its points; a dotted one, with its role, where it carries no value."""
    downwards = path[0][1] < path[-1][1]
    half = _HEIGHT / 2 if downwards else -_HEIGHT / 2
    points = [(path[0][0], path[0][1] + half), *path[1:-1], (path[-1][0], path[-1][1] - half)]
    drawn = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (y0 + y1) / 2
        drawn += f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
    if role not in DOTTED:
        return f'<path d="{drawn}" marker-end="url(#cs-head)"/>'
    (x0, y0), (x1, y1) = points[-2:]
    return (
        f'<path d="{drawn}" stroke-dasharray="4 3" marker-end="url(#cs-head)"/>'
        f'<text class="role" x="{(x0 + x1) / 2 + 5:.1f}" y="{(y0 + y1) / 2:.1f}">{escape(role)}</text>'
    )


def _drawn(box: _Box, centre: Point) -> str:
    x, y = centre
    left, top, right, bottom = x - box.width / 2, y - _HEIGHT / 2, x + box.width / 2, y + _HEIGHT / 2
    if box.kind == "route":
        corners = [(left + 12, top), (right - 12, top), (right, y), (right - 12, bottom), (left + 12, bottom)]
        points = " ".join(f"{px:.1f},{py:.1f}" for px, py in [*corners, (left, y)])
        shape = f'<polygon class="box route" points="{points}"/>'
    else:
        behind = _rectangle(left + 4, top + 4, box) if box.kind == "map" else ""
        shape = behind + _rectangle(left, top, box)
    label = f'<text x="{x:.1f}" y="{y + 4.5:.1f}">{escape(box.label)}</text>'
    return f"<g><title>{escape(box.title)}</title>{shape}{label}</g>"


def _rectangle(left: float, top: float, box: _Box) -> str:
    radius = _HEIGHT / 2 if box.kind == "input" else 5
    return (
        f'<rect class="box {box.kind}" x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}"'
        f' height="{_HEIGHT:.0f}" rx="{radius:g}"/>'
    )
