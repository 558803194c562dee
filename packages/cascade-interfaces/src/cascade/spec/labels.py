"""Labels: names of calls that show their arguments, for this program only. No I/O."""

from __future__ import annotations

import reprlib
import string
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from cascade.interfaces.errors import ConfigurationError

_CHARACTERS, _FIELDS = 60, 3


def label_fields(name: str, parameters: Iterable[str]) -> list[str]:
    """Return the parameters that a name has in braces; none if it is not a template.

    :raises ConfigurationError: if it has other words in braces.
    """
    try:
        fields = [field for _, field, _, _ in string.Formatter().parse(name) if field is not None]
    except ValueError:  # braces that do not match are a part of the name
        return []
    known = list(parameters)
    for field in fields:
        if field not in known:
            raise ConfigurationError(
                "named(name)",
                f"{{{field}}} is not a parameter of the task, which has {', '.join(known) or 'none'}; "
                "write {{ and }} for braces",
            )
    return fields


def filled(template: str, arguments: Mapping[str, Any]) -> str:
    """Return a label with short forms of the arguments; the template itself if one is missing.

    >>> filled("parse {path}", {"path": "a.csv"})
    'parse a.csv'
    """
    shown = {name: value if type(value) is str else short(value) for name, value in arguments.items()}
    try:
        label = template.format_map(shown)
    except Exception:  # a missing argument, or a format that does not fit
        return template
    return label if len(label) <= 2 * _CHARACTERS else label[: 2 * _CHARACTERS - 1] + "…"


def short(value: object) -> str:
    """Return ``repr(value)`` on one short line; never raises.

    >>> short("a" * 100)
    "'aaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaaaaaa'"
    """
    return _short.line(value)


class Short(reprlib.Repr):
    """Shows the first fields of a dataclass only, because its own ``repr`` could be of any length."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxstring = self.maxother = self.maxlong = 56

    def line(self, value: object) -> str:
        """Return ``repr(value)`` on one short line; never raises."""
        try:
            text = self.repr(value)
        except Exception:
            text = f"<{type(value).__name__}>"
        text = " ".join(text.split())
        return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1] + "…"

    def repr_instance(self, x: Any, level: int) -> str:
        if not is_dataclass(x) or isinstance(x, type) or level <= 0:
            return super().repr_instance(x, level)
        names = [field.name for field in fields(x) if field.repr]
        shown = [f"{name}={self.repr1(getattr(x, name), level - 1)}" for name in names[:_FIELDS]]
        return f"{type(x).__name__}({', '.join(shown + ['...'] * (len(names) > _FIELDS))})"


_short = Short()
