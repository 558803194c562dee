"""Patterns of task names match as ``fnmatch.fnmatchcase`` does, in bounded time."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.runtime._admission.glob import Glob

patterns = st.text(alphabet="abc*?[]!-.^\\", max_size=10)
names = st.text(alphabet="abc*?[]!-.^\\\n", max_size=10)


@given(patterns, names)
def test_a_pattern_agrees_with_fnmatchcase(pattern: str, name: str) -> None:
    """For any pattern and name the answer is that of ``fnmatch.fnmatchcase``."""
    assert Glob(pattern).matches(name) == fnmatchcase(name, pattern)


@given(st.text(max_size=20))
def test_a_star_matches_everything_and_a_plain_name_itself(name: str) -> None:
    """The two usual patterns."""
    assert Glob("*").matches(name)
    assert not Glob(name).plain or Glob(name).matches(name)


@given(st.text(alphabet="abcd!!---]^\u0416", max_size=8), st.sampled_from("abcd!-]^[\u0416\uffff"))
def test_a_bracketed_set_agrees_with_fnmatchcase(content: str, character: str) -> None:
    """Ranges, empty ranges, negations and brackets in a set mean what they mean to the standard library."""
    assert Glob(f"[{content}]").matches(character) == fnmatchcase(character, f"[{content}]")


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*a" * 100 + "b", "a" * 400),
        ("a*a*a*a*a*b", "a" * 20_000),
        ("*" + "a?" * 60 + "*" + "[ab]" * 30 + "c", "a" * 20_000),
    ],
)
def test_a_hostile_pattern_costs_no_more_than_its_length_allows(pattern: str, name: str) -> None:
    """A pattern that keeps a backtracking matcher busy for ever is answered at once."""
    assert not Glob(pattern).matches(name)
