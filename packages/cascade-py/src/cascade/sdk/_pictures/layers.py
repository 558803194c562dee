"""Places the boxes of a graph in layers, so that every arrow leads downwards. No I/O.

The method has the four steps of K. Sugiyama, S. Tagawa and M. Toda, "Methods for Visual Understanding of
Hierarchical System Structures" (1981): layers, points where an arrow passes a layer, order, positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

Point: TypeAlias = tuple[float, float]

GAP = 24.0
"""Pixels between two boxes of one layer."""
_GAP_OF_ARROWS = 10.0
_ROUNDS = 8
_MOST = 6_000
"""Boxes and points; further arrows are drawn straight, so that a dense graph does not take minutes."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything is, in pixels from the upper left corner."""

    width: float
    height: float
    centres: list[Point]
    """By box."""
    paths: list[list[Point]]
    """By arrow: the centres of its two boxes, and between them where it passes the layers."""


def laid_out(widths: Sequence[float], arrows: Sequence[tuple[int, int]], pitch: float) -> Layout:
    """Return the places of boxes and arrows.

    :param widths: the width of each box in pixels.
    :param arrows: pairs of boxes; an arrow that does not lead to a later box takes no part in the choice of layers.
    :param pitch: pixels from the middle of one layer to the middle of the next.
    """
    layer_of = _layers(len(widths), arrows)
    sizes = [*widths]
    chains = [_chain(arrow, layer_of, sizes) for arrow in arrows]
    layers = _rows(layer_of)
    above: list[list[int]] = [[] for _ in sizes]
    below: list[list[int]] = [[] for _ in sizes]
    for chain in chains:
        for one, other in pairwise(chain):
            upper, lower = sorted((one, other), key=layer_of.__getitem__)
            if layer_of[upper] + 1 == layer_of[lower]:
                below[upper].append(lower)
                above[lower].append(upper)
    layers = _ordered(layers, above, below)
    across = _positions(layers, sizes, above, below)
    points = [(x, (layer + 0.5) * pitch) for x, layer in zip(across, layer_of, strict=True)]
    return Layout(
        max((x + size / 2 for x, size in zip(across, sizes, strict=True)), default=0.0),
        len(layers) * pitch,
        points[: len(widths)],
        [[points[each] for each in chain] for chain in chains],
    )


def _layers(count: int, arrows: Sequence[tuple[int, int]]) -> list[int]:
    """Return the layer of each box: one more than the lowest of those that it needs."""
    needs: list[list[int]] = [[] for _ in range(count)]
    for source, target in arrows:
        if source < target:
            needs[target].append(source)
    layers: list[int] = []
    for sources in needs:
        layers.append(max((layers[each] + 1 for each in sources), default=0))
    return layers


def _chain(arrow: tuple[int, int], layer_of: list[int], sizes: list[float]) -> list[int]:
    """Return the boxes of an arrow, and between them a new point for each layer that it passes."""
    source, target = arrow
    first, last = layer_of[source], layer_of[target]
    if len(sizes) + abs(last - first) > _MOST:
        return [source, target]
    step = 1 if first < last else -1
    points = []
    for layer in range(first + step, last, step):
        points.append(len(sizes))
        sizes.append(0.0)
        layer_of.append(layer)
    return [source, *points, target]


def _rows(layer_of: list[int]) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in range(max(layer_of, default=-1) + 1)]
    for each, layer in enumerate(layer_of):
        rows[layer].append(each)
    return rows


def _ordered(layers: list[list[int]], above: list[list[int]], below: list[list[int]]) -> list[list[int]]:
    """Return the layers in the order that had the fewest crossings of all sweeps.

    A sweep puts each box near the mean of its neighbours, then swaps boxes beside each other as long as that removes
    crossings (E. R. Gansner et al., "A Technique for Drawing Directed Graphs", 1993). The web page has the same order.
    """
    best, least = layers, _crossings(layers, below)
    for number in range(_ROUNDS):
        if not least:
            break
        near, start = (above, 1) if number % 2 == 0 else (below, len(layers) - 2)
        layers = _swept(layers, near, range(start, len(layers)) if start == 1 else range(start, -1, -1))
        _swap(layers, (above, below))
        found = _crossings(layers, below)
        if found < least:
            best, least = [[*layer] for layer in layers], found
    return best


def _swap(layers: list[list[int]], sides: tuple[list[list[int]], ...]) -> None:
    """Swap boxes that are neighbours in their layer as long as fewer of their arrows cross then."""
    place = {each: at for layer in layers for at, each in enumerate(layer)}

    def saved(one: int, other: int) -> int:
        pairs = [(place[left], place[right]) for near in sides for left in near[one] for right in near[other]]
        return sum((left > right) - (left < right) for left, right in pairs)

    for _ in range(_ROUNDS):
        swapped = False
        for layer in layers:
            for at in range(len(layer) - 1):
                one, other = layer[at], layer[at + 1]
                if saved(one, other) > 0:
                    layer[at : at + 2] = other, one
                    place[one], place[other] = at + 1, at
                    swapped = True
        if not swapped:
            return


def _swept(layers: list[list[int]], near: list[list[int]], order: range) -> list[list[int]]:
    """Return the layers, each sorted by the mean place of its boxes' neighbours in the layer before."""
    place = {each: float(at) for layer in layers for at, each in enumerate(layer)}
    swept = list(layers)
    for number in order:
        swept[number] = sorted(layers[number], key=_mean_of(near, place))
        place.update((each, float(at)) for at, each in enumerate(swept[number]))
    return swept


def _mean_of(near: list[list[int]], place: dict[int, float]) -> Callable[[int], float]:
    def mean(each: int) -> float:
        return sum(place[other] for other in near[each]) / len(near[each]) if near[each] else place[each]

    return mean


def _crossings(layers: list[list[int]], below: list[list[int]]) -> int:
    """Return how many pairs of arrows cross, by counting inversions in a binary indexed tree."""
    place = {each: at for layer in layers for at, each in enumerate(layer)}
    crossed = 0
    for layer, under in pairwise(layers):
        tree, added = [0] * (len(under) + 1), 0
        for each in layer:
            ends = sorted(place[other] for other in below[each])
            crossed += sum(added - _sum_until(tree, end + 1) for end in ends)
            for end in ends:
                _add(tree, end + 1)
            added += len(ends)
    return crossed


def _sum_until(tree: list[int], index: int) -> int:
    total = 0
    while index:
        total += tree[index]
        index &= index - 1
    return total


def _add(tree: list[int], index: int) -> None:
    while index < len(tree):
        tree[index] += 1
        index += index & -index


def _positions(
    layers: list[list[int]], sizes: list[float], above: list[list[int]], below: list[list[int]]
) -> list[float]:
    """Return the x of each box: near the mean of its neighbours, in the order of its layer, without overlap."""
    across = [0.0] * len(sizes)
    for layer in layers:
        _place(layer, [0.0] * len(layer), sizes, across)
    for number in range(_ROUNDS):
        near = above if number % 2 == 0 else below
        for layer in layers if near is above else reversed(layers):
            wished = [_mean(across, near[each], across[each]) for each in layer]
            _place(layer, wished, sizes, across)
    left = min((x - size / 2 for x, size in zip(across, sizes, strict=True)), default=0.0)
    return [x - left for x in across]


def _mean(across: list[float], near: list[int], otherwise: float) -> float:
    return sum(across[each] for each in near) / len(near) if near else otherwise


def _place(layer: list[int], wished: list[float], sizes: list[float], across: list[float]) -> None:
    """Set the x of a layer's boxes: as near to what is wished as order and gaps permit, by least squares.

    Boxes that would overlap form a block that moves as a whole (pool adjacent violators).
    """
    offsets = [0.0]
    for left, right in pairwise(layer):
        gap = GAP if sizes[left] and sizes[right] else _GAP_OF_ARROWS
        offsets.append(offsets[-1] + (sizes[left] + sizes[right]) / 2 + gap)
    # sum of the wished places, and how many boxes
    blocks: list[tuple[float, int]] = []
    # an empty layer has one offset too many
    for wish, offset in zip(wished, offsets, strict=False):
        total, count = wish - offset, 1
        while blocks and blocks[-1][0] * count >= total * blocks[-1][1]:
            before, boxes = blocks.pop()
            total, count = total + before, count + boxes
        blocks.append((total, count))
    starts = [total / count for total, count in blocks for _ in range(count)]
    for each, start, offset in zip(layer, starts, offsets, strict=False):
        across[each] = start + offset
