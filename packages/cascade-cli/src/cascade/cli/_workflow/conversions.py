"""From a text of the command line to a value of a type. No I/O."""

from __future__ import annotations

import collections.abc
import datetime as dt
import enum
import inspect
import json
import types
from collections.abc import Callable
from pathlib import PurePath
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dt.date: "a date such as 2026-11-21",
    dt.datetime: "a time such as 2026-11-21T03:00",
}
_CONTAINERS = {
    list: (list, list),
    tuple: (list, tuple),
    set: (list, set),
    frozenset: (list, frozenset),
    dict: (dict, dict),
    collections.abc.Sequence: (list, list),
    collections.abc.Iterable: (list, list),
    collections.abc.Collection: (list, list),
    collections.abc.Mapping: (dict, dict),
}


class Conversion(NamedTuple):
    """How a text becomes a value."""

    name: str
    """The type as the help shows it."""
    convert: Callable[[str], Any]
    """Return the value.

    :raises ValueError: with what is needed, or what the type itself says.
    """


def conversion_of(kind: Any) -> Conversion:
    """Return the conversion for an annotation, or for the ``type=`` of a ``cs.Param``."""
    if get_origin(kind) is Annotated:
        return conversion_of(get_args(kind)[0])
    if kind in (inspect.Parameter.empty, Any, str, object):
        return Conversion("text", str)
    origin = get_origin(kind) or kind
    if origin in (Union, types.UnionType):
        return _of_union([each for each in get_args(kind) if each is not type(None)])
    if origin is Literal:
        return _of_choices({str(value): value for value in get_args(kind)})
    if origin in _CONTAINERS:
        return _of_json(*_CONTAINERS[origin])
    return _of_class(kind) if isinstance(kind, type) else _of_callable(kind)


def _of_callable(kind: Any) -> Conversion:
    name = getattr(kind, "__name__", "")
    return Conversion(name if name.isidentifier() else "value", _plain(kind))


def truth(text: str) -> bool:
    """Read a boolean.

    :raises ValueError: if it is neither.
    """
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(f"needs true or false, not {text!r}")
    return word in _TRUE


def _of_class(kind: type) -> Conversion:
    if kind is bool:
        return Conversion("bool", truth)
    if issubclass(kind, enum.Enum):
        return _of_choices({**{str(each.value): each for each in kind}, **dict(kind.__members__)}, kind)
    if issubclass(kind, dt.date):
        return Conversion(kind.__name__, _checked(kind.fromisoformat, _WORDS.get(kind)))
    name = "path" if issubclass(kind, PurePath) else kind.__name__
    return Conversion(name, _checked(kind, _WORDS.get(kind)))


def _of_choices(values: dict[str, Any], kind: type[enum.Enum] | None = None) -> Conversion:
    shown = "|".join(dict.fromkeys(str(each.value) for each in kind) if kind is not None else values)

    def convert(text: str) -> Any:
        if text not in values:
            raise ValueError(f"needs one of {shown.replace('|', ', ')}, not {text!r}")
        return values[text]

    return Conversion(shown, convert)


def _of_union(kinds: list[Any]) -> Conversion:
    options = [conversion_of(kind) for kind in kinds]

    def convert(text: str) -> Any:
        problems = []
        for option in options:
            try:
                return option.convert(text)
            except ValueError as error:
                problems.append(str(error))
        raise ValueError("; or ".join(problems))

    return Conversion("|".join(option.name for option in options), convert)


def _of_json(found: type, made: Callable[[Any], Any]) -> Conversion:
    what = "object" if found is dict else "array"
    example = '{"a": 1}' if found is dict else "[1, 2]"

    def convert(text: str) -> Any:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, found):
            raise ValueError(f"needs a JSON {what} such as {example}, not {text!r}")
        return made(value)

    return Conversion(f"JSON {what}", convert)


def _checked(make: Callable[[str], Any], needed: str | None) -> Callable[[str], Any]:
    if needed is None:
        return _plain(make)

    def convert(text: str) -> Any:
        try:
            return make(text)
        except ValueError:
            raise ValueError(f"needs {needed}, not {text!r}") from None

    return convert


def _plain(make: Callable[[str], Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return make(text)
        except Exception as error:  # whatever a user's own type raises
            detail = f": {error}" if str(error) else ""
            raise ValueError(f"{text!r} cannot be converted ({type(error).__name__}{detail})") from error

    return convert
