"""Patterns of task names match as ``fnmatch.fnmatchcase`` does, in bounded time."""

from fnmatch import fnmatchcase

import pytest
from admission_parts import is_plain, pattern_problem, task_matcher
from hypothesis import given
from hypothesis import strategies as st

patterns = st.text(alphabet="abc*?[]!-.^\\", max_size=10)
names = st.text(alphabet="abc*?[]!-.^\\\n", max_size=10)


@given(patterns, names)
def test_a_pattern_agrees_with_fnmatchcase(pattern: str, name: str) -> None:
    """For any pattern and name the answer is that of ``fnmatch.fnmatchcase``; a plain one matches itself alone."""
    expected = fnmatchcase(name, pattern)
    assert bool(task_matcher(pattern)(name)) == expected
    assert not is_plain(pattern) or (name == pattern) == expected


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("*a" * 8, ""),
        ("[a-z]" * 8, ""),
        ("[\u0430\u0431]*", ""),
        ("\u0430-*", ""),
        ("x" * 256, ""),
        ("x" * 257, "longer than 256 characters"),
        ("*a" * 9, "more than 8 '*'"),
        ("[a]" * 9, "more than 8 '['"),
        ("[\u0100-\uffff]", "beyond U+00FF"),
    ],
)
def test_patterns_that_could_keep_the_engine_busy_are_not_accepted(pattern: str, problem: str) -> None:
    """The reason names the limit; what a person would write has none."""
    assert problem in pattern_problem(pattern)
    assert bool(problem) == bool(pattern_problem(pattern))
