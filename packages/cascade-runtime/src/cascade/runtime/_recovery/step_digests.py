"""Digests of a step: of its task's code, and of its arguments.

The arguments count with their literals, and with what stands for the calls whose values are taken; so does the
condition under which the step runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from cascade.runtime._graph.dependencies import dependencies_first
from cascade.runtime._graph.recorded import RecordedGraph
from cascade.runtime._recovery.references import (
    ReferenceOf,
    References,
    argument,
    combined,
    condition,
    written_name,
    written_value,
)
from cascade.runtime._recovery.source_digests import SourceDigests
from cascade.runtime.cache._digest import written
from cascade.spec import Call, LazyResult, Search, TaskDefinition, call_of


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
        return _declared(call, args, kwargs, _references(graph))

    def items(
        self, graph: RecordedGraph, call: Call, fixed: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]
    ) -> ItemDigests:
        """Return what computes the digests of the arguments of a map's items."""
        return ItemDigests(call.definition, fixed, columns, _references(graph))

    def returned(self, graph: RecordedGraph, lazy: LazyResult[Any]) -> bytes:
        """Return the digest of the calls that a step returned, which are to be built in ``graph``."""
        graph.declare_now([lazy])
        calls = [call for call, _ in dependencies_first([call_of(lazy)], Search(), graph.is_outer)]
        references, hasher = _references(graph), blake2b(digest_size=16)
        for call in calls:
            hasher.update(call.definition.name.encode("utf-8", "surrogatepass") + b"\0")
            hasher.update(_declared(call, call.args, call.kwargs, references))
            hasher.update(written(str(references(call))))
        return hasher.digest()


def _references(graph: RecordedGraph) -> References:
    return References(graph.key_of, graph.references)


def _declared(call: Call, args: tuple[Any, ...], kwargs: Mapping[str, Any], references: ReferenceOf) -> bytes:
    """Return the digest of a call's arguments, and of its condition if it has one: a recorded step does not ask it."""
    digest = inputs_digest(call.definition, args, kwargs, references)
    return digest if call.condition is None else combined([digest, condition(call.condition, references)])


def inputs_digest(
    definition: TaskDefinition, args: tuple[Any, ...], kwargs: Mapping[str, Any], references: ReferenceOf
) -> bytes:
    """Return the digest of the arguments of a call as it was declared, however they are passed."""
    return combined(argument(name, value, references) for name, value in _named(definition, args, kwargs))


class ItemDigests:
    """Digests of the arguments of a map's items; what all items have in common is looked at once."""

    def __init__(
        self,
        definition: TaskDefinition,
        fixed: Mapping[str, Any],
        columns: Mapping[str, Sequence[Any]],
        references: ReferenceOf,
    ) -> None:
        self._definition = definition
        self._fixed = fixed
        self._columns = columns
        self._references = references
        self._parts: list[tuple[bytes, Sequence[Any] | None]] = []
        """In the order of the parameters: what stands for the name and value, or for the name of a column."""
        if definition.arity and definition.signature is not None:
            for name in definition.signature.parameters:
                if name in columns:
                    self._parts.append((written_name(name), columns[name]))
                elif name in fixed:
                    self._parts.append((argument(name, fixed[name], references), None))

    def of(self, number: int) -> bytes:
        """Return what :func:`inputs_digest` returns for one item."""
        if not self._parts:
            row = {name: column[number] for name, column in self._columns.items()}
            return inputs_digest(self._definition, (), {**self._fixed, **row}, self._references)
        found: list[bytes] = []
        for known, column in self._parts:
            found.append(known)
            if column is not None:
                found.append(written_value(column[number], self._references))
        return combined(found)


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
