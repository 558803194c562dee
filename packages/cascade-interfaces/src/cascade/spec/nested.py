"""Find lazy results inside values, and put other values in their place. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from cascade.interfaces.errors import UsageError
from cascade.spec._containers import Deferred, Kind, kind_of, rebuilt

PLAIN = frozenset({int, str, float, bool, bytes, type(None)})
"""The commonest types of values that hold nothing; asked before anything else, because it is quick."""

VISITS_PER_STEP = 20_000
"""After how many items a walk in steps gives other work a turn."""

_LARGE = 32
"""Items from which on remembering a container costs less than looking into it."""
_AT_A_CALL = 500
"""Items that are looked at when a task is called; the graph looks at all of them before the run begins."""


def find_lazies(value: object) -> list[Any]:
    """Return the lazy results in ``value``, in order, each as often as it occurs.

    Lists, tuples, dicts (keys too), sets, deques, slices, partials, namespaces, instances of
    dataclasses, attrs, pydantic and msgspec, and subclasses of all these are looked into, however
    deep, without recursion; one that occurs twice, or holds itself, is looked into once.

    :raises UsageError: if a lazy result is an attribute of any other object, an argument of an error, an
        item of a NumPy array, or among the first values of a pandas object.
    """
    return Search().inside(value)


class Search:
    """Finds lazy results in the arguments of many calls.

    A large container without any is remembered, so that the calls that share it do not look into it
    again. For one step of work, during which no code changes them.
    """

    __slots__ = ("_known", "visits")

    def __init__(self) -> None:
        self.visits = 0
        """How many items were looked at."""
        self._known: dict[int, tuple[object, list[Any]]] = {}
        """What was found, by id; with the value, so that no other object gets that id."""

    def look_ahead(self, value: object) -> Generator[None, None, None]:
        """Look into a value that may be large, so that :meth:`inside` finds the result at once; yield between steps.

        :raises UsageError: as ``inside``.
        """
        walk = Walk([value])
        yield from walk.steps()
        self._known[id(value)] = value, walk.found

    def inside(self, value: object) -> list[Any]:
        """Return the lazy results in ``value``; see :func:`find_lazies`.

        :raises UsageError: if one stands where no value can take its place.
        """
        if type(value) in PLAIN:
            return []
        if id(value) in self._known:
            return self._known[id(value)][1]
        walk = Walk([value])
        walk.finish()
        self.visits += walk.visits
        if not walk.found and walk.visits > _LARGE:
            self._known[id(value)] = value, walk.found
        return walk.found


class Walk:
    """One walk through values and all that they hold; ``steps`` is a generator that looks at so many items at once."""

    __slots__ = ("_seen", "_stack", "found", "is_simple", "visits")

    def __init__(self, values: list[Any]) -> None:
        self.found: list[Any] = []
        self.visits = 0
        """How many items were looked at."""
        self.is_simple = True
        """Whether each container is a common one that occurs once, so that copying cannot fail."""
        # by id; some parts are made for the walk, and must not be freed
        self._seen: dict[int, object] = {}
        self._stack = values[::-1]

    def finish(self) -> None:
        """Look at everything.

        :raises UsageError: if a lazy result stands where no value can take its place.
        """
        for _ in self.steps():
            ...

    def steps(self, size: int = VISITS_PER_STEP) -> Generator[None, None, None]:
        """Look at everything, and yield after each ``size`` items."""
        stack, seen, pause = self._stack, self._seen, size
        is_ordered = True
        while stack:
            item = stack.pop()
            if isinstance(item, Deferred):
                self.found.append(item)
                continue
            kind = kind_of(type(item))
            if kind is None:
                continue
            if id(item) in seen:
                self.is_simple = False
                continue
            seen[id(item)] = item
            parts = self._parts(kind, item)
            is_ordered &= kind.is_ordered
            if len(parts) <= size:
                stack.extend(reversed([each for each in parts if type(each) not in PLAIN]))
            else:
                yield
                yield from self._push_many(parts if isinstance(parts, list | tuple) else list(parts), size)
            if self.visits > pause:
                yield
                pause = self.visits + size
        if not is_ordered:  # in an order that is the same in every run
            self.found.sort(key=lambda lazy: lazy._serial())

    def _push_many(self, parts: Sequence[Any], size: int) -> Generator[None, None, None]:
        """Look at the types of many parts, and yield after each ``size`` of them."""
        rest: list[Any] = []
        for start in range(0, len(parts), size):
            rest += [each for each in parts[start : start + size] if type(each) not in PLAIN]
            yield
        self._stack.extend(reversed(rest))

    def _parts(self, kind: Kind, item: object) -> Any:
        parts = kind.parts(item)
        self.visits += _LARGE + 1 if kind.is_costly else len(parts)
        self.is_simple &= kind.is_common
        if kind.rebuild is None:
            for part in parts:
                if isinstance(part, Deferred):
                    rebuilt(kind, item, [])  # raises
        return parts


def may_hold_lazies(value: object) -> bool:
    """Return False if a quick look shows that ``value`` is not a container, or a short one of plain values."""
    kind = kind_of(type(value))
    if kind is None:
        return False
    parts = kind.parts(value) if kind.is_common else None
    return parts is None or len(parts) > _AT_A_CALL or not PLAIN.issuperset(map(type, parts))


def check_arguments(values: Iterable[Any]) -> None:
    """Refuse lazy results that stand where no value can take their place.

    Only the first items of very large arguments are looked at, so that calls that share them stay
    cheap; the graph looks at the others before the run begins.

    :raises UsageError: naming the container.
    """
    nested = [value for value in values if type(value) not in PLAIN and not _is_harmless(value)]
    if not nested:
        return
    walk = Walk(nested)
    for _ in walk.steps(_AT_A_CALL):
        return
    if walk.found and not walk.is_simple:
        # a rehearsal: this raises, or the run will not
        substitute(nested, lambda lazy: lazy._twin())


def _is_harmless(value: object) -> bool:
    """Return whether a value is a lazy result, or a short list or tuple of lazy results and plain values."""
    if type(value) not in (list, tuple):
        return isinstance(value, Deferred)
    items: Any = value
    return len(items) <= _AT_A_CALL and all(
        issubclass(cls, Deferred) for cls in set(map(type, items)) - PLAIN
    )


def substitute(value: object, lookup: Callable[[Any], Any]) -> Any:
    """Return ``value`` with each lazy result in it replaced by what ``lookup`` gives for it.

    A container with a lazy result somewhere inside is copied, keeping its type; the caller's own is
    never written to. One that occurs in several places is copied once, and any other is passed on itself.

    :raises UsageError: if a container with a lazy result cannot be copied, or is a tuple or object that holds itself.
    """
    if isinstance(value, Deferred):
        return lookup(value)
    kind = kind_of(type(value))
    if kind is None:
        return value
    results: dict[int, Any] = {}
    frames = [_Copy(value, kind)]
    opened = {id(value): frames[0]}
    while True:
        frame = frames[-1]
        inner = frame.advance(lookup, results, opened)
        if inner is not None:
            frames.append(inner)
            opened[id(inner.original)] = inner
            continue
        frames.pop()
        del opened[id(frame.original)]
        result = results[id(frame.original)] = frame.finish()
        if not frames:
            return result
        frames[-1].done.append(result)


class _Copy:
    """One container on its way to being copied."""

    __slots__ = ("done", "items", "kind", "original", "parts", "within_itself")

    def __init__(self, original: Any, kind: Kind) -> None:
        self.original = original
        self.kind = kind
        # a list of its own, so that all of them live as long as this
        self.parts = list(kind.parts(original))
        self.items: Iterator[Any] = iter(self.parts)
        self.done: list[Any] = []
        self.within_itself: Any = None
        """What stands for the container where it holds itself; None if it does not."""

    def advance(
        self, lookup: Callable[[Any], Any], results: dict[int, Any], opened: dict[int, _Copy]
    ) -> _Copy | None:
        """Copy parts up to the next container that has no copy, and return that; None at the end."""
        for item in self.items:
            if type(item) in PLAIN:
                self.done.append(item)
            elif isinstance(item, Deferred):
                self.done.append(lookup(item))
            elif id(item) in results:
                self.done.append(results[id(item)])
            elif (kind := kind_of(type(item))) is None:
                self.done.append(item)
            elif id(item) in opened:
                self.done.append(opened[id(item)].reference())
            else:
                return _Copy(item, kind)
        return None

    def reference(self) -> Any:
        """Return what stands for this container inside itself: itself, or its copy before it is filled.

        :raises UsageError: if its copy cannot exist before what it holds.
        """
        if self.within_itself is None:
            self.within_itself = self._copy_to_fill() if _reaches_lazy(self.original) else self.original
        return self.within_itself

    def finish(self) -> Any:
        copy = self.within_itself
        if copy is not None and copy is not self.original:
            if isinstance(copy, dict):
                copy.update(rebuilt(self.kind, self.original, self.done))
            else:
                copy.extend(self.done)
            return copy
        if all(new is old for new, old in zip(self.done, self.parts, strict=True)):
            return self.original
        return rebuilt(self.kind, self.original, self.done)

    def _copy_to_fill(self) -> Any:
        if type(self.original) in (list, dict):
            return type(self.original)()
        raise UsageError(
            f"a {type(self.original).__name__} holds itself and a lazy result, so it cannot be copied; "
            "pass the lazy result as an argument of its own"
        )


def _reaches_lazy(container: object) -> bool:
    walk = Walk([container])
    return any(walk.found for _ in walk.steps(64)) or bool(walk.found)
