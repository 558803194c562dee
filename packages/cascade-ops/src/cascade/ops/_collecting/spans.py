"""The numbers of the events of one attempt of a run that are stored, as ranges. No I/O."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

Range = tuple[int, int]


class Spans:
    """A set of numbers from 0, with exactly known holes.

    >>> spans = Spans()
    >>> [spans.add(number) for number in (0, 1, 4, 4)]
    [True, True, True, False]
    >>> spans.ranges, spans.missing
    ([(0, 1), (4, 4)], [(2, 3)])
    """

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, ranges: Iterable[Sequence[int]] = ()) -> None:
        pairs = sorted((int(first), int(last)) for first, last in ranges)
        self._firsts = [first for first, _ in pairs]
        self._lasts = [last for _, last in pairs]

    def __contains__(self, number: int) -> bool:
        place = bisect_right(self._firsts, number) - 1
        return place >= 0 and number <= self._lasts[place]

    def add(self, number: int) -> bool:
        """Add a number; return whether it was missing."""
        place = bisect_right(self._firsts, number)
        if place and number <= self._lasts[place - 1]:
            return False
        joins_left = bool(place) and self._lasts[place - 1] == number - 1
        joins_right = place < len(self._firsts) and self._firsts[place] == number + 1
        if joins_left and joins_right:
            self._lasts[place - 1] = self._lasts.pop(place)
            del self._firsts[place]
        elif joins_left:
            self._lasts[place - 1] = number
        elif joins_right:
            self._firsts[place] = number
        else:
            self._firsts.insert(place, number)
            self._lasts.insert(place, number)
        return True

    @property
    def upto(self) -> int:
        """The highest number; -1 if there is none."""
        return self._lasts[-1] if self._lasts else -1

    @property
    def ranges(self) -> list[Range]:
        """What is there."""
        return [*zip(self._firsts, self._lasts, strict=True)]

    @property
    def missing(self) -> list[Range]:
        """The holes below the highest number."""
        ends = [-1, *self._lasts]
        return [
            (end + 1, first - 1)
            for end, first in zip(ends, self._firsts, strict=False)
            if end + 1 <= first - 1
        ]
