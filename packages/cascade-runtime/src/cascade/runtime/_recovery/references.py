"""What stands in a digest for an argument: for a plain value, and for a call whose value is taken. No I/O."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Any

from cascade.runtime.cache._digest import Reference, digest, written
from cascade.runtime.cache._library_values import UndigestibleError
from cascade.spec import (
    PLAIN,
    Call,
    Condition,
    InputCall,
    LazyResult,
    MapCall,
    RouteCall,
    Search,
    call_of,
    may_hold_lazies,
    substitute,
)

ReferenceOf = Callable[[Call], Reference]
"""Returns what stands for a call whose value is taken."""

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


def combined(parts: Iterable[bytes]) -> bytes:
    """Return the digest of parts, none of which is the beginning of another one in its place."""
    return blake2b(b"".join(parts), digest_size=16).digest()


def argument(name: str, value: Any, references: ReferenceOf) -> bytes:
    """Return what stands for an argument and its name."""
    return written_name(name) + written_value(value, references)


@functools.lru_cache(maxsize=1024)
def written_name(name: str) -> bytes:
    """Return what stands for the name of an argument."""
    return f"{name}\0".encode("utf-8", "surrogatepass")


def condition(declared: Condition, references: ReferenceOf) -> bytes:
    """Return what stands for the condition under which a call is made."""
    return argument("if", declared.lazy, references)


def written_value(value: Any, references: ReferenceOf) -> bytes:
    """Return what stands for a value: its content, if that is plain, otherwise a digest.

    What stands for one value is never the beginning of what stands for another.
    """
    if type(value) in PLAIN:
        return written(value)
    try:
        if isinstance(value, LazyResult):
            value = references(call_of(value))
        elif may_hold_lazies(value):
            value = substitute(value, lambda lazy: references(call_of(lazy)))
        return b"=" + digest(value, _BY_NAME)
    except UndigestibleError:
        return _OPAQUE
    except Exception:
        # whatever a class of the user raises when its state is read
        return _OPAQUE


class References:
    """Returns what stands for a call in the digest of a step that takes its value.

    That is the key of the call, whose own record tells whether it has changed. What has no record of its own counts
    with its content: an item or attribute of a value, a list of values, a route, an input from outside, the size of a
    map and what all its items take, the condition of a call with its other value, and what stands for its failure.

    :param known: what was found for calls, which are not looked at again.
    """

    def __init__(self, key_of: Callable[[Call], str], known: dict[Call, str]) -> None:
        self._key_of = key_of
        self._known = known

    def __call__(self, call: Call) -> Reference:
        """Return what stands for a call."""
        if not _has_content(call):
            return Reference(self._key_of(call))
        # one loop, because declarations may be nested deeper than calls of Python
        stack, opened = [call], set[Call]()
        while stack:
            each = stack[-1]
            if each not in self._known and each not in opened:
                opened.add(each)
                stack += [held for held in _held(each) if _has_content(held) and held not in opened]
                continue
            stack.pop()
            if each not in self._known:
                self._known[each] = self._described(each)
        return Reference(self._known[call])

    def _described(self, call: Call) -> str:
        content = combined([argument(name, value, self._of_known) for name, value in _content(call)])
        own = call.definition.name if call.definition.structural else self._key_of(call)
        return f"{own}({content.hex()})"

    def _of_known(self, call: Call) -> Reference:
        """Return what stands for a call that was looked at; of one that waits for itself, its key alone."""
        return Reference(self._known.get(call) or self._key_of(call))


def _has_content(call: Call) -> bool:
    return (
        call.definition.structural
        or call.condition is not None
        or call.policies.fallback is not None
        or isinstance(call, MapCall)
    )


def _content(call: Call) -> Iterator[tuple[str, Any]]:
    """Yield by name what the value of a call depends on besides its own record."""
    if call.condition is not None:
        yield "if", (call.condition.lazy, call.condition.otherwise, call.condition.skips)
    if call.policies.fallback is not None:
        yield "else", tuple(call.policies.fallback)
    if isinstance(call, MapCall):
        yield "fixed", call.fixed
        for name, column in call.kwargs.items():
            yield name, column if isinstance(column, LazyResult) else len(column)
    elif call.definition.structural:
        yield from ((str(number), value) for number, value in enumerate(call.args))
    if isinstance(call, RouteCall):
        yield "routes", call.routes
    elif isinstance(call, InputCall):
        source = call.source
        yield source.name, (source.from_environment, source.required, source.convert)
        if not source.required:
            yield "default", source.default


def _held(call: Call) -> Iterator[Call]:
    """Yield the calls in the content of one."""
    search = Search()
    for _, value in _content(call):
        yield from map(call_of, search.inside(value))
