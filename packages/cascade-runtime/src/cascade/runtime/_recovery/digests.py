"""Digests of a step: of its task's code, and of its arguments.

The arguments count with their literals and the keys of the calls whose values are taken.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

from cascade.runtime._graph.dependencies import dependencies_first
from cascade.runtime._graph.recorded import RecordedGraph
from cascade.runtime._recovery.source import SourceDigests
from cascade.runtime.cache._digest import digest
from cascade.runtime.cache._undigestible import UndigestibleError
from cascade.spec import (
    PLAIN,
    Call,
    LazyResult,
    Search,
    TaskDefinition,
    call_of,
    may_hold_lazies,
    substitute,
)

_OPAQUE = b"opaque"
"""Stands for a value that has no digest: it never counts as changed."""


class Reference(NamedTuple):
    """Stands for the value of another call."""

    key: str


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

    def code(self, call: Call) -> bytes:
        """Return the digest of a task's code; ``b""`` if it has none."""
        return self._source.of(call.definition.function)

    def inputs(
        self, graph: RecordedGraph, call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> bytes:
        """Return the digest of a step's arguments as they were declared."""
        return inputs_digest(call.definition, args, kwargs, graph.key_of)

    def returned(self, graph: RecordedGraph, lazy: LazyResult[Any]) -> bytes:
        """Return the digest of the calls that a step returned, which are to be built in ``graph``."""
        graph.declare([lazy])
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
    hasher = blake2b(digest_size=16)
    for name, value in _named(definition, args, kwargs):
        hasher.update(f"{name}\0".encode("utf-8", "surrogatepass"))
        hasher.update(_value_digest(value, key_of))
    return hasher.digest()


def _named(
    definition: TaskDefinition, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    """Return the arguments in the order of the parameters; those of a builtin by number."""
    signature = definition.signature
    if signature is None:
        return [*((str(number), value) for number, value in enumerate(args)), *sorted(kwargs.items())]
    if definition.arity:  # every parameter may be given either way, so binding is to look up names
        names = [*signature.parameters]
        if not args:
            return [(name, kwargs[name]) for name in names if name in kwargs]
        found = [*zip(names, args, strict=False)]
        return found + [(name, kwargs[name]) for name in names[len(args) :] if name in kwargs]
    return [*signature.bind_partial(*args, **kwargs).arguments.items()]


def _value_digest(value: Any, key_of: Callable[[Call], str]) -> bytes:
    def reference(lazy: LazyResult[Any]) -> Reference:
        return Reference(key_of(call_of(lazy)))

    try:
        if type(value) not in PLAIN and (isinstance(value, LazyResult) or may_hold_lazies(value)):
            value = reference(value) if isinstance(value, LazyResult) else substitute(value, reference)
        return digest(value, _BY_NAME)
    except UndigestibleError:
        return _OPAQUE
    except Exception:  # whatever a class of the user raises when its state is read
        return _OPAQUE
