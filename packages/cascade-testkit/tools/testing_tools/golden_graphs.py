"""Graphs, and the order of their nodes in each layer, as ``cs.visualize`` and the web page have it.

After a change of that order on purpose: ``python packages/cascade-testkit/tools/testing_tools/golden_graphs.py`` writes it anew.
"""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

PATH = Path(__file__).with_suffix(".json")


class Golden(NamedTuple):
    """A graph; its edges lead to later nodes."""

    nodes: int
    edges: list[tuple[int, int]]
    layers: list[list[int]]
    crossings: int
    """Of its edges, in this order."""


def golden_graphs() -> list[Golden]:
    """Return the graphs that Python and the page have to order alike."""
    return [
        Golden(nodes, [(start, end) for start, end in edges], layers, crossings)
        for nodes, edges, layers, crossings in json.loads(PATH.read_text(encoding="utf-8"))
    ]


def random_graph(seed: int) -> tuple[int, list[tuple[int, int]]]:
    """Return a graph of 8 to 60 nodes, each of which needs one to three of the twelve before it."""
    chosen = random.Random(seed)
    nodes = chosen.randrange(8, 61)
    edges = {
        (chosen.randrange(max(0, end - 12), end), end)
        for end in range(1, nodes)
        for _ in range(chosen.choice([1, 1, 1, 2, 2, 3]))
    }
    return nodes, sorted(edges)


def order_of(centres: list[tuple[float, float]]) -> list[list[int]]:
    """Return the nodes of each layer in their order, from where they are: across, and by layer."""
    layers: dict[float, list[int]] = {}
    for node, (_, layer) in enumerate(centres):
        layers.setdefault(layer, []).append(node)
    return [sorted(layers[layer], key=lambda node: centres[node][0]) for layer in sorted(layers)]


def crossings(paths: list[list[tuple[float, float]]]) -> int:
    """Count the pairs of sections, each from one layer to the next, that cross."""
    between: dict[float, list[tuple[float, float]]] = {}
    for path in paths:
        for (start, layer), (end, below) in pairwise(path):
            if below > layer:
                between.setdefault(layer, []).append((start, end))
    return sum(
        (one[0] - other[0]) * (one[1] - other[1]) < -1e-6
        for found in between.values()
        for at, one in enumerate(found)
        for other in found[at + 1 :]
    )


if __name__ == "__main__":
    from cascade.sdk._pictures.layers import laid_out

    written = []
    for seed in range(24):
        nodes, edges = random_graph(seed)
        layout = laid_out([40.0] * nodes, edges, 80.0)
        written.append([nodes, edges, order_of(layout.centres), crossings(layout.paths)])
    PATH.write_text("[\n" + ",\n".join(map(json.dumps, written)) + "\n]\n", encoding="utf-8")
