"""Shell-style patterns of task names, bounded because they come from the broker. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

MAX_PATTERN = 256
"""Characters of the longest pattern that is accepted."""
MAX_WILDCARDS = 8
"""The most ``*``, and the most ``[``, of a pattern that is accepted."""


def pattern_problem(pattern: str) -> str:
    """Return why a pattern is not accepted, or an empty text.

    The limits keep the work for a hostile pattern to milliseconds: ``re`` backtracks over each ``*``
    on its own, and it expands a range of characters beyond U+00FF when it compiles a set.
    """
    if len(pattern) > MAX_PATTERN:
        return f"the task pattern is longer than {MAX_PATTERN} characters"
    for wildcard in "*[":
        if pattern.count(wildcard) > MAX_WILDCARDS:
            return f"the task pattern has more than {MAX_WILDCARDS} {wildcard!r}"
    if "[" in pattern and "-" in pattern and max(pattern) > "\xff":
        return "the task pattern has '[', '-' and characters beyond U+00FF: list the characters without '-'"
    return ""


def is_plain(pattern: str) -> bool:
    """Return whether a pattern matches only its own text."""
    return not set(pattern) & set("*?[")


@lru_cache(maxsize=1024)
def task_matcher(pattern: str) -> Callable[[str], object]:
    """Return a function with the answer of ``fnmatch.fnmatchcase`` for a name."""
    from fnmatch import translate  # only a constraint on tasks needs it

    return re.compile(translate(pattern)).match
