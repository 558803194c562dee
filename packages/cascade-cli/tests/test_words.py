"""Scopes, durations and rates as they are written on a command line."""

from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.cli.durations import parse_duration, show_duration
from cascade.cli.params import RATE, SCOPE
from cascade.interfaces.topics import constraint_topic, parse_constraint_topic


def parse_scope(text: str) -> Any:
    """What a command makes of a scope."""
    return SCOPE.convert(text, None, None)


def parse_rate(text: str) -> Any:
    """What a command makes of a rate."""
    return RATE.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "scope"),
    [
        ("global", "global"),
        ("press-line-3", "source:press-line-3"),
        ("source:a:b", "source:a:b"),
        ("project:acme", "project:acme"),
        ("run:9a81", "run:9a81"),
        ("task:resize*", "task:resize*"),
        ("line 3/press", "source:line 3/press"),
    ],
)
def test_a_scope_is_read(text: str, scope: str) -> None:
    """A bare name is an engine."""
    assert parse_scope(text) == scope


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tsk:resize", "did you mean task:"),
        ("Source:x", "did you mean source:"),
        (
            "globl:x",
            "write global, project:ID, source:ID, workflow:NAME, run:ID or task:PATTERN; a bare name is an engine",
        ),
        ("global:x", "write global"),
        ("run:", "names no run: write run:NAME"),
        ("task: ", "names no task"),
        ("", "names no source"),
        ("task:\x1b", "has a control character"),
        (f"task:{'x' * 257}", "longer than 256"),
    ],
)
def test_a_bad_scope_is_answered_with_what_to_write(text: str, problem: str) -> None:
    """The nearest kind, or all of them."""
    with pytest.raises(click.BadParameter, match=problem):
        parse_scope(text)


@given(st.text())
def test_every_scope_that_is_taken_has_a_topic(text: str) -> None:
    """Any text is a scope whose topic leads back to it, or a usage error."""
    try:
        scope = parse_scope(text)
    except click.BadParameter:
        return
    assert parse_constraint_topic(constraint_topic(scope, "pause")) == (scope, "pause")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), ("1.5h", 5400)]
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    """A number and its unit."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("90", "did you mean 90s"),
        ("0s", "more than 0"),
        ("9999d", "ten years"),
        ("5 min", "write 90s"),
        ("", "write"),
    ],
)
def test_a_bad_duration_is_answered_with_what_to_write(text: str, problem: str) -> None:
    """A number without a unit means seconds in most tools, so that is proposed."""
    with pytest.raises(ValueError, match=problem):
        parse_duration(text)


@given(st.floats(0, 3e8))
def test_a_duration_is_shown_in_a_unit_that_can_be_read_again(seconds: float) -> None:
    """It is never more than what it stands for."""
    text = show_duration(seconds)
    assert text[:-1].isdigit()
    assert int(text[:-1]) == 0 or parse_duration(text) <= seconds


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10/m", "10/m"), ("10 / min", "10/min"), ("5/s", "5/s"), ("0.5", 0.5), ("3/hours", "3/hours")],
)
def test_a_rate_is_read(text: str, rate: float | str) -> None:
    """As engines read it."""
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    ("text", "problem"),
    [("10/x", "write 10/s"), ("fast", "write"), ("-1", "write"), ("0", "cascade pause"), ("0/m", "pause")],
)
def test_a_bad_rate_is_answered_with_what_to_write(text: str, problem: str) -> None:
    """A rate of 0 is a pause."""
    with pytest.raises(click.BadParameter, match=problem):
        parse_rate(text)
