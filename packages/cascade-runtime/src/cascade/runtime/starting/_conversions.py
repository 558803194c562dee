"""From a JSON value, or a text of the command line, to a value of a type, and the JSON Schema of the type. No I/O.

``msgspec.convert`` decides what a JSON value may be. A thin layer reads what people type: yes and no, local times, names of
choices, JSON texts.
"""

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

import msgspec

_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dt.date: "a date such as 2026-11-21",
    dt.datetime: "a time such as 2026-11-21T03:00",
}
_ITERABLE = collections.abc.Iterable
_ARRAYS = (list, tuple, set, frozenset, collections.abc.Sequence, _ITERABLE, collections.abc.Collection)
_OBJECTS = (dict, collections.abc.Mapping)

Schema = dict[str, Any]
"""A JSON Schema."""


class Conversion(NamedTuple):
    """How a text and a JSON value become a value."""

    name: str
    """The type as the help shows it."""
    from_text: Callable[[str], Any]
    """Return the value of a text of the command line.

    :raises ValueError: with what is needed, or what the type itself says.
    """
    from_json: Callable[[Any], Any]
    """Return the value of a decoded JSON value.

    :raises ValueError: with what is needed, and where in the value.
    """
    schema: Schema
    """What ``from_json`` takes; empty if anything."""


def conversion_of(kind: Any) -> Conversion:
    """Return the conversion for an annotation, or for the ``type=`` of a ``cs.Param``."""
    if get_origin(kind) is Annotated:
        return _limited(conversion_of(get_args(kind)[0]), kind)
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    origin = get_origin(kind) or kind
    if origin in (Union, types.UnionType):
        return _of_union(get_args(kind))
    if origin is Literal:
        return _of_choices({str(value): value for value in get_args(kind)}, get_args(kind))
    if origin in (*_ARRAYS, *_OBJECTS):
        return _of_json(kind, "object" if origin in _OBJECTS else "array")
    return _of_class(kind) if isinstance(kind, type) else _of_callable(kind)


class WrongValueError(ValueError):
    """A value inside that of a parameter does not fit.

    :ivar path: where it is, such as ``[2].size``; empty for the value itself.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"at {path}: {problem}" if path else problem)
        self.path, self.problem = path, problem


def in_words(name: str, error: ValueError) -> str:
    """Return what is wrong with a parameter's value, and where.

    >>> in_words("parts", WrongValueError("[2].size", "expected int, got str"))
    'parts[2].size: expected int, got str'
    """
    if isinstance(error, WrongValueError):
        return f"{name}{error.path}: {error.problem}"
    return f"{name}: {error}"


def truth(text: str) -> bool:
    """Read a boolean.

    :raises ValueError: if it is neither.
    """
    word = text.strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(f"needs true or false, not {text!r}")
    return word in _TRUE


def _of_callable(kind: Any) -> Conversion:
    name = getattr(kind, "__name__", "")
    made = _plain(kind)
    return Conversion(name if name.isidentifier() else "value", made, made, {})


def _of_class(kind: type) -> Conversion:
    if issubclass(kind, enum.Enum):
        by_name = {**{str(each.value): each for each in kind}, **dict(kind.__members__)}
        return _of_choices(by_name, [each.value for each in kind], kind)
    if issubclass(kind, dt.date):
        # a form and a person leave out the seconds and the zone, which msgspec needs
        made = _checked(kind.fromisoformat, _WORDS.get(kind))
        form = "date-time" if issubclass(kind, dt.datetime) else "date"
        return Conversion(kind.__name__, made, _of_text(made), {"type": "string", "format": form})
    name = "path" if issubclass(kind, PurePath) else kind.__name__
    return Conversion(name, _checked(kind, _WORDS.get(kind)), _typed(kind), _schema(kind))


def _of_choices(by_name: dict[str, Any], values: Any, kind: type[enum.Enum] | None = None) -> Conversion:
    names = list(dict.fromkeys(map(str, values)))

    def from_text(text: str) -> Any:
        if text not in by_name:
            raise ValueError(f"needs one of {', '.join(names)}, not {text!r}")
        return by_name[text]

    def from_json(value: Any) -> Any:
        # True equals 1 and is another value in JSON
        if not any(value == each and type(value) is type(each) for each in values):
            raise ValueError(f"needs one of {', '.join(names)}, not {_shown(value)}")
        return value if kind is None else kind(value)

    return Conversion("|".join(names), from_text, from_json, {"enum": list(values)})


def _of_union(kinds: tuple[Any, ...]) -> Conversion:
    options = [conversion_of(kind) for kind in kinds if kind is not type(None)]
    optional = len(options) < len(kinds)

    def from_json(value: Any) -> Any:
        if value is None and optional:
            return None
        return _first([option.from_json for option in options], value)

    schemas = [option.schema for option in options] + ([{"type": "null"}] if optional else [])
    return Conversion(
        "|".join(option.name for option in options),
        lambda text: _first([option.from_text for option in options], text),
        from_json,
        {"anyOf": schemas} if all(schemas) else {},
    )


def _first(conversions: list[Callable[[Any], Any]], value: Any) -> Any:
    """Return what the first conversion makes of a value that takes it."""
    problems = []
    for convert in conversions:
        try:
            return convert(value)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError("; or ".join(problems))


def _of_json(kind: Any, what: str) -> Conversion:
    found, example = (dict, '{"a": 1}') if what == "object" else (list, "[1, 2]")
    if (get_origin(kind) or kind) is _ITERABLE:
        kind = types.GenericAlias(list, get_args(kind)) if get_args(kind) else list
    from_json = _typed(kind)

    def from_text(text: str) -> Any:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, found):
            raise ValueError(f"needs a JSON {what} such as {example}, not {text!r}")
        return from_json(value)

    return Conversion(f"JSON {what}", from_text, from_json, _schema(kind))


def _limited(made: Conversion, kind: Any) -> Conversion:
    """Add the limits that stand in ``Annotated[int, msgspec.Meta(ge=1)]``."""
    limits = [each for each in get_args(kind)[1:] if isinstance(each, msgspec.Meta)]
    if not limits:
        return made
    check = _typed(kind)

    def checked(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda value: check(convert(value))

    schema = {**made.schema, **_schema(kind)}
    return made._replace(from_text=checked(made.from_text), from_json=checked(made.from_json), schema=schema)


def _typed(kind: Any) -> Callable[[Any], Any]:
    """Return a function that converts a JSON value as msgspec does, with the problem in words."""

    def convert(value: Any) -> Any:
        try:
            return msgspec.convert(value, kind, dec_hook=_own)
        except msgspec.ValidationError as error:
            problem, _, path = str(error).replace("`", "").partition(" - at $")
            raise WrongValueError(path.strip(), f"{problem[:1].lower()}{problem[1:]}") from error
        except (TypeError, RecursionError) as error:
            raise ValueError(f"a value of this type cannot be made from JSON ({error})") from error

    return convert


def _own(kind: type, value: Any) -> Any:
    """Make a value of a type that msgspec does not know, from what JSON has."""
    return value if isinstance(value, kind) else _plain(kind)(value)


def _schema(kind: Any) -> Schema:
    """Return the JSON Schema of a type; empty for one that cannot be described."""
    try:
        return msgspec.json.schema(kind, schema_hook=lambda _: {"type": "string"})
    except (TypeError, ValueError, NameError):
        return {}


def _of_text(made: Callable[[str], Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError(f"expected str, got {type(value).__name__}")
        return made(value)

    return convert


def _checked(make: Callable[[str], Any], needed: str | None) -> Callable[[str], Any]:
    if needed is None:
        return _plain(make)

    def convert(text: str) -> Any:
        try:
            return make(text)
        except ValueError:
            raise ValueError(f"needs {needed}, not {text!r}") from None

    return convert


def _plain(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def convert(text: Any) -> Any:
        try:
            return make(text)
        except Exception as error:  # whatever a user's own type raises
            detail = f": {error}" if str(error) else ""
            raise ValueError(f"{text!r} cannot be converted ({type(error).__name__}{detail})") from error

    return convert


def _same(value: Any) -> Any:
    return value


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"


_ANYTHING = Conversion("text", str, _same, {})
_SIMPLE: dict[Any, Conversion] = {
    **dict.fromkeys((inspect.Parameter.empty, Any, object), _ANYTHING),
    str: Conversion("text", str, _typed(str), {"type": "string"}),
    bool: Conversion("bool", truth, _typed(bool), {"type": "boolean"}),
}
