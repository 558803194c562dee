"""The picture of a graph: every step and arrow is there, nothing overlaps, arrows lead downwards, texts are escaped."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cascade as cs
from cascade.sdk._pictures import layers
from cascade.sdk._pictures.layers import GAP, Layout, laid_out
from testing_tools.golden_graphs import Golden, crossings, golden_graphs, order_of

SVG = "{http://www.w3.org/2000/svg}"
PITCH = 70.0


@cs.task
def load(path: str) -> list[int]:
    return [len(path)]


@cs.task
def join(*values: Any) -> int:
    return len(values)


def every_kind() -> Any:
    """A graph with each kind of step, and with arrows that carry no value."""
    data = load(cs.Param("folder"))
    return join(load.map(path=data), cs.Router(data[0], {1: load("a")})).after(load("b"))


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


def test_a_picture_has_each_step_and_each_arrow() -> None:
    """Dotted arrows have their role beside them; the kinds of boxes differ by more than their colour."""
    picture = cs.visualize(every_kind(), format="svg")
    steps = cs.dry_run(every_kind(), {"folder": "x"})
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


def test_a_graph_as_mermaid_text() -> None:
    """Each kind of step has its brackets, quotes cannot end a label, and an arrow without a value is dotted."""
    assert cs.visualize(every_kind()) == (
        "flowchart TD\n"
        '    n0(["folder"])\n'
        '    n1["load"]\n'
        '    n2[["load for each"]]\n'
        '    n3("item")\n'
        '    n4["load"]\n'
        '    n5{"route"}\n'
        '    n6["load"]\n'
        '    n7["join"]\n'
        "    n0 --> n1\n"
        "    n1 --> n2\n"
        "    n1 --> n3\n"
        "    n3 --> n5\n"
        "    n4 -. route .-> n5\n"
        "    n2 --> n7\n"
        "    n5 --> n7\n"
        "    n6 -. before .-> n7\n"
    )
    assert 'n0["say #quot;a#quot;"]' in cs.visualize(load("x").named('say "a"'))


def test_a_graph_as_dot_text() -> None:
    """Each kind of step has its shape; quotes and backslashes are escaped in names and labels."""
    assert cs.visualize(every_kind(), format="dot") == (
        "digraph cascade {\n"
        "    rankdir=TB;\n"
        '    "folder:0" [label="folder", shape=ellipse];\n'
        '    "load:0" [label="load", shape=box];\n'
        '    "load:1" [label="load for each", shape=box3d];\n'
        '    "item:0" [label="item", shape=plaintext];\n'
        '    "load:2" [label="load", shape=box];\n'
        '    "route:0" [label="route", shape=diamond];\n'
        '    "load:3" [label="load", shape=box];\n'
        '    "join:0" [label="join", shape=box];\n'
        '    "folder:0" -> "load:0";\n'
        '    "load:0" -> "load:1";\n'
        '    "load:0" -> "item:0";\n'
        '    "item:0" -> "route:0";\n'
        '    "load:2" -> "route:0" [style=dashed, label="route"];\n'
        '    "load:1" -> "join:0";\n'
        '    "route:0" -> "join:0";\n'
        '    "load:3" -> "join:0" [style=dashed, label="before"];\n'
        "}\n"
    )
    hostile = cs.visualize(load("x").named('a\\b"c'), format="dot")
    assert r'"a\\b\"c:0" [label="a\\b\"c", shape=box];' in hostile


def test_a_graph_as_a_tree_names_kinds_and_roles() -> None:
    """An input, a route and a map are told from tasks, and so are needs that carry no value."""
    assert cs.visualize(every_kind(), format="tree") == (
        "join\n"
        "├─ load:1 for each\n"
        "│  └─ load:0\n"
        "│     └─ folder (input)\n"
        "├─ route (route)\n"
        "│  ├─ item\n"
        "│  │  └─ load:0, see above\n"
        "│  └─ load:2, route\n"
        "└─ load:3, before\n"
    )


@given(graphs())
def test_arrows_pass_beside_the_boxes_of_the_layers_between(
    graph: tuple[list[float], list[tuple[int, int]]],
) -> None:
    """Through one point of each layer, downwards or upwards; the picture is as tall as its layers."""
    widths, arrows = graph
    layout = laid_out(widths, arrows, PITCH)
    assert layout.height == PITCH * len({y for _, y in layout.centres})
    for path in layout.paths:
        heights = [y for _, y in path]
        if heights[0] == heights[-1]:
            assert len(path) == 2
        for one, other in pairwise(heights):
            assert len(path) == 2 or abs(other - one) == PITCH
        assert heights in (sorted(heights), sorted(heights, reverse=True))
        for x, y in path[1:-1]:
            beside = [
                abs(x - centre) - width / 2
                for (centre, level), width in zip(layout.centres, widths, strict=True)
                if level == y
            ]
            assert min(beside) >= 10 - 1e-6
            assert 0 <= x <= layout.width


@pytest.mark.parametrize("golden", golden_graphs())
def test_layers_have_the_order_of_the_golden_graphs(golden: Golden) -> None:
    """The page orders the same graphs in the same way: test_scripts.py of cascade-web."""
    layout = laid_out([40.0] * golden.nodes, golden.edges, PITCH)
    assert (order_of(layout.centres), crossings(layout.paths)) == (golden.layers, golden.crossings)


@given(st.randoms(use_true_random=False), st.integers(1, 4), st.integers(1, 3))
def test_a_forest_is_drawn_without_crossings(random: Any, trees: int, depth: int) -> None:
    """Whatever the order in which its boxes are declared."""
    boxes = [(tree, *node) for tree in range(trees) for node in _nodes(depth)]
    random.shuffle(boxes)
    numbers = {box: number for number, box in enumerate(sorted(boxes, key=len))}
    arrows = [(numbers[box[:-1]], number) for box, number in numbers.items() if len(box) > 1]
    layout = laid_out([40.0] * len(numbers), arrows, PITCH)
    assert crossings(layout.paths) == 0


def _nodes(depth: int) -> list[tuple[int, ...]]:
    """The nodes of a tree in which each has two below it."""
    nodes: list[tuple[int, ...]] = [()]
    for node in nodes:
        if len(node) < depth:
            nodes += [(*node, 0), (*node, 1)]
    return nodes


@given(graphs())
def test_no_order_is_worse_than_that_of_the_declaration(
    graph: tuple[list[float], list[tuple[int, int]]],
) -> None:
    """The best order that was found is drawn, also if a later round made it worse."""
    widths, arrows = graph
    rounds, layers._ROUNDS = layers._ROUNDS, 0
    try:
        declared = laid_out(widths, arrows, PITCH)
    finally:
        layers._ROUNDS = rounds
    assert crossings(laid_out(widths, arrows, PITCH).paths) <= crossings(declared.paths)


def test_a_box_stands_in_the_middle_of_those_that_it_needs_or_that_need_it() -> None:
    """And those stand side by side: a diamond, and a fan in each direction."""
    diamond = laid_out([60.0] * 4, [(0, 1), (0, 2), (1, 3), (2, 3)], PITCH)
    (top, _), (left, _), (right, _), (bottom, _) = diamond.centres
    assert (left, right) == pytest.approx((30.0, 90.0 + GAP))
    assert (top, bottom) == pytest.approx(((left + right) / 2,) * 2)
    assert (diamond.width, diamond.height) == pytest.approx((120.0 + GAP, 3 * PITCH))
    fan = laid_out([300.0, 20.0, 20.0, 20.0], [(0, 1), (0, 2), (0, 3)], PITCH)
    assert [x for x, _ in fan.centres] == pytest.approx([150.0, 150 - 20 - GAP, 150.0, 150 + 20 + GAP])


def test_arrows_of_a_dense_graph_are_drawn_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a certain size on; else their points would take minutes."""
    arrows = [(0, 1), (1, 2), (0, 2)]
    monkeypatch.setattr(layers, "_MOST", 5)
    assert [len(path) for path in laid_out([40.0] * 3, arrows, PITCH).paths] == [2, 2, 3]
    monkeypatch.setattr(layers, "_MOST", 4)
    assert [len(path) for path in laid_out([40.0] * 3, arrows, PITCH).paths] == [2, 2, 2]


def numbers_of(text: str) -> list[float]:
    return [float(each) for each in re.findall(r"-?\d+(?:\.\d+)?", text)]


def edges_of(group: ET.Element) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the box of one step, from its last shape."""
    polygon = group.find(f"{SVG}polygon")
    if polygon is not None:
        numbers = numbers_of(polygon.get("points", ""))
        return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])
    shape = group.findall(f"{SVG}rect")[-1]
    x, y, width, height = (float(shape.get(name, "")) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def test_every_arrow_of_a_picture_ends_at_the_edges_of_its_boxes() -> None:
    """At the middle below the box where it begins, and above the one that it leads to; all is within the picture."""
    steps = cs.dry_run(every_kind(), {"folder": "x"})
    root = ET.fromstring(cs.visualize(every_kind(), format="svg"))
    boxes = {step.id: edges_of(group) for step, group in zip(steps, root.findall(f"{SVG}g"), strict=True)}
    left, top, width, height = numbers_of(root.get("viewBox", ""))
    assert (float(root.get("width", "")), float(root.get("height", ""))) == (width, height)
    for box in boxes.values():
        assert left < box[0] < box[2] < left + width
        assert top < box[1] < box[3] < top + height
    drawn = iter(root.findall(f"{SVG}path"))
    for step in steps:
        for edge in step.edges:
            numbers = numbers_of(next(drawn).get("d", ""))
            source, target = boxes[edge.source], boxes[step.id]
            middle = [(source[0] + source[2]) / 2, (target[0] + target[2]) / 2]
            assert numbers[:2] == pytest.approx([middle[0], source[3]], abs=0.2)
            assert numbers[-2:] == pytest.approx([middle[1], target[1]], abs=0.2)
            assert numbers[1::2] == sorted(numbers[1::2])
    assert next(drawn, None) is None


def test_an_arrow_that_leads_upwards_begins_above_its_box() -> None:
    """In a picture by name, where two names need each other; both arrows end at the edges."""
    lazy = load("a")
    for _ in range(200):
        lazy = load(join(lazy))
    root = ET.fromstring(cs.visualize(lazy, format="svg"))
    upper, lower = (edges_of(group) for group in root.findall(f"{SVG}g"))
    ends = [
        (numbers[1], numbers[-1])
        for arrow in root.findall(f"{SVG}path")
        if (numbers := numbers_of(arrow.get("d", "")))
    ]
    assert sorted(ends) == [(upper[3], lower[1]), (lower[1], upper[3])]


def test_a_label_stands_in_the_middle_of_a_box_that_is_wide_enough() -> None:
    """Also for characters that take two columns; up to forty characters are shown whole."""
    names = ["a", "x" * 40, "y" * 41, "漢字" * 10]
    root = ET.fromstring(cs.visualize([load("a").named(name) for name in names], format="svg"))
    found = {}
    for group in root.findall(f"{SVG}g"):
        (text,) = group.findall(f"{SVG}text")
        left, top, right, bottom = edges_of(group)
        assert float(text.get("x", "")) == pytest.approx((left + right) / 2, abs=0.2)
        assert top < float(text.get("y", "")) < bottom
        found[text.text] = right - left
    assert [*found] == ["a", "x" * 40, "y" * 39 + "…", "漢字" * 10]
    assert [found["漢字" * 10], found["y" * 39 + "…"]] == pytest.approx([found["x" * 40]] * 2)
    assert found["x" * 40] - found["a"] == pytest.approx(39 * 7.8)
    assert found["a"] > 7.8


def test_the_role_of_an_arrow_stands_beside_its_end() -> None:
    """Between the last two points through which the arrow goes."""
    root = ET.fromstring(cs.visualize(join().after(load("a")), format="svg"))
    (arrow,), (role,) = root.findall(f"{SVG}path"), root.findall(f"{SVG}text")
    x0, y0, *_, x1, y1 = numbers_of(arrow.get("d", ""))
    assert role.text == "before"
    assert y0 < float(role.get("y", "")) < y1
    assert 0 < float(role.get("x", "")) - (x0 + x1) / 2 < 20


def test_steps_of_one_name_and_different_kinds_have_boxes_of_their_own_in_a_large_picture() -> None:
    """A dotted arrow stays dotted, a map says so, and steps that need a step of their own name have no arrow."""
    each = load.map(path=load("a"))
    many = [load("x").after(each) for _ in range(299)]
    picture = cs.visualize(many, format="svg")
    assert boxes_of(picture) == ["load (300 steps)", "load for each"]
    assert [bool(arrow.get("stroke-dasharray")) for arrow in arrows_of(picture)] == [False, True]
    assert boxes_of(cs.visualize(many[:-1], format="svg")) == ["load", "load for each", *["load"] * 298]
