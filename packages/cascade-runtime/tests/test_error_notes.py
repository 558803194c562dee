"""Notes on errors, and texts from outside in logs."""

from dataclasses import dataclass
from typing import Any

import pytest

from cascade.runtime._support.text import OWN, add_note, printable


def test_a_note_is_added_once_and_after_those_that_are_there() -> None:
    """An error that several tasks raise names each of them."""
    error = ValueError("boom")
    error.add_note("of the user")
    for text in ("in task 'a'", "in task 'b'", "in task 'a'", "of the user", "resources could not be closed"):
        add_note(error, text)
    assert error.__notes__ == ["of the user", "in task 'a'", "in task 'b'", "resources could not be closed"]


def test_an_error_keeps_the_last_eight_notes_on_tasks_and_all_others() -> None:
    """It may be raised again and again: of the notes on tasks the oldest gives way, never one of the user."""
    error = ValueError("boom")
    error.add_note("first of the user")
    for number in range(6):
        add_note(error, f"{OWN} {number}")
    error.add_note("second of the user")
    for number in range(6, 11):
        add_note(error, f"{OWN} {number}")
    own = [note for note in error.__notes__ if note.startswith(OWN)]
    assert own == [f"{OWN} {number}" for number in range(3, 11)]
    assert [note for note in error.__notes__ if note not in own] == [
        "first of the user",
        "second of the user",
    ]


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
