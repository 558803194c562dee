"""The attributes that an instance keeps, wherever its class puts them. No I/O."""

from __future__ import annotations

import types
import weakref
from typing import Any

_slots_of: weakref.WeakKeyDictionary[type, tuple[str, ...]] = weakref.WeakKeyDictionary()


def instance_state(value: object, *, known: type | None = None) -> list[tuple[str, Any]]:
    """Return the attributes in ``__dict__`` and in slots; not the slots of ``known`` and its bases."""
    names = _slots(type(value))
    if known is not None and names:
        names = tuple(name for name in names if not hasattr(known, name))
    slots = [(name, getattr(value, name)) for name in names if hasattr(value, name)]
    return [*getattr(value, "__dict__", {}).items(), *slots]


def is_implemented_in_c(class_: type) -> bool:
    """Return whether a class is none that a ``class`` statement created: it may keep state out of sight."""
    return bool(class_.__flags__ & _IMMUTABLE_TYPE) or not class_.__flags__ & _HEAP_TYPE


def has_call_method(class_: type) -> bool:
    """Return whether the instances of a class can be called."""
    return any("__call__" in vars(base) for base in class_.__mro__)


def _slots(class_: type) -> tuple[str, ...]:
    """Return the names of the slots of a class and its bases, private names mangled."""
    found = _slots_of.get(class_)
    if found is None:
        found = _slots_of[class_] = tuple(
            name
            for base in class_.__mro__
            for name, attribute in vars(base).items()
            if isinstance(attribute, types.MemberDescriptorType)
        )
    return found


_IMMUTABLE_TYPE = 1 << 8
_HEAP_TYPE = 1 << 9
