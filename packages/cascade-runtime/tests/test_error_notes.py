"""Notes on errors, and texts from outside in logs."""

from dataclasses import dataclass
from typing import Any

import pytest

from cascade.runtime._support.text import add_note, printable


def test_an_error_that_takes_no_notes_stays_as_it_is() -> None:
    """A frozen dataclass is one; one whose notes are not a list of texts is another."""

    @dataclass(frozen=True)
    class Frozen(Exception):
        text: str

    frozen, odd = Frozen("boom"), ValueError("boom")
    add_note(frozen, "note")
    assert not hasattr(frozen, "__notes__")
    notes: list[Any] = [1]
    odd.__notes__ = notes
    add_note(odd, "note")
    assert notes == [1]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("task:größe 1", "task:größe 1"),
        ("", ""),
        ("a\nb", "a\\x0ab"),
        ("\x00\x7f\xff", "\\x00\\x7fÿ"),
        ("\x80\x9b31m", "\\x80\\x9b31m"),
        ("a\u0100\u200b\u2028\uffff", "aĀ\\u200b\\u2028\\uffff"),
        ("\ud800", "\\ud800"),
        ("\U00010000\U000e0001", "\U00010000\\U000e0001"),
    ],
)
def test_what_cannot_be_printed_is_escaped(text: str, shown: str) -> None:
    """As Python writes it; a log line stays one line, and a terminal obeys nothing in it."""
    assert printable(text) == shown
