"""Digests of a step: of its task's code, and of its arguments.

The arguments count with their literals and the keys of the calls whose values are taken; of a map, also with its size:
an item that is new has no record that could differ.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from cascade.runtime._graph.dependencies import dependencies_first
from cascade.runtime._graph.recorded import RecordedGraph
from cascade.runtime._recovery.source_digests import SourceDigests
from cascade.runtime.cache._digest import Reference, digest, written
from cascade.runtime.cache._library_values import UndigestibleError
from cascade.spec import (
    PLAIN,
    Call,
    LazyResult,
    MapCall,
    Search,
    TaskDefinition,
    call_of,
    may_hold_lazies,
    substitute,
)

_OPAQUE = b"opaque;"
"""Stands for a value that has no digest: it never counts as changed."""


class _ByName:
    """Functions and classes count by name, without that of the module."""

    def of_function(self, function: types.FunctionType) -> bytes:
        return function.__qualname__.encode()

    def of_class(self, class_: type) -> bytes:
        return class_.__qualname__.encode()

    def of_type(self, class_: type) -> bytes:
        return class_.__qualname__.encode()

    def of_callable(self, value: Any) -> bytes:
        return str(getattr(value, "__qualname__", type(value).__qualname__)).encode()


_BY_NAME = _ByName()


class StepDigests:
    """The digests that are recorded with a step: of its task's code, and of its arguments."""

    def __init__(self) -> None:
        self._source = SourceDigests()

    def code(self, function: Callable[..., Any]) -> bytes:
        """Return the digest of a task's code; ``b""`` if it has none."""
        return self._source.of(function)

    def inputs(
        self, graph: RecordedGraph, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> bytes:
        """Return the digest of a step's arguments as they were declared."""
        return inputs_digest(call.definition, args, kwargs, graph.key_of)

    def items(
        self, graph: RecordedGraph, call: Call, fixed: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]
    ) -> ItemDigests:
        """Return what computes the digests of the arguments of a map's items."""
        return ItemDigests(call.definition, fixed, columns, graph.key_of)

    def returned(self, graph: RecordedGraph, lazy: LazyResult[Any]) -> bytes:
        """Return the digest of the calls that a step returned, which are to be built in ``graph``."""
        graph.declare_now([lazy])
        calls = [call for call, _ in dependencies_first([call_of(lazy)], Search(), graph.is_outer)]
        hasher = blake2b(digest_size=16)
        for call in calls:
            hasher.update(call.definition.name.encode("utf-8", "surrogatepass") + b"\0")
            hasher.update(self.inputs(graph, call, call.args, call.kwargs))
        return hasher.digest()


def inputs_digest(
    definition: TaskDefinition,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    key_of: Callable[[Call], str],
) -> bytes:
    """Return the digest of the arguments of a call as it was declared, however they are passed."""
    return _digest([_argument(name, value, key_of) for name, value in _named(definition, args, kwargs)])


class ItemDigests:
    """Digests of the arguments of a map's items; what all items have in common is looked at once."""

    def __init__(
        self,
        definition: TaskDefinition,
        fixed: Mapping[str, Any],
        columns: Mapping[str, Sequence[Any]],
        key_of: Callable[[Call], str],
    ) -> None:
        self._definition = definition
        self._fixed = fixed
        self._columns = columns
        self._key_of = key_of
        self._parts: list[tuple[bytes, Sequence[Any] | None]] = []
        """In the order of the parameters: what stands for the name and value, or for the name of a column."""
        if definition.arity and definition.signature is not None:
            for name in definition.signature.parameters:
                if name in columns:
                    self._parts.append((_name(name), columns[name]))
                elif name in fixed:
                    self._parts.append((_argument(name, fixed[name], key_of), None))

    def of(self, number: int) -> bytes:
        """Return what :func:`inputs_digest` returns for one item."""
        if not self._parts:
            row = {name: column[number] for name, column in self._columns.items()}
            return inputs_digest(self._definition, (), {**self._fixed, **row}, self._key_of)
        found: list[bytes] = []
        for known, column in self._parts:
            found.append(known)
            if column is not None:
                found.append(_value(column[number], self._key_of))
        return _digest(found)


def _digest(parts: Iterable[bytes]) -> bytes:
    return blake2b(b"".join(parts), digest_size=16).digest()


def _argument(name: str, value: Any, key_of: Callable[[Call], str]) -> bytes:
    return _name(name) + _value(value, key_of)


@functools.lru_cache(maxsize=1024)
def _name(name: str) -> bytes:
    return f"{name}\0".encode("utf-8", "surrogatepass")


def _named(
    definition: TaskDefinition, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    """Return the arguments in the order of the parameters; those of a builtin by number."""
    signature = definition.signature
    if signature is None:
        return [*((str(number), value) for number, value in enumerate(args)), *sorted(kwargs.items())]
    # every parameter may be given either way, so binding is to look up names
    if definition.arity:
        names = [*signature.parameters]
        if not args:
            return [(name, kwargs[name]) for name in names if name in kwargs]
        found = [*zip(names, args, strict=False)]
        return found + [(name, kwargs[name]) for name in names[len(args) :] if name in kwargs]
    return [*signature.bind_partial(*args, **kwargs).arguments.items()]


def _value(value: Any, key_of: Callable[[Call], str]) -> bytes:
    """Return what stands for a value: its content, if that is plain, otherwise a digest.

    What stands for one value is never the beginning of what stands for another.
    """

    def reference(lazy: LazyResult[Any]) -> Reference:
        call = call_of(lazy)
        size = _size(call)
        return Reference(key_of(call) if size is None else f"{key_of(call)}[{size}]")

    if type(value) in PLAIN:
        return written(value)
    try:
        if isinstance(value, LazyResult) or may_hold_lazies(value):
            value = reference(value) if isinstance(value, LazyResult) else substitute(value, reference)
        return b"=" + digest(value, _BY_NAME)
    except UndigestibleError:
        return _OPAQUE
    except Exception:
        # whatever a class of the user raises when its state is read
        return _OPAQUE


def _size(call: Call) -> int | None:
    """Return how many items a map has, or the maps have whose values it takes; None if only the run knows it."""
    while isinstance(call, MapCall) and call.kwargs:
        column = next(iter(call.kwargs.values()))
        if not isinstance(column, LazyResult):
            return len(column)
        call = call_of(column)
    return None
