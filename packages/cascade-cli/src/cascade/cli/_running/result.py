"""A task's value as JSON, and as a person reads it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from cascade.cli.output import Output
from cascade.interfaces.text import printable


def as_json(value: Any) -> Any:
    """Return what JSON can carry of a value: itself, with dataclasses as objects and the rest as text."""
    try:
        return json.loads(json.dumps(value, default=_other, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        # keys that are not texts, NaN, a value within itself
        return repr(value)


def show(value: Any, output: Output) -> None:
    """Print a value: a text as it is, line by line, everything else as Python writes it; None is not printed."""
    if value is None:
        return
    for line in (value if isinstance(value, str) else repr(value)).split("\n"):
        output.line(line)


def _other(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, set | frozenset):
        return list(value)
    item = getattr(value, "item", None)  # a scalar of NumPy
    if callable(item) and getattr(value, "shape", None) == ():
        return item()
    return printable(str(value))
