"""The subjects of filters: which cover which. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from cascade.interfaces.subjects import subjects_of
from cascade.interfaces.topics import matches, status_topic

MAX_SUBJECT = 2_048
"""Bytes: nats-server takes 4,096 for one line of its protocol, and a line holds two subjects and more."""
WILL = ".=will"
"""The end of the key that an unnamed process keeps alive; no topic has it, as ``=`` stands before two digits."""

_STATUS = status_topic("").split("/")[:-1]


def cover(filters: Iterable[str]) -> list[str]:
    """Return subjects that match at least what the filters match, of which no two match the same.

    >>> cover(["a/b", "a/#", "c"])
    ['a', 'a.>', 'c']
    """
    subjects = dict.fromkeys(subject for each in filters for subject in subjects_of(each))
    wild: list[str] = []
    for subject in subjects:
        if "*" in subject or ">" in subject:
            _add_disjoint(wild, subject)
    exact = [each for each in subjects if "*" not in each and ">" not in each]
    return sorted({each for each in exact if not any(_overlap(each, other) for other in wild)} | {*wild})


def with_wills(subjects: Iterable[str]) -> list[str]:
    """Add the keys of the unnamed processes whose status the subjects match."""
    return cover_subjects(
        [*subjects, *(f"{each}{WILL}" for each in subjects if not each.endswith(">") and _is_status(each))]
    )


def cover_subjects(subjects: Iterable[str]) -> list[str]:
    """Return the subjects, or wider ones, so that no two of them match the same."""
    disjoint: list[str] = []
    for subject in subjects:
        _add_disjoint(disjoint, subject)
    return disjoint


def is_internal(subject: str) -> bool:
    """Return whether a subject is one of the server or of a client library: ``>`` matches them."""
    return subject.startswith(("$", "_INBOX."))


def first_match(filters: Iterable[str], topic: str) -> str | None:
    """Return the first filter that matches a topic, or None."""
    return next((each for each in filters if each == topic or matches(each, topic)), None)


def _is_status(subject: str) -> bool:
    tokens = subject.split(".")
    return len(tokens) == len(_STATUS) + 1 and _overlap(".".join(tokens[:-1]), ".".join(_STATUS))


def _add_disjoint(subjects: list[str], subject: str) -> None:
    """Add a subject to others that match different messages; join it with those that match the same."""
    while (other := next((each for each in subjects if _overlap(each, subject)), None)) is not None:
        subjects.remove(other)
        subject = _join(other, subject)
    subjects.append(subject)


def _overlap(one: str, other: str) -> bool:
    mine, theirs = one.split("."), other.split(".")
    for left, right in zip(mine, theirs, strict=False):
        if ">" in (left, right):
            return True
        if left != right and "*" not in (left, right):
            return False
    return len(mine) == len(theirs)


def _join(one: str, other: str) -> str:
    """Return one subject that matches what either matches."""
    tokens: list[str] = []
    for left, right in zip(one.split("."), other.split("."), strict=False):
        if ">" in (left, right):
            return ".".join([*tokens, ">"])
        tokens.append(left if left == right else "*")
    return ".".join(tokens)
