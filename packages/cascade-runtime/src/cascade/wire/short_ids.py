"""Ids of runs, short enough for a line, so that no two look alike. No I/O."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

LONGEST = 16
"""Characters of an id that is shown whole."""
_HEAD, _BEFORE, _AFTER = 8, 5, 8
_TAIL = 9  # the time of a tick, as in nightly~2026-11-25T03:00:00Z
_RANDOM = re.compile("[0-9a-f]+")


def shortened(run_ids: Iterable[str]) -> dict[str, str]:
    """Return how each of some ids is shown beside the others: its ends, of a random one the beginning, and where that is not
    enough what differs.

    >>> found = shortened(["audit~2026-11-24T03:00:00Z", "nightly-audit-2026-11-25", "9a81f00b2c3d4e5f9a81f00b"])
    >>> list(found.values())
    ['audit~20…03:00:00Z', 'nightly-…026-11-25', '9a81f00b']
    """
    found = {each: _short(each) for each in run_ids}
    for alike in _alike(found):
        at = max(_common(alike) - _BEFORE, _HEAD)
        for each in alike:
            found[each] = (
                f"{each[:_HEAD]}…{each[at : at + _BEFORE + _AFTER]}" if len(each) > LONGEST else each
            )
    for alike in _alike(found):
        found |= {each: each for each in alike}
    return found


def _short(run_id: str) -> str:
    if len(run_id) <= LONGEST:
        return run_id
    return run_id[:_HEAD] if _RANDOM.fullmatch(run_id) else f"{run_id[:_HEAD]}…{run_id[-_TAIL:]}"


def _common(ids: list[str]) -> int:
    """Return with how many of the same characters all these ids begin."""
    first, last = min(ids), max(ids)
    return next(
        (at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first)
    )


def _alike(found: dict[str, str]) -> list[list[str]]:
    """Return the ids that are shown in the same way."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for run_id, short in found.items():
        groups[short].append(run_id)
    return [group for group in groups.values() if len(group) > 1]
