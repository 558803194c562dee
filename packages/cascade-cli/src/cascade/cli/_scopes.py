"""Scopes of constraints, as they are written on a command line. No I/O."""

from __future__ import annotations

from cascade.interfaces.text import nearest, text_problem

KINDS = ("project", "source", "run", "task")
GLOBAL = "global"
MAX_VALUE = 256
"""Characters of the longest name or pattern; engines reject longer patterns."""
_WRITE = "write global, project:ID, source:ID, run:ID or task:PATTERN; a bare name is a source"


def parse_scope(text: str) -> str:
    """Return a scope as engines read it; a bare name is a source.

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
    return f"{kind}:{value}" if value else kind


def _check_value(text: str, kind: str, value: str) -> None:
    if not value.strip():
        raise ValueError(f"{text!r} names no {kind}: write {kind}:NAME, or global for everything")
    if len(value) > MAX_VALUE:
        raise ValueError(f"the scope is longer than {MAX_VALUE} characters")
    if problem := text_problem(value):
        raise ValueError(f"the scope {problem}")


def _nearest(kind: str) -> str:
    if kind.strip().lower() == GLOBAL:
        return "global takes no name; write global"
    near = nearest(kind.strip().lower(), KINDS)
    return f"did you mean {near}:?" if near else _WRITE
