"""Lazy results inside a task's arguments: find them, and put values in their place. Pure."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator
from dataclasses import fields
from typing import Any

from cascade.spec import Call, LazyResult

Lookup = Callable[[LazyResult[Any]], Any]


_PLAIN = frozenset({int, str, float, bool, bytes, type(None)})
_LARGE = 32
"""Items from which on remembering a container costs less than looking into it."""


def is_container(value: object) -> bool:
    """Return whether ``value`` is looked into: a list, tuple, dict or an instance of a dataclass."""
    if type(value) in _PLAIN:
        return False
    return isinstance(value, list | tuple | dict) or (
        hasattr(type(value), "__dataclass_fields__") and not isinstance(value, type)
    )


def find_lazies(value: object) -> list[LazyResult[Any]]:
    """Return the lazy results in ``value``, in order, each as often as it stands there.

    Containers are looked into, however deep, without recursion; one that holds itself is looked
    into once. Of a dict, values are looked at and keys are not.
    """
    return Search().inside(value)


class Search:
    """Finds lazy results in the arguments of many calls.

    A large container that holds none is remembered, so that the calls that share it, such as the
    items of a map, do not look into it again. For one step of work, in which nobody writes to it.
    """

    __slots__ = ("_empty", "visits")

    def __init__(self) -> None:
        self.visits = 0
        """How many items were looked at."""
        self._empty: dict[int, object] = {}  # by id; kept here, so that nothing else gets that id

    def inside(self, value: object) -> list[LazyResult[Any]]:
        """Return the lazy results in ``value``; see :func:`find_lazies`."""
        if type(value) in _PLAIN or id(value) in self._empty:
            return []
        before = self.visits
        found = self._walk(value)
        if not found and self.visits - before > _LARGE:
            self._empty[id(value)] = value
        return found

    def _walk(self, value: object) -> list[LazyResult[Any]]:
        found: list[LazyResult[Any]] = []
        seen: set[int] = set()
        stack = [value]
        while stack:
            item = stack.pop()
            if isinstance(item, LazyResult):
                found.append(item)
            elif is_container(item) and id(item) not in seen:
                seen.add(id(item))
                items = _items(item)
                self.visits += len(items)
                stack.extend(reversed([each for each in items if type(each) not in _PLAIN]))
        return found


def inputs_of(call: Call, search: Search) -> tuple[tuple[LazyResult[Any], ...], bool]:
    """Return what a call takes the values of, and whether any of it stands inside a container."""
    demands = call.policies.demands
    found: list[LazyResult[Any]] = (
        [a for a in demands.values() if isinstance(a, LazyResult)] if demands else []
    )
    nested = False
    for argument in (*call.args, *call.kwargs.values()) if call.kwargs else call.args:
        if isinstance(argument, LazyResult):
            found.append(argument)
        elif is_container(argument):
            inside = search.inside(argument)
            if inside:
                nested = True
                found += inside
    return tuple(found), nested


def substitute(value: object, lookup: Lookup) -> Any:
    """Return ``value`` with each lazy result in it replaced by what ``lookup`` gives for it.

    Containers that change are copied, keeping their type if it is list, tuple, dict, a named
    tuple or a dataclass; the caller's own are never written to.
    """
    if isinstance(value, LazyResult):
        return lookup(value)
    if not is_container(value):
        return value
    frames = [_Copy(value)]
    opened = {id(value)}
    while True:
        frame = frames[-1]
        inner = frame.advance(lookup, opened)
        if inner is not None:
            frames.append(_Copy(inner))
            opened.add(id(inner))
            continue
        frames.pop()
        opened.discard(id(frame.original))
        if not frames:
            return frame.finish()
        frames[-1].done.append(frame.finish())


class _Copy:
    """One container on its way to being copied."""

    __slots__ = ("done", "items", "original")

    def __init__(self, original: Any) -> None:
        self.original = original
        self.items: Iterator[Any] = iter(_items(original))
        self.done: list[Any] = []

    def advance(self, lookup: Lookup, opened: set[int]) -> Any:
        """Copy items up to the next container, and return that; None at the end."""
        for item in self.items:
            if isinstance(item, LazyResult):
                self.done.append(lookup(item))
            elif is_container(item) and id(item) not in opened:
                return item
            else:
                self.done.append(item)
        return None

    def finish(self) -> Any:
        original = self.original
        if all(new is old for new, old in zip(self.done, _items(original), strict=True)):
            return original
        if isinstance(original, dict):
            return dict(zip(original, self.done, strict=True))
        if isinstance(original, list):
            return self.done
        if isinstance(original, tuple):
            return original._make(self.done) if hasattr(original, "_make") else tuple(self.done)
        return self._dataclass()

    def _dataclass(self) -> Any:
        """Copy an instance without calling its class: it was already checked when it was made."""
        twin = copy.copy(self.original)
        for field, value in zip(fields(self.original), self.done, strict=True):
            object.__setattr__(twin, field.name, value)
        return twin


def _items(container: Any) -> Collection[Any]:
    if isinstance(container, dict):
        return container.values()
    if isinstance(container, list | tuple):
        return container
    return [getattr(container, field.name) for field in fields(container)]
