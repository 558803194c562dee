"""Lazy results inside a task's arguments: find them, and put values in their place. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cascade.spec import LazyResult

Lookup = Callable[[LazyResult[Any]], Any]


def find_lazies(value: object) -> list[LazyResult[Any]]:
    """Return the lazy results in ``value``, in order, each as often as it stands there.

    Lists, tuples and dicts (their values) are looked into, however deep, without recursion;
    one that holds itself is looked into once.
    """
    found: list[LazyResult[Any]] = []
    seen: set[int] = set()
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, LazyResult):
            found.append(item)
        elif isinstance(item, list | tuple | dict) and id(item) not in seen:
            seen.add(id(item))
            stack.extend(reversed(list(item.values() if isinstance(item, dict) else item)))
    return found


def substitute(value: object, lookup: Lookup) -> Any:
    """Return ``value`` with each lazy result in it replaced by what ``lookup`` gives for it.

    Containers that change are copied, keeping their type if it is list, tuple, dict or a
    named tuple; the caller's own are never written to.
    """
    if isinstance(value, LazyResult):
        return lookup(value)
    if not _is_container(value):
        return value
    frames = [_Copy(value)]
    opened = {id(value)}
    while True:
        copy = frames[-1]
        inner = copy.advance(lookup, opened)
        if inner is not None:
            frames.append(_Copy(inner))
            opened.add(id(inner))
            continue
        frames.pop()
        opened.discard(id(copy.original))
        if not frames:
            return copy.finish()
        frames[-1].done.append(copy.finish())


def _is_container(value: object) -> bool:
    return isinstance(value, list | tuple | dict)


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
            elif _is_container(item) and id(item) not in opened:
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
        if isinstance(original, tuple):
            return original._make(self.done) if hasattr(original, "_make") else tuple(self.done)
        return self.done


def _items(container: Any) -> list[Any]:
    return list(container.values()) if isinstance(container, dict) else list(container)
