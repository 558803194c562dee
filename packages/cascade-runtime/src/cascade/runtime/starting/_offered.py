"""Parameters as a JSON Schema describes them: a client asks for a workflow whose code it does not have. No I/O."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any, Literal

import msgspec

from cascade.interfaces.errors import UsageError
from cascade.interfaces.text import nearest
from cascade.runtime.starting._conversions import Conversion, Schema, conversion_of, in_words

_KINDS: dict[Any, Any] = {
    "integer": int,
    "number": float,
    "boolean": bool,
    "string": str,
    "array": list,
    "object": dict,
    "null": type(None),
}
_FORMATS: dict[Any, Any] = {"date": dt.date, "date-time": dt.datetime}
_LIMITS = {
    "minimum": "ge",
    "maximum": "le",
    "exclusiveMinimum": "gt",
    "exclusiveMaximum": "lt",
    "minLength": "min_length",
    "maxLength": "max_length",
    "pattern": "pattern",
}


def params_of_texts(schema: Schema, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return what a request sends for texts of the command line.

    :param schema: of the parameters, as a service offers it.
    :raises UsageError: once for all parameters that are missing, unknown or wrong, each with its name.
    """
    properties: Mapping[str, Schema] = schema.get("properties") or {}
    problems = [f"{name} is missing" for name in schema.get("required") or () if name not in texts]
    params: dict[str, Any] = {}
    for name, text in texts.items():
        if name not in properties and not schema.get("additionalProperties"):
            near = nearest(name, properties)
            takes = f"it takes {', '.join(properties)}" if properties else "it takes none"
            problems.append(f"no parameter {name!r}; {f'did you mean {near!r}?' if near else takes}")
            continue
        try:
            params[name] = msgspec.to_builtins(_conversion(properties.get(name, {})).from_text(text))
        except ValueError as error:
            problems.append(in_words(name, error))
    if problems:
        raise UsageError("; ".join(problems))
    return params


def _conversion(schema: Schema) -> Conversion:
    try:
        return conversion_of(_kind(schema))
    except (TypeError, ValueError):
        # whoever offers it checks what is sent
        return conversion_of(Any)


def _kind(schema: Schema) -> Any:
    """Return a type whose values the schema permits."""
    if values := schema.get("enum"):
        return Literal[tuple(values)]
    if either := schema.get("anyOf"):
        return reduce(or_, [_kind(each) for each in either])
    kind = _FORMATS.get(schema.get("format")) or _KINDS.get(schema.get("type"), Any)
    limits = {ours: schema[name] for name, ours in _LIMITS.items() if name in schema}
    return Annotated[kind, msgspec.Meta(**limits)] if limits and kind is not Any else kind
