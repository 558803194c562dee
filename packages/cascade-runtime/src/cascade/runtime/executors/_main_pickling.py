"""Pickles calls for workers on this machine, with functions and classes of the program's main module.

A worker imports the main module if that is possible without running the program again. What it
cannot find there travels by value, if cloudpickle is installed.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import pickle
import sys
from types import FunctionType
from typing import Any

from cascade.interfaces.main_module import GUARD, MainModule, is_guarded, main_module
from cascade.interfaces.pickled_calls import ByName, by_name, refuse

_MOVE = "move the task into a module and import it"
_INSTALL = "or install cloudpickle (pip install cloudpickle), which sends functions and classes by value"


def pack(value: object) -> bytes:
    """Pickle a value by name; what a worker cannot import from the main module, by value.

    :raises pickle.PicklingError: if a worker can have something neither way.
    """
    try:
        return _dump(_ByReference, value)
    except _NotInMain:
        if importlib.util.find_spec("cloudpickle") is None:
            raise
        return _dump(_by_value(), value)


def _dump(pickler: Any, value: object) -> bytes:
    buffer = io.BytesIO()
    pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


class _NotInMain(pickle.PicklingError):
    """A function or a class of the main module that a worker cannot import."""


class _ByReference(ByName):
    def of_main(self, obj: FunctionType | type) -> Any:
        return _reference(obj) or _refuse(obj)


@functools.cache
def _by_value() -> Any:
    """Return a pickler that sends by value what no worker can import from the main module."""
    import cloudpickle  # type: ignore[import-untyped]

    class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: object) -> Any:
            if isinstance(obj, FunctionType | type) and obj.__module__ == "__main__":
                return _reference(obj) or super().reducer_override(obj)
            return by_name(obj) if isinstance(obj, FunctionType) else super().reducer_override(obj)

    return ByValue


def _reference(obj: FunctionType | type) -> Any:
    """Return how a worker finds a function or a class in the main module; None if it cannot."""
    main = main_module()
    if main is None or not is_guarded(main.path):
        return None
    try:
        found = _find(sys.modules["__main__"], obj.__qualname__)
    except AttributeError:
        return None
    of_task = getattr(found, "function", None) is obj
    return (_from_main, (main, obj.__qualname__, of_task)) if of_task or found is obj else None


def _from_main(main: MainModule, qualname: str, of_task: bool) -> Any:
    """Return a function or a class of the main module, or the function of a task there; for workers."""
    found = _find(main.imported(), qualname)
    return found.function if of_task else found


def _find(thing: object, qualname: str) -> Any:
    return functools.reduce(getattr, qualname.split("."), thing)


def _refuse(obj: FunctionType | type) -> Any:
    if isinstance(obj, FunctionType) and "<" in obj.__qualname__:
        try:
            refuse(obj)
        except pickle.PicklingError as exc:
            raise _NotInMain(str(exc)) from None
    what = "a function" if isinstance(obj, FunctionType) else f"of {obj.__qualname__}, a class"
    main = main_module()
    if main is None:
        why, remedy = "which no worker can import, because no file contains it", _MOVE
    elif not is_guarded(main.path):
        why = f"and {main.path} has no `{GUARD}`, so each worker would run the program again"
        remedy = f"put the code that the program runs under `{GUARD}`, or {_MOVE}"
    else:
        why, remedy = f"and {main.path} does not contain it under this name", _MOVE
    raise _NotInMain(f"is {what} of the main program, {why};\n{remedy},\n{_INSTALL}")
