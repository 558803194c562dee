"""Messages made from JSON that anyone may have written. No I/O, and nothing raises because of what was written.

A wrong value leaves out its row: a run, a register, a reason to wait. Of the values beside the rows, only the wrong one is left out.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from msgspec import NODEFAULT, Meta, Struct, ValidationError, convert
from msgspec.structs import fields

from cascade.wire.message import Message

MAX_BYTES = 1 << 20
"""A longer payload is not decoded."""
MAX_TEXT = 1_000
"""Characters that are kept of a text."""
MAX_DEPTH = 64
"""Objects and lists that may stand in one another."""
AS_THEY_CAME = ("params", "data")
"""Keys of any JSON value, which is not cut."""
_LARGEST = 1 << 63
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_WRONG = (ValidationError, RecursionError)
M = TypeVar("M", bound=Message)


def json_object(payload: bytes | bytearray) -> dict[str, Any] | None:
    """Return the JSON object in a payload, ``{}`` for an empty payload, None for anything else.

    NaN and numbers beyond a double become None: they are not JSON, but the rest of the message is. A question
    mark replaces a lone surrogate, which JSON can name and which no file, topic or terminal can hold.
    """
    if not payload:
        return {}
    if len(payload) > MAX_BYTES:
        return None
    try:
        text = payload.decode()
        data = _decode(text)
        if _SURROGATE.search(text):
            data = json.loads(json.dumps(data, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def bounded(value: Any, depth: int = 0) -> Any:
    """Return a value of JSON with its texts cut, without deep nesting, and without integers that no other language has."""
    if isinstance(value, str):
        return value[:MAX_TEXT]
    if isinstance(value, dict | list) and depth >= MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {
            key[:MAX_TEXT]: each if key in AS_THEY_CAME else bounded(each, depth + 1)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [bounded(each, depth + 1) for each in value]
    return _float(value) if isinstance(value, int) and not -_LARGEST <= value < _LARGEST else value


def is_version_1(data: Mapping[str, Any]) -> bool:
    """Return whether a reader of version 1.0 may read a message; one without a version it may."""
    version = data.get("v", "1.0")
    return isinstance(version, str) and version.startswith("1.")


def seconds(text: str) -> float | None:
    """Return an ISO 8601 time as seconds since the epoch; None for any other text."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def read(kind: type[M], data: Mapping[str, Any]) -> M:
    """Return a message; a wrong value beside its rows is taken as missing."""
    found = _complete(kind, data)
    try:
        return convert(found, kind)
    except _WRONG:
        types = {each.name: each.type for each in fields(kind)}
        right = {key: value for key, value in found.items() if key not in types or _fits(value, types[key])}
        return convert({**_missing(kind), **right}, kind)


def read_row(kind: Any, data: Any) -> Any:
    """Return one row of a message; None if one of its values is wrong."""
    try:
        if isinstance(kind, type) and issubclass(kind, Message):
            if not isinstance(data, Mapping):
                return None
            data = _complete(kind, data)
        return convert(data, kind)
    except _WRONG:
        return None


def _complete(kind: type[Message], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a message declares of the data: its rows are read, and what is missing is added."""
    found = {key: value for key, value in data.items() if key == kind.__struct_config__.tag_field}
    for name, (rows, nested) in _shape(kind).items():
        if name not in data:
            continue
        value = data[name]
        if rows is not None and isinstance(value, list):
            value = [row for each in value if (row := read_row(rows, each)) is not None]
        elif rows is not None and isinstance(value, dict):
            read_ = ((key, read_row(rows, each)) for key, each in value.items())
            value = {key: row for key, row in read_ if row is not None}
        elif nested is not None and isinstance(value, dict):
            value = _complete(nested, value)
        found[name] = value
    made = {**_missing(kind), **found}
    if "known" in made and "known" not in data and isinstance(counts := made.get("counts"), dict):
        made["known"] = sum(each for each in counts.values() if isinstance(each, int))
    return made


@cache
def _shape(kind: type[Message]) -> dict[str, tuple[Any, type[Message] | None]]:
    """Return by key of a message the type of its rows, and the message that it holds."""
    return {each.name: (_rows(each.type), _nested(each.type)) for each in fields(kind)}


def _rows(type_: Any) -> Any:
    if _extra(type_, "rows", False):
        return get_args(get_args(type_)[0])[-1]
    return None


def _nested(type_: Any) -> type[Message] | None:
    found = (
        each for each in (type_, *get_args(type_)) if isinstance(each, type) and issubclass(each, Message)
    )
    return next(found, None)


@cache
def _missing(kind: type[Message]) -> dict[str, Any]:
    """Return what stands for the keys that every message has, where one lacks them."""
    required = (each for each in fields(kind) if each.default is each.default_factory is NODEFAULT)
    return {each.name: _extra(each.type, "missing", None) or _empty(each.type) for each in required}


def _extra(type_: Any, key: str, default: Any) -> Any:
    found = (meta.extra for meta in get_args(type_)[1:] if isinstance(meta, Meta) and meta.extra)
    return next((extra[key] for extra in found if key in extra), default)


def _empty(type_: Any) -> Any:
    """Return the empty value of a type: None where there may be none."""
    if type_ is Any:
        return None
    if get_origin(type_) is Annotated:
        return _empty(get_args(type_)[0])
    if get_origin(type_) in (Union, UnionType):
        return None if type(None) in get_args(type_) else _empty(get_args(type_)[0])
    plain = get_origin(type_) or type_
    return _missing(plain) if issubclass(plain, Struct) else plain()


def _fits(value: Any, type_: Any) -> bool:
    try:
        convert(value, type_)
    except _WRONG:
        return False
    return True


def _float(value: int) -> float | None:
    try:
        return float(value)
    except OverflowError:
        return None


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


_decode = json.JSONDecoder(parse_constant=lambda name: None, parse_float=_finite).decode
