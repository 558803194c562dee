"""The version of a task's code: a digest of a function and of what it is made of."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import dis
import enum
import functools
import re
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from cascade.runtime.storage._digest import UndigestibleError, digest
from cascade.spec import Task


def fingerprint(function: Callable[..., Any]) -> bytes:
    """Return the digest of a function: it changes when the function's outcome may.

    Counted are module and qualified name, the code with its literals and inner functions, the
    defaults, what a closure captured, and from the function's own module the functions and
    plain constants that it names, again with all theirs. Not counted are comments, the place
    in the file, what is imported, classes, and variables that the function itself assigns.

    A captured list, dict or other object that can change counts as it was when first seen, for
    it may be where the function notes something down.

    :raises UndigestibleError: if it is a callable object with a state that has no digest.
    """
    return _Walk().callable(function)


@dataclass(frozen=True, slots=True)
class _Code:
    """What is known of a function's code for as long as it has that code."""

    code: types.CodeType
    digest: bytes
    names: tuple[str, ...]
    """Globals that it may read and never assigns."""
    cells: tuple[int, ...]
    """Which captured variables it never assigns."""
    seen: dict[str, tuple[object, bytes]] = field(default_factory=dict)
    """The digest of each thing that it captured, kept while it is the same thing."""


_codes: weakref.WeakKeyDictionary[types.FunctionType, _Code] = weakref.WeakKeyDictionary()


class _Walk:
    """Visits a function and those that it uses, each once."""

    def __init__(self) -> None:
        self._done: dict[types.FunctionType, bytes] = {}
        self._open: set[types.FunctionType] = set()
        self._visits = 0

    def callable(self, function: Callable[..., Any]) -> bytes:
        if isinstance(function, _KNOWN) or not hasattr(function, "__dict__"):
            return digest(function, self.function)
        kind = type(function)
        parts = (kind, getattr(kind, "__call__"), vars(function))  # noqa: B004, B009 - the method itself
        return digest(parts, self.function)

    def function(self, function: types.FunctionType) -> bytes:
        self._visits += 1
        if function in self._open:  # it calls itself, perhaps through others
            return function.__qualname__.encode()
        if function not in self._done:
            self._open.add(function)
            self._done[function] = self._of(function)
            self._open.discard(function)
        return self._done[function]

    def _of(self, function: types.FunctionType) -> bytes:
        known = _codes.get(function)
        if known is None or known.code is not function.__code__:
            known = _codes[function] = _read(function.__code__)
        captured = [(name, self._captured(known, name, value)) for name, value in _captures(function, known)]
        return digest((function.__module__, function.__qualname__, known.digest, captured), self.function)

    def _captured(self, known: _Code, name: str, value: object) -> bytes:
        """Return a digest; what has none counts by its type."""
        before = known.seen.get(name)
        if before is not None and before[0] is value:
            return before[1]
        visits = self._visits
        try:
            found = digest(value, self.function)
        except UndigestibleError:
            found = digest(type(value), self.function)
        if self._visits == visits or not isinstance(value, _OF_FUNCTIONS):
            known.seen[name] = value, found
        return found


def _captures(function: types.FunctionType, known: _Code) -> Iterator[tuple[str, object]]:
    """Yield what the function reads besides its arguments, each with a name of its own."""
    for position, value in enumerate(function.__defaults__ or ()):
        yield f"default {position}", value
    for name, value in sorted((function.__kwdefaults__ or {}).items()):
        yield f"default {name}", value
    for position in known.cells:
        cell = (function.__closure__ or ())[position]
        with contextlib.suppress(ValueError):  # a variable that has no value yet
            yield f"cell {position}", cell.cell_contents
    for name in known.names:
        value = function.__globals__.get(name, _EMPTY)
        if _counts(value, function.__module__):
            yield f"global {name}", value


def _counts(value: object, module: str) -> bool:
    if isinstance(value, types.FunctionType):
        return value.__module__ == module
    if isinstance(value, Task):
        return value.function.__module__ == module
    if isinstance(value, tuple | frozenset):
        return all(_counts(item, module) for item in value)
    return isinstance(value, _CONSTANTS)


def _read(code: types.CodeType) -> _Code:
    names: set[str] = set()
    assigned: set[str] = set()
    for inner in _nested(code):
        names.update(name for name in inner.co_names if not name.startswith("__"))
        assigned.update(
            step.argval
            for step in dis.get_instructions(inner)
            if step.opname in _ASSIGNS_GLOBAL
            or (step.opname in _ASSIGNS_CELL and step.argval in inner.co_freevars)
        )
    cells = tuple(i for i, name in enumerate(code.co_freevars) if name not in assigned)
    return _Code(code, _code_digest(code), tuple(sorted(names - assigned)), cells)


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)


def _code_digest(code: types.CodeType) -> bytes:
    """Return a digest of everything in a code object but where it stands."""
    constants = [_code_digest(item) if isinstance(item, types.CodeType) else item for item in code.co_consts]
    what = (
        sys.implementation.cache_tag,  # another Python compiles otherwise
        code.co_code,
        constants,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_flags,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_exceptiontable,
    )
    return digest(what, _no_function)


def _no_function(function: types.FunctionType) -> bytes:
    raise AssertionError(f"{function} cannot stand among the constants of code")


_ASSIGNS_GLOBAL = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
_ASSIGNS_CELL = frozenset({"STORE_DEREF", "DELETE_DEREF"})
_EMPTY = object()
_OF_FUNCTIONS = (types.FunctionType, Task, types.MethodType, functools.partial, tuple, frozenset)
"""What is looked at anew each time if there are functions in it: what those use may have changed."""
_KNOWN = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type, functools.partial)
_CONSTANTS = (
    *(type(None), bool, int, float, complex, str, bytes, enum.Enum, decimal.Decimal),
    *(dt.date, dt.time, dt.timedelta, PurePath, re.Pattern),
)
