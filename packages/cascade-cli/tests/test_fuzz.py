"""Any bytes on any topic leave the lists and the picture of ``watch`` running."""

import json
import random

import pytest
from cli_modules import Changes, Frame, Rates, draw, in_words, take
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from cascade.wire import View, constraint_rows, engine_rows, run_rows
from testing_tools.hostile import CONTROL, OTHERS, WALL, messages

NOW = 100.0


def show(view: View, changes: Changes, rates: Rates) -> None:
    """Do with a view what the commands do: rows as strict JSON, the picture at two widths, the lines of changes."""
    json.dumps([*engine_rows(view, NOW), *run_rows(view, NOW), *constraint_rows(view, NOW)], allow_nan=False)
    for kind, row in changes.since_last(view, NOW):
        assert "\x1b" not in repr(in_words(kind, row))
    picture = take(view, rates, now=NOW, wall=WALL)
    for width in (80, 30):
        lines = draw(picture, Frame(width=width, height=24), title="t", link="l", lost=False)
        assert all(cell_len(line.plain) <= width for line in lines)
        assert not any("\x1b" in line.plain for line in lines)


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 2**32))
def test_lists_and_pictures_show_any_messages(seed: int) -> None:
    """No message raises, moves a cursor or makes a line too wide."""
    view, changes, rates = View(), Changes(), Rates()
    for number, (topic, payload) in enumerate(messages(seed, 60, CONTROL + OTHERS)):
        view.fold(topic, payload, now=NOW, retained=number % 2 == 0)
    show(view, changes, rates)


@pytest.mark.nightly
def test_lists_and_pictures_show_20_000_messages() -> None:
    """The long form, with another seed each time."""
    seed = random.randrange(2**32)
    print("seed", seed)
    view, changes, rates = View(), Changes(), Rates()
    for number, (topic, payload) in enumerate(messages(seed, 20_000, CONTROL + OTHERS)):
        view.fold(topic, payload, now=NOW, retained=number % 2 == 0)
        if number % 100 == 0:
            show(view, changes, rates)
