"""The picture of a graph: every step and arrow is there, nothing overlaps, arrows lead downwards, texts are escaped."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

import cascade as cs
from cascade.sdk._pictures.layers import GAP, Layout, laid_out

SVG = "{http://www.w3.org/2000/svg}"
PITCH = 70.0


@cs.task
def load(path: str) -> list[int]:
    return [len(path)]


@cs.task
def join(*values: Any) -> int:
    return len(values)


def boxes_of(picture: str) -> list[str]:
    """The labels of the boxes, in the order of the file."""
    root = ET.fromstring(picture)
    return [group.findtext(f"{SVG}text", "") for group in root.findall(f"{SVG}g")]


def arrows_of(picture: str) -> list[ET.Element]:
    """The arrows; the head of an arrow is not one."""
    return ET.fromstring(picture).findall(f"{SVG}path")


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[float], list[tuple[int, int]]]:
    """Widths of boxes, and arrows that lead from any box to any other."""
    widths = draw(st.lists(st.floats(20, 300), min_size=1, max_size=12))
    ends = st.integers(0, len(widths) - 1)
    arrows = draw(
        st.lists(st.tuples(ends, ends).filter(lambda pair: pair[0] != pair[1]), max_size=30, unique=True)
    )
    return widths, arrows


@given(graphs())
def test_boxes_keep_their_distance_and_arrows_lead_downwards(
    graph: tuple[list[float], list[tuple[int, int]]],
) -> None:
    """Whatever the graph: no two boxes of a layer overlap, all lie within the picture, arrows end at their boxes."""
    widths, arrows = graph
    layout: Layout = laid_out(widths, arrows, PITCH)
    for (x, y), width in zip(layout.centres, widths, strict=True):
        assert x - width / 2 >= -1e-6
        assert x + width / 2 <= layout.width + 1e-6
        assert 0 < y < layout.height
    for one, other in combinations(range(len(widths)), 2):
        (x0, y0), (x1, y1) = layout.centres[one], layout.centres[other]
        if y0 == y1:
            assert abs(x1 - x0) >= (widths[one] + widths[other]) / 2 - 1e-6
    for (source, target), path in zip(arrows, layout.paths, strict=True):
        assert (path[0], path[-1]) == (layout.centres[source], layout.centres[target])
        if source < target:
            assert [y for _, y in path] == sorted({y for _, y in path})


def test_boxes_of_a_layer_stand_side_by_side_in_the_order_without_crossings() -> None:
    """Two pairs whose arrows would cross in the order of declaration are drawn without a crossing."""
    layout = laid_out([50.0] * 4, [(0, 3), (1, 2)], PITCH)
    (x0, _), (x1, _), (x2, _), (x3, _) = layout.centres
    assert (x0 < x1) == (x3 < x2)
    assert abs(x1 - x0) == 50 + GAP
    assert (x0, x1) == (x3, x2)


def test_a_picture_has_each_step_and_each_arrow() -> None:
    """Dotted arrows have their role beside them; the kinds of boxes differ by more than their colour."""
    data = load(cs.Param("folder"))
    each = load.map(path=data)
    picture = cs.visualize(join(each, cs.Router(data[0], {1: load("a")})).after(load("b")), format="svg")
    steps = cs.dry_run(join(each, cs.Router(data[0], {1: load("a")})).after(load("b")), {"folder": "x"})
    assert sorted(boxes_of(picture)) == sorted(
        f"{step.name} for each" if step.kind == "map" else step.name for step in steps
    )
    arrows = arrows_of(picture)
    assert len(arrows) == sum(len(step.edges) for step in steps)
    dotted = [arrow for arrow in arrows if arrow.get("stroke-dasharray")]
    assert len(dotted) == len(re.findall('class="role"', picture)) == 2
    assert re.search(">before<", picture)
    assert picture.count('class="box map"') == 2  # one behind the other
    assert picture.count("<polygon") == 1


def test_names_cannot_leave_their_place_in_a_picture() -> None:
    """Markup, control characters and a name of 10,000 characters: shown as text, and cut; the title has it all."""
    hostile = '</text><script>alert(1)</script>&"\x1b[2J\n' + "x" * 10_000
    picture = cs.visualize(load("a").named(hostile), format="svg")
    root = ET.fromstring(picture)
    assert not list(root.iter(f"{SVG}script"))
    (label,) = boxes_of(picture)
    assert label.startswith("</text><script>alert(1)</script>")
    assert len(label) == 40
    assert root.findtext(f"{SVG}g/{SVG}title", "").endswith("x" * 10_000)
    assert all(char.isprintable() for char in picture.replace("\n", ""))


def test_a_large_graph_is_drawn_by_name() -> None:
    """One box for each name with its count; names that need each other have an arrow in each direction."""
    lazy = load("a")
    for _ in range(200):
        lazy = load(join(lazy))
    picture = cs.visualize(join(lazy, lazy), format="svg")
    assert boxes_of(picture) == ["load (201 steps)", "join (201 steps)"]
    assert len(arrows_of(picture)) == 2
    assert "<title>402 steps</title>" in picture


def test_a_dense_graph_is_drawn() -> None:
    """A hundred and twenty steps, each of which needs all before it: every arrow is there."""
    steps: list[Any] = [load("a")]
    for _ in range(120):
        steps.append(join(*steps))
    assert len(arrows_of(cs.visualize(steps, format="svg"))) == 120 * 121 // 2
