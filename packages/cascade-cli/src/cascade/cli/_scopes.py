"""Scopes of constraints, as they are written on a command line. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection

from cascade.interfaces.text import nearest, text_problem

KINDS = ("project", "source", "workflow", "run", "task")
GLOBAL = "global"
MAX_VALUE = 256
"""Characters of the longest name or pattern; engines reject longer patterns."""
_EVERYTHING = ("all", "everything", "any", "*")
_UNNAMED = re.compile(r".+-\d+")
_WRITE = (
    "write global, project:ID, source:ID, workflow:NAME, run:ID or task:PATTERN; a bare name is an engine"
)


class BareName(str):
    """A source that was written without its kind, as ``press-3``: an engine must have this name."""

    __slots__ = ()


def parse_scope(text: str) -> str:
    """Return a scope as engines read it; a bare name is an engine, a :class:`BareName`.

    >>> parse_scope("task:resize*"), parse_scope("press-line-3"), parse_scope("global")
    ('task:resize*', 'source:press-line-3', 'global')

    :raises ValueError: with the problem and what to write instead.
    """
    kind, separator, value = text.partition(":")
    if not separator:
        kind, value = (GLOBAL, "") if text == GLOBAL else ("source", text)
    elif kind not in KINDS:
        raise ValueError(f"{text!r} is not a scope: {_nearest(kind)}")
    if separator or kind != GLOBAL:
        _check_value(text, kind, value)
    scope = f"{kind}:{value}" if value else kind
    return scope if separator or kind == GLOBAL else BareName(scope)


def _check_value(text: str, kind: str, value: str) -> None:
    if not value.strip():
        raise ValueError(f"{text!r} names no {kind}: write {kind}:NAME, or global for everything")
    if len(value) > MAX_VALUE:
        raise ValueError(f"the scope is longer than {MAX_VALUE} characters")
    if problem := text_problem(value):
        raise ValueError(f"the scope {problem}")


def instead_of(name: str, engines: Collection[str], *, is_set: bool) -> str:
    """Return what a person may have meant with a bare name that no engine has.

    :param is_set: whether the broker has constraints of a source of this name.
    """
    if near := nearest(name, engines):
        return near
    if name.lower() in _EVERYTHING:
        return GLOBAL
    # the names that engines have by themselves, which retain nothing, end in a number
    return f"{'source' if is_set or _UNNAMED.fullmatch(name) else 'task'}:{name}"


def _nearest(kind: str) -> str:
    if kind.strip().lower() == GLOBAL:
        return "global takes no name; write global"
    near = nearest(kind.strip().lower(), KINDS)
    return f"did you mean {near}:?" if near else _WRITE
