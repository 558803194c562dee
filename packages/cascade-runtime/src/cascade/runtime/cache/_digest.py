"""Digests of values: equal in every process, different for different types and values. No I/O.

Every value is written as a tag for its type, its length and its content, so that two different
values never give the same bytes. Nothing depends on ``hash()``, ``id()`` or the order of a set,
which differ between processes.
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
import logging
import operator
import pickle
import re
import struct
import types
import typing
import uuid
import weakref
import zoneinfo
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import PurePath
from typing import Any, Protocol

from cascade.runtime.cache._library_values import (
    UndigestibleError,
    full_name,
    has_call_method,
    instance_state,
    is_implemented_in_c,
    is_record_class,
    library_of,
)
from cascade.spec import Task

SIZE = 32
"""Bytes of a digest; with 256 bits a collision by chance need not be considered."""


class Reference(str):
    """The key of a call, in place of its value; no value of a user has this type."""

    __slots__ = ()


class Definitions(Protocol):
    """Returns what stands for the functions and classes in a value."""

    def of_function(self, function: types.FunctionType) -> bytes:
        """Return bytes that change when the function does."""
        ...

    def of_class(self, class_: type) -> bytes:
        """Return bytes that change when the class does."""
        ...

    def of_type(self, class_: type) -> bytes:
        """Return bytes for the class of an instance: its name where that identifies the class."""
        ...

    def of_callable(self, value: Any) -> bytes:
        """Return bytes for any other callable object.

        :raises UndigestibleError: if it is not known by its name alone.
        """
        ...


def digest(value: object, definitions: Definitions) -> bytes:
    """Return the digest of a value; ``definitions`` is used for the functions and classes in it.

    Equal values of one type have equal digests. The order of a dict counts, that of a set does
    not; 0.0 and -0.0 differ, as do instants in different time zones.

    :raises UndigestibleError: if some part of the value has no digest, if the value contains
        itself, or if it is nested too deep.
    """
    try:
        return Writer(definitions).digest_of(value)
    except RecursionError:
        raise UndigestibleError("it is nested too deep, or contains itself") from None


def written(value: object) -> bytes:
    """Return what stands in a hash for a value of a type in ``cascade.spec.PLAIN``: its tag, length and content."""
    kind = type(value)
    content = _SCALARS[kind](value)
    return b"%b %d:%b" % (_SCALAR_TAGS[kind], len(content), content)


class Writer:
    """Writes values into hashes."""

    __slots__ = ("definitions",)

    def __init__(self, definitions: Definitions) -> None:
        self.definitions = definitions

    def digest_of(self, value: object) -> bytes:
        """Return the digest of one value."""
        hasher = blake2b(digest_size=SIZE)
        self._write((value,), hasher.update)
        return hasher.digest()

    def unordered(self, values: Iterable[Any]) -> list[bytes]:
        """Return the digests of values whose order has no meaning, sorted."""
        return sorted(map(self.digest_of, list(values)))

    def _write(self, values: Iterable[Any], put: Callable[[bytes | memoryview], None]) -> None:
        for value in values:
            kind = type(value)
            scalar = _SCALARS.get(kind)
            if scalar is not None:
                content = scalar(value)
                put(b"%b %d:" % (_SCALAR_TAGS[kind], len(content)))
                put(content)
                continue
            known = _PARTS.get(kind)
            tag, parts = (kind.__name__, known(self, value)) if known else self._parts(value, kind)
            put(b"%b (%d:" % (tag.encode(), len(parts)))
            self._write(parts, put)

    def _parts(self, value: Any, kind: type) -> tuple[str, Sequence[Any]]:
        """Return a tag and the parts of a value whose type is not in the tables of exact types."""
        found = _tags.get(kind)
        if found is None:
            found = _tags[kind] = _tag_of(kind)
        tag, parts = found
        return tag, parts(self, value)


def _tag_of(kind: type) -> tuple[str, _Parts]:
    """Return the tag and the way to the parts for the instances of a class."""
    for types_, tag, parts in _KINDS:
        if issubclass(kind, types_):
            return tag, parts
    library = library_of(kind)
    if library is not None:
        return "library", lambda writer, value: (writer.definitions.of_type(kind), *library(value, kind))
    if kind.__module__ == "typing":
        return "typing", lambda _, value: (repr(value), getattr(value, "__args__", None))
    if dataclasses.is_dataclass(kind) or is_record_class(kind) or issubclass(kind, (dt.tzinfo, *_BASES)):
        if all(base in _OPEN or not is_implemented_in_c(base) for base in kind.__mro__):
            return "object", lambda writer, value: (writer.definitions.of_type(kind), *object_parts(value))
    elif has_call_method(kind):
        return "callable", lambda writer, value: (writer.definitions.of_callable(value),)
    return "", _refuse


def _refuse(_: Writer, value: object) -> Sequence[Any]:
    raise UndigestibleError(f"no digest can be computed of a {full_name(type(value))}")


def object_parts(value: Any) -> tuple[Any, ...]:
    """Return what an instance contains: its attributes, and the content of a built-in base class."""
    base = next((base for base in _BUILT_IN if isinstance(value, base)), None)
    content = (None if base is None else (_BUILT_IN[base](value),), instance_state(value))
    if not dataclasses.is_dataclass(value):
        return content
    own = getattr(value, "__dict__", {})
    # A field with a default may have its value in the class alone; slots are part of the state.
    names = [field.name for field in dataclasses.fields(value) if field.name not in own]
    return *content, [(name, getattr(value, name)) for name in names if hasattr(value, name)]


def _builtin(_: Writer, value: types.BuiltinMethodType) -> tuple[str, object]:
    owner = value.__self__
    return full_name(value), None if isinstance(owner, types.ModuleType) else owner


def _instant(_: Writer, value: dt.datetime | dt.time) -> tuple[Any, ...]:
    """Return text, fold and zone: times that print alike may differ in these."""
    return value.replace(tzinfo=None).isoformat(), value.fold, value.tzinfo


def _zone(value: zoneinfo.ZoneInfo) -> bytes:
    """Return the zone's key.

    :raises UndigestibleError: if the zone was read from a file, so that a key does not identify it.
    """
    try:
        value.__reduce__()
    except pickle.PicklingError:
        raise UndigestibleError(
            "no digest can be computed of a time zone that was read from a file"
        ) from None
    return _text(value.key)


def _path(writer: Writer, value: PurePath) -> tuple[Any, ...]:
    kind = type(value)
    base = next(base for base in kind.__mro__ if base.__module__.partition(".")[0] == "pathlib")
    more = () if base is kind else (instance_state(value, known=base),)
    return writer.definitions.of_type(kind), str(value), *more


def _enum(writer: Writer, value: enum.Enum) -> tuple[Any, ...]:
    """Return class, name and value, and the attributes that the member was given besides."""
    more = [(name, item) for name, item in vars(value).items() if name not in _ENUM_ATTRIBUTES]
    return writer.definitions.of_type(type(value)), value._name_, value._value_, more


def _text(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


_ENUM_ATTRIBUTES = frozenset({"_value_", "_name_", "__objclass__", "_sort_order_"})
_tags: weakref.WeakKeyDictionary[type, tuple[str, _Parts]] = weakref.WeakKeyDictionary()
_CACHED_FUNCTION = type(functools.lru_cache(_text))


_SCALARS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"",
    type(...): lambda _: b"",
    type(NotImplemented): lambda _: b"",
    bool: lambda value: b"1" if value else b"0",
    int: lambda value: value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True),
    float: lambda value: struct.pack("<d", value),
    complex: lambda value: struct.pack("<dd", value.real, value.imag),
    str: _text,
    Reference: _text,
    bytes: bytes,
    bytearray: bytes,
    dt.date: lambda value: value.isoformat().encode(),
    dt.timedelta: lambda value: repr(value).encode(),
    dt.timezone: lambda value: repr(value).encode(),
    decimal.Decimal: lambda value: str(value).encode(),
    fractions.Fraction: lambda value: str(value).encode(),
    uuid.UUID: lambda value: value.bytes + value.is_safe.name.encode(),
    zoneinfo.ZoneInfo: _zone,
}

_SCALAR_TAGS = {kind: kind.__name__.encode() for kind in _SCALARS}
PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
"""Types of values that need no look at their parts."""

_Parts = Callable[[Writer, Any], Sequence[Any]]

_PARTS: dict[type, _Parts] = {
    list: lambda _, value: value,
    tuple: lambda _, value: value,
    dict: lambda _, value: list(value.items()),
    set: lambda writer, value: writer.unordered(value),
    frozenset: lambda writer, value: writer.unordered(value),
    collections.deque: lambda _, value: (value.maxlen, *value),
    collections.Counter: lambda _, value: list(value.items()),
    collections.OrderedDict: lambda _, value: list(value.items()),
    collections.defaultdict: lambda _, value: (value.default_factory, *value.items()),
    types.MappingProxyType: lambda _, value: list(value.items()),
    array.array: lambda _, value: (value.typecode, value.tobytes()),
    memoryview: lambda _, value: (value.format, value.shape, value.tobytes()),
    range: lambda _, value: (value.start, value.stop, value.step),
    slice: lambda _, value: (value.start, value.stop, value.step),
    re.Pattern: lambda _, value: (value.pattern, value.flags),
    dt.datetime: _instant,
    dt.time: _instant,
    functools.partial: lambda _, value: (value.func, value.args, value.keywords, vars(value)),
    types.MethodType: lambda _, value: (value.__self__, value.__func__),
    types.GenericAlias: lambda _, value: (value.__origin__, value.__args__),
    types.UnionType: lambda _, value: value.__args__,
    _CACHED_FUNCTION: lambda _, value: (value.__wrapped__,),
}

_KINDS: tuple[tuple[type | types.UnionType, str, _Parts], ...] = (
    (
        types.FunctionType,
        "function",
        lambda writer, value: (writer.definitions.of_function(value),),
    ),
    # Retries, time limits and caches of a task do not change the value of its calls.
    (Task, "task", lambda _, value: (value.function, sorted(value._fixed.items()))),
    (types.BuiltinMethodType, "builtin", _builtin),
    (type, "class", lambda writer, value: (writer.definitions.of_class(value),)),
    (
        types.ModuleType | types.WrapperDescriptorType | types.MethodDescriptorType,
        "name",
        lambda _, value: (full_name(value),),
    ),
    (enum.Enum, "enum", _enum),
    (PurePath, "path", _path),
    (
        operator.itemgetter | operator.attrgetter | operator.methodcaller,
        "operator",
        lambda _, value: value.__reduce__(),
    ),
    (logging.Logger, "logger", lambda _, value: (value.name,)),
    (typing.TypeVar, "typing", lambda _, value: (value.__name__,)),
)

_BUILT_IN: dict[type, Callable[[Any], Any]] = {
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    bytes: bytes,
    tuple: lambda value: tuple(tuple.__iter__(value)),
    list: lambda value: list(list.__iter__(value)),
    collections.OrderedDict: lambda value: list(collections.OrderedDict.items(value)),
    dict: lambda value: list(dict.items(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    zoneinfo.ZoneInfo: _zone,
}
_BASES = tuple(_BUILT_IN)
_OPEN = frozenset({object, dt.tzinfo, collections.defaultdict, *_BASES})
"""Classes implemented in C whose content is known."""
