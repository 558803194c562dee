"""Containers: the items of each kind, and a copy with other items. No I/O."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections import ChainMap, OrderedDict, UserDict, UserList, deque
from collections.abc import Callable, Collection, Iterator
from types import (
    BuiltinFunctionType,
    FunctionType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    SimpleNamespace,
)
from typing import TYPE_CHECKING, Any, NamedTuple

from cascade.interfaces.errors import UsageError

if TYPE_CHECKING:

    class Deferred(Any):  # type: ignore[misc] # what derives from Any is accepted where a value is expected
        """A value that is known only in a run. Type checkers accept it wherever they expect a value."""

        def _serial(self) -> int: ...
        def _twin(self) -> Any: ...

else:

    class Deferred:
        """A value that is known only in a run: what is looked for in containers."""

        __slots__ = ()


class Kind(NamedTuple):
    """One kind of container."""

    parts: Callable[[Any], Collection[Any]]
    """Returns what a container holds."""
    rebuild: Callable[[Any, list[Any]], Any] | None
    """Returns a copy of a container that holds other parts, in the same order; None if this cannot be done."""
    is_common: bool = False
    """Whether the copy is made without code of a user."""
    is_ordered: bool = True
    """Whether its parts have an order that is the same in every run."""
    is_costly: bool = False
    """Whether looking into it costs more than remembering what was found."""


def _kind_of(cls: type) -> Kind | None:
    """Return how to look into instances of a class; None if they hold nothing that could be found."""
    if cls in _EXACT:
        return _EXACT[cls]
    if issubclass(cls, _OPAQUE):
        return None
    for base, kind in _SUBCLASSES.items():
        if issubclass(cls, base):
            return kind
    return _kind_of_object(cls)


def _kind_of_object(cls: type) -> Kind | None:
    members = _members(cls)
    if hasattr(cls, "__struct_fields__"):  # msgspec
        return Kind(_struct_parts, _struct_rebuilt)
    if issubclass(cls, _RECORDS) or any(hasattr(cls, mark) for mark in _RECORD_MARKS):
        return Kind(
            functools.partial(_record_parts, members=members),
            functools.partial(_record_rebuilt, members=members),
        )
    if (kind := _kind_of_data(cls, members)) is not None:
        return kind
    if issubclass(cls, BaseException):
        return Kind(functools.partial(_deferred_of_error, members=members), None)
    if members or cls.__dictoffset__:
        return Kind(functools.partial(_deferred_attributes, members=members), None)
    return None


def _kind_of_data(cls: type, members: tuple[Any, ...]) -> Kind | None:
    """Return how to look into the arrays and tables of libraries, which need not be imported for that."""
    if any(base.__module__ == "numpy" and base.__name__ == "ndarray" for base in cls.__mro__):
        return Kind(_deferred_items, None)
    if (reader := _pandas_reader(cls)) is not None:
        parts = functools.partial(_deferred_of_pandas, read=reader, members=members)
        return Kind(parts, None, is_costly=True)
    return None


def _pandas_reader(cls: type) -> Callable[[Any], list[Any]] | None:
    if not any(base.__module__.startswith("pandas") for base in cls.__mro__):
        return None
    # only a program with pandas needs it
    from cascade.spec._pandas import reader_for

    return reader_for(cls)


kind_of: Callable[[type], Kind | None] = functools.lru_cache(maxsize=4096)(_kind_of)
"""Returns how to look into instances of a class; None if they hold nothing that could be found."""


def rebuilt(kind: Kind, original: Any, parts: list[Any]) -> Any:
    """Return a copy of ``original`` that holds ``parts``.

    :raises UsageError: if none of the same type can be made.
    """
    name = type(original).__name__
    if kind.rebuild is None:
        raise UsageError(
            f"a lazy result stands in a {name}, in which no value can take its place; "
            "pass it as an argument of its own, or in a list, tuple, dict, set or dataclass"
        )
    try:
        made = kind.rebuild(original, parts)
    except Exception as exc:
        if kind.is_common:
            raise  # a value that is not hashable, for one: the error says so
        raise UsageError(
            f"a lazy result stands in a {name}, which cannot be copied ({type(exc).__name__}: {exc}); "
            "pass it as an argument of its own, or in a list, tuple, dict, set or dataclass"
        ) from exc
    if type(made) is not type(original):
        raise UsageError(
            f"a lazy result stands in a {name}, whose copy is a {type(made).__name__}; "
            "pass it as an argument of its own, or in a list, tuple, dict, set or dataclass"
        )
    return made


def _dict_parts(value: dict[Any, Any]) -> list[Any]:
    return [*value.keys(), *value.values()]


def _dict_rebuilt(original: dict[Any, Any], parts: list[Any]) -> dict[Any, Any]:
    count = len(original)
    return dict(zip(parts[:count], parts[count:], strict=True))


def _dict_refilled(original: dict[Any, Any], parts: list[Any]) -> Any:
    base: Any = OrderedDict if isinstance(original, OrderedDict) else dict
    twin, count = _twin(original, base), len(original)
    base.clear(twin)
    for key, value in zip(parts[:count], parts[count:], strict=True):
        base.__setitem__(twin, key, value)
    return twin


def _list_refilled(original: list[Any], parts: list[Any]) -> Any:
    twin = _twin(original, list)
    list.__setitem__(twin, slice(None), parts)
    return twin


def _tuple_refilled(original: tuple[Any, ...], parts: list[Any]) -> Any:
    return _with_attributes(original, tuple.__new__(type(original), parts))


def _set_refilled(original: set[Any], parts: list[Any]) -> Any:
    twin = _twin(original, set)
    set.clear(twin)
    set.update(twin, parts)
    return twin


def _frozenset_refilled(original: frozenset[Any], parts: list[Any]) -> Any:
    return _with_attributes(original, frozenset.__new__(type(original), parts))


def _deque_refilled(original: deque[Any], parts: list[Any]) -> Any:
    twin = copy.copy(original)
    deque.clear(twin)
    deque.extend(twin, parts)
    return twin


def _twin(original: Any, base: Any) -> Any:
    """Return an instance to refill, made without the class's own methods unless it says how to copy it."""
    if hasattr(type(original), "__copy__"):
        return copy.copy(original)
    return _with_attributes(original, base.__new__(type(original)))


def _with_attributes(original: Any, twin: Any) -> Any:
    for place, value in _attributes(original, _members(type(original))):
        _set(twin, place, value)
    return twin


def _proxy_rebuilt(original: MappingProxyType[Any, Any], parts: list[Any]) -> Any:
    count = len(original)
    return MappingProxyType(dict(zip(parts[:count], parts[count:], strict=True)))


def _slice_parts(value: slice) -> tuple[Any, Any, Any]:
    return value.start, value.stop, value.step


def _partial_parts(value: functools.partial[Any]) -> list[Any]:
    return [*value.args, *value.keywords.values()]


def _partial_rebuilt(original: functools.partial[Any], parts: list[Any]) -> Any:
    count = len(original.args)
    keywords = dict(zip(original.keywords, parts[count:], strict=True))
    return functools.partial(original.func, *parts[:count], **keywords)


def _members(cls: type) -> tuple[Any, ...]:
    """Return the descriptors of a class's slots."""
    found = [each for base in cls.__mro__ for each in vars(base).values()]
    return tuple(
        [each for each in found if isinstance(each, MemberDescriptorType) and each.__name__ != "__dict__"]
    )


def _attributes(value: Any, members: tuple[Any, ...]) -> Iterator[tuple[Any, Any]]:
    """Yield each attribute that is set, with its slot or its name."""
    with contextlib.suppress(AttributeError):
        yield from object.__getattribute__(value, "__dict__").items()
    for member in members:
        try:
            yield member, member.__get__(value)
        except AttributeError:  # not set
            continue


def _set(twin: Any, place: Any, value: Any) -> None:
    """Set an attribute, also of an object that is frozen for its user."""
    if isinstance(place, str):
        object.__getattribute__(twin, "__dict__")[place] = value
    else:
        place.__set__(twin, value)


def _record_parts(value: Any, members: tuple[Any, ...]) -> list[Any]:
    return [part for _, part in _attributes(value, members)]


def _record_rebuilt(original: Any, parts: list[Any], members: tuple[Any, ...]) -> Any:
    """Copy an instance without calling its class: it was already checked when it was made."""
    twin = copy.copy(original)
    for (place, old), new in zip(list(_attributes(original, members)), parts, strict=True):
        if new is not old:
            _set(twin, place, new)
    return twin


def _struct_parts(value: Any) -> list[Any]:
    return [getattr(value, name) for name in value.__struct_fields__]


def _struct_rebuilt(original: Any, parts: list[Any]) -> Any:
    return type(original)(**dict(zip(original.__struct_fields__, parts, strict=True)))


def _deferred_attributes(value: Any, members: tuple[Any, ...]) -> list[Any]:
    """Return only the lazy results: an object of unknown kind may hold half of the program."""
    return [part for _, part in _attributes(value, members) if isinstance(part, Deferred)]


def _deferred_items(array: Any) -> list[Any]:
    """Return the lazy results in a NumPy array, which holds objects only if its type says so."""
    return _deferred_among(array.ravel().tolist()) if array.dtype.hasobject else []


def _deferred_of_pandas(value: Any, read: Callable[[Any], list[Any]], members: tuple[Any, ...]) -> list[Any]:
    return _deferred_among(read(value)) + _deferred_attributes(value, members)


def _deferred_among(items: list[Any]) -> list[Any]:
    # quick also for very many
    if not any(issubclass(cls, Deferred) for cls in set(map(type, items))):
        return []
    return [item for item in items if isinstance(item, Deferred)]


def _deferred_of_error(error: BaseException, members: tuple[Any, ...]) -> list[Any]:
    items = [item for item in error.args if isinstance(item, Deferred)]
    return items + _deferred_attributes(error, members)


_OPAQUE = (type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, Deferred)
_RECORDS = (SimpleNamespace, UserDict, UserList, ChainMap)
_RECORD_MARKS = ("__dataclass_fields__", "__attrs_attrs__", "__pydantic_fields__")
_EXACT: dict[type, Kind | None] = {
    **dict.fromkeys((int, str, float, bool, bytes, complex, type(None)), None),
    list: Kind(lambda value: value, lambda _, parts: list(parts), is_common=True),
    tuple: Kind(lambda value: value, lambda _, parts: tuple(parts), is_common=True),
    dict: Kind(_dict_parts, _dict_rebuilt, is_common=True),
    set: Kind(lambda value: value, lambda _, parts: set(parts), is_common=True, is_ordered=False),
    frozenset: Kind(lambda value: value, lambda _, parts: frozenset(parts), is_common=True, is_ordered=False),
    slice: Kind(_slice_parts, lambda _, parts: slice(*parts), is_common=True),
    functools.partial: Kind(_partial_parts, _partial_rebuilt),
    MappingProxyType: Kind(_dict_parts, _proxy_rebuilt, is_common=True),
    type({}.keys()): Kind(list, None),
    type({}.values()): Kind(list, None),
    type({}.items()): Kind(list, None),
}
_SUBCLASSES: dict[type, Kind] = {
    dict: Kind(_dict_parts, _dict_refilled),
    list: Kind(lambda value: value, _list_refilled),
    tuple: Kind(lambda value: value, _tuple_refilled),
    set: Kind(lambda value: value, _set_refilled, is_ordered=False),
    frozenset: Kind(lambda value: value, _frozenset_refilled, is_ordered=False),
    deque: Kind(lambda value: value, _deque_refilled),
}
