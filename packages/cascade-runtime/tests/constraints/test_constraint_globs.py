"""Patterns of task names match as the standard library's do."""

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from cascade.runtime.constraints.glob import Glob

patterns = st.text(alphabet="ab*?[]!-.\\", max_size=10)
names = st.text(alphabet="ab*?[]!-.\\\n", max_size=10)


@given(patterns, names)
def test_a_pattern_agrees_with_fnmatchcase(pattern: str, name: str) -> None:
    """For any pattern and name the answer is that of ``fnmatch.fnmatchcase``."""
    assert Glob(pattern).matches(name) == fnmatchcase(name, pattern)


@given(st.text(max_size=20))
def test_a_star_matches_everything_and_a_plain_name_itself(name: str) -> None:
    """The two patterns that everybody uses."""
    assert Glob("*").matches(name)
    assert not Glob(name).plain or Glob(name).matches(name)


def test_a_hostile_pattern_costs_no_more_than_its_length_allows() -> None:
    """A pattern that keeps a backtracking matcher busy for ever is answered at once."""
    assert not Glob("*a" * 100 + "b").matches("a" * 400)
