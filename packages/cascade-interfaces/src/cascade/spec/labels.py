"""Texts of declarations: labels with a call's arguments for this program only, and reprs with secrets masked. No I/O.

Two declarations that differ look different. Calls and policies are taken as they come, because their modules import this one.
"""

from __future__ import annotations

import reprlib
import string
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from cascade.interfaces.errors import ConfigurationError
from cascade.spec._containers import Deferred

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


_MOST_ARGUMENTS, _DEPTH = 6, 3


class _Arguments(Short):
    """Shows a lazy result without its arguments, so that a graph of any depth has a short repr."""

    def repr1(self, x: Any, level: int) -> str:
        return brief(x._call) if isinstance(x, Deferred) else super().repr1(x, level)


_arguments = _Arguments()


def described(lazy: Any) -> str:
    """Return what an error that may leave this program says: no argument's value is in it."""
    call = lazy._call
    inputs = len(call.args) + len(call.kwargs)
    return f"<{type(lazy).__name__} {call.definition.name} with {inputs} argument{'s' * (inputs != 1)}>"


def called(call: Any, *, method: str = "", fixed: Mapping[str, Any] | None = None) -> str:
    """Return a call as it is written: ``add(1, b=2)``, ``add.map(a=[1, 2])``."""
    if call.definition.structural and call.definition.name in {"item", "attribute"}:
        return brief(call)
    from cascade.interfaces.redaction import (
        Redactor,  # its patterns take time, and most programs show no call
    )

    given = {**(fixed or {}), **call.kwargs}
    arguments = [*map(_shown, call.args), *(f"{name}={_shown(value)}" for name, value in given.items())]
    text = f"{call.definition.name}{method}({_some(map(Redactor.DEFAULT.mask, arguments))})"
    text += "".join(f".{setting}" for setting in settings(call.policies))
    if call.condition is not None:
        text += f".run_if({brief(call.condition.lazy._call)})"
    if call.predecessors:
        text += f".after({_some(brief(lazy._call) for lazy in call.predecessors)})"
    return text


def brief(call: Any, depth: int = _DEPTH) -> str:
    """Return a call without its arguments: ``add(...)``, ``add(...)[0]``."""
    if not call.definition.structural or call.definition.name not in {"item", "attribute"}:
        return f"{call.definition.name}(...)" if call.args or call.kwargs else f"{call.definition.name}()"
    origin, key = call.args
    before = brief(origin._call, depth - 1) if depth else "..."
    return f"{before}[{_shown(key)}]" if call.definition.name == "item" else f"{before}.{key}"


def settings(policies: Any) -> list[str]:
    """Return the methods that gave a task its settings: ``with_retry(3)``, ``with_timeout(2)``."""
    parts = []
    if policies.retry is not None:
        parts.append(f"with_retry({policies.retry.max_attempts})")
    if policies.timeout is not None:
        parts.append(f"with_timeout({policies.timeout:g})")
    if policies.cache is not None:
        parts.append("with_cache()")
    if policies.demands:
        demands = (f"{name}={_shown(amount)}" for name, amount in policies.demands.items())
        parts.append(f"with_constraints({', '.join(demands)})")
    if policies.rate is not None:
        parts.append(f"with_rate({policies.rate.rate!r})")
    if policies.fallback is not None:
        kept = policies.fallback.keeps
        parts.append("keep_failures()" if kept else f"or_else({_shown(policies.fallback.value)})")
    return parts


def _shown(value: object) -> str:
    return _arguments.line(value)


def _some(items: Iterable[str]) -> str:
    listed = list(items)
    return ", ".join(listed[:_MOST_ARGUMENTS] + ["..."] * (len(listed) > _MOST_ARGUMENTS))
