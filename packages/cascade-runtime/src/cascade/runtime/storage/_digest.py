"""A digest of plain values: equal in every process, different for different types and values.

Every value is written as a tag for its type, its length and its content, so that no two values
are written alike. Nothing asks ``hash()``, ``id()`` or the order of a set.
"""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import re
import struct
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import PurePath
from typing import Any

from cascade.spec import Task

SIZE = 32
"""Bytes of a digest: enough that nobody ever meets two equal ones by chance."""

Functions = Callable[[types.FunctionType], bytes]
"""Gives the digest of a plain Python function."""


class UndigestibleError(TypeError):
    """A value of which no digest can be made; the text says which and why."""


def digest(value: object, functions: Functions) -> bytes:
    """Return the digest of a value.

    Equal values of one type have equal digests, dicts and sets regardless of order; 0.0 and
    -0.0 differ, as do instants in different time zones. ``functions`` gives those of functions.

    :raises UndigestibleError: if some value in it has none, it holds itself, or is too deep.
    """
    try:
        return _Writer(functions).digest_of(value)
    except RecursionError:
        raise UndigestibleError("it is nested too deep, or holds itself") from None


class _Writer:
    """Writes values into hashes."""

    __slots__ = ("functions",)

    def __init__(self, functions: Functions) -> None:
        self.functions = functions

    def digest_of(self, value: object) -> bytes:
        hasher = blake2b(digest_size=SIZE)
        self._write(value, hasher.update)
        return hasher.digest()

    def unordered(self, values: Iterable[Any]) -> list[bytes]:
        return sorted(map(self.digest_of, values))

    def _write(self, value: Any, put: Callable[[bytes | memoryview], None]) -> None:
        kind = type(value)
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            content = scalar(value)
            put(b"%b %d:" % (kind.__name__.encode(), len(content)))
            put(content)
            return
        known = _PARTS.get(kind)
        tag, parts = (kind.__name__, known(self, value)) if known else self._parts(value, kind)
        put(b"%b (%d:" % (tag.encode(), len(parts)))
        for part in parts:
            self._write(part, put)

    def _parts(self, value: Any, kind: type) -> tuple[str, Sequence[Any]]:
        """Return a tag, and what a value of no well-known type is made of."""
        for types_, tag, parts in _KINDS:
            if isinstance(value, types_):
                return tag, parts(self, value)
        if dataclasses.is_dataclass(value) and not isinstance(value, _BASES):
            items = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
            return "dataclass", (_name(kind), items)
        if kind.__module__.partition(".")[0] == "numpy":
            return "numpy", (_name(kind), *_array(value))
        if isinstance(value, _BASES):
            return "subclass", (_name(kind), *_content(value))
        raise UndigestibleError(f"no digest can be made of a {_name(kind)}")


def _content(value: Any) -> tuple[Any, object]:
    """Return what a value of a subclass of a built-in type holds, and its own attributes."""
    base = next(base for base in _BASES if isinstance(value, base))
    return _BUILT_IN[base](value), getattr(value, "__dict__", {})


def _array(value: Any) -> tuple[Any, ...]:
    """Return what makes up NumPy's arrays, scalars and types, known by what they offer."""
    if hasattr(value, "descr"):
        return (repr(value.descr),)
    if not hasattr(value, "dtype") or not hasattr(value, "tobytes") or hasattr(value, "mask"):
        raise UndigestibleError(f"no digest can be made of a {_name(type(value))}")
    data = value.tolist() if value.dtype.hasobject else value.tobytes()
    return repr(value.dtype.descr), repr(value.shape), data


def _name(thing: Any) -> str:
    module = getattr(thing, "__module__", None)
    return f"{module}.{getattr(thing, '__qualname__', thing.__name__)}"


def _builtin(_: _Writer, value: types.BuiltinMethodType) -> tuple[str, object]:
    owner = value.__self__
    return _name(value), None if isinstance(owner, types.ModuleType) else owner


def _instant(value: dt.datetime | dt.time) -> bytes:
    """Tell apart what prints alike: the fold, and time zones of different rules."""
    zone = value.tzinfo
    return _text(f"{value.isoformat()} {value.fold} {type(zone).__qualname__} {zone}")


def _text(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


_SCALARS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"",
    type(...): lambda _: b"",
    bool: lambda value: b"1" if value else b"0",
    int: lambda value: value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True),
    float: lambda value: struct.pack("<d", value),
    complex: lambda value: struct.pack("<dd", value.real, value.imag),
    str: _text,
    bytes: bytes,
    bytearray: bytes,
    dt.datetime: _instant,
    dt.time: _instant,
    dt.date: lambda value: value.isoformat().encode(),
    dt.timedelta: lambda value: repr(value).encode(),
    dt.timezone: lambda value: repr(value).encode(),
    decimal.Decimal: lambda value: str(value).encode(),
    fractions.Fraction: lambda value: str(value).encode(),
    uuid.UUID: lambda value: value.bytes,
    zoneinfo.ZoneInfo: lambda value: _text(str(value)),
}

_Parts = Callable[[_Writer, Any], Sequence[Any]]

_PARTS: dict[type, _Parts] = {
    list: lambda _, value: value,
    tuple: lambda _, value: value,
    dict: lambda writer, value: writer.unordered(value.items()),
    set: lambda writer, value: writer.unordered(value),
    frozenset: lambda writer, value: writer.unordered(value),
    collections.deque: lambda _, value: (value.maxlen, *value),
    collections.Counter: lambda writer, value: writer.unordered(value.items()),
    collections.OrderedDict: lambda _, value: list(value.items()),
    collections.defaultdict: lambda writer, value: (
        value.default_factory,
        *writer.unordered(value.items()),
    ),
    types.MappingProxyType: lambda writer, value: writer.unordered(value.items()),
    array.array: lambda _, value: (value.typecode, value.tobytes()),
    memoryview: lambda _, value: (value.format, value.shape, value.tobytes()),
    range: lambda _, value: (value.start, value.stop, value.step),
    slice: lambda _, value: (value.start, value.stop, value.step),
    re.Pattern: lambda _, value: (value.pattern, value.flags),
    functools.partial: lambda _, value: (value.func, value.args, value.keywords),
    types.MethodType: lambda _, value: (value.__self__, value.__func__),
}

_KINDS: tuple[tuple[type | types.UnionType, str, _Parts], ...] = (
    (types.FunctionType, "function", lambda writer, value: (writer.functions(value),)),
    (Task, "task", lambda _, value: (value.function,)),
    (types.BuiltinMethodType, "builtin", _builtin),
    (
        type | types.ModuleType | types.WrapperDescriptorType | types.MethodDescriptorType,
        "name",
        lambda _, value: (_name(value),),
    ),
    (enum.Enum, "enum", lambda _, value: (_name(type(value)), value.name, value.value)),
    (PurePath, "path", lambda _, value: (_name(type(value)), str(value))),
)

_BUILT_IN: dict[type, Callable[[Any], Any]] = {
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    bytes: bytes,
    tuple: lambda value: tuple(tuple.__iter__(value)),
    list: lambda value: list(list.__iter__(value)),
    dict: lambda value: dict(dict.items(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
}
_BASES = tuple(_BUILT_IN)
