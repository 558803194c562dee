"""A call's way to another process and back: for executors whose workers do not share memory.

``pack_call`` here, ``carry_out`` there, ``open_answer`` here again. A function travels as its
name: what a decorator left at that name (a task) is asked there for its ``function``.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import io
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from cascade.interfaces._travel import has_its_own_way, reduced
from cascade.interfaces.errors import TaskNotPicklableError

Pack = Callable[[object], bytes]
_Reduced = tuple[Callable[..., Any], tuple[Any, ...]]


class RemoteTraceback(Exception):
    """The traceback of an error as it was where the task ran; the error's cause here."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f"\n\nwhere the task ran:\n{self.text}"


def name_of(function: Callable[..., Any]) -> str:
    """Return the name that tells a reader which function it is."""
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)


def pack(value: object) -> bytes:
    """Pickle a value that holds only what another process can find by its name.

    :raises pickle.PicklingError: if it holds a lambda, a nested function, or anything of ``__main__``.
    """
    buffer = io.BytesIO()
    _ByName(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def pack_call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, pack: Pack = pack
) -> bytes:
    """Return a call as bytes, for ``carry_out``.

    :raises TaskNotPicklableError: naming the task, and the argument that cannot be pickled.
    """
    try:
        return pack((function, args, kwargs))
    except Exception as exc:
        part, cause = _culprit(function, args, kwargs, pack) or ("the call", exc)
        raise TaskNotPicklableError(name_of(function), part, _problem(cause)) from cause


def carry_out(parcel: bytes, pack: Pack = pack) -> bytes:
    """Run a packed call and return its outcome as bytes, for ``open_answer``; it raises nothing."""
    try:
        function, args, kwargs = pickle.loads(parcel)
    except Exception as exc:
        return pack(_Unfit("its function or an argument", f"cannot be read there: {_told(exc)}", ""))
    try:
        value = function(*args, **kwargs)
    except BaseException as exc:
        return _pack_error(exc, pack)
    finally:
        del function, args, kwargs
    try:
        return pack(_Value(value))
    except Exception as exc:
        return pack(_Unfit("its result", _problem(exc), ""))


def open_answer(answer: bytes, task_name: str) -> Any:
    """Return what the call returned, or raise what it raised, with the traceback from there.

    :raises TaskNotPicklableError: if something of the call could not travel.
    """
    try:
        outcome = pickle.loads(answer)
    except Exception as exc:
        raise TaskNotPicklableError(task_name, "its result", f"cannot be read here: {_told(exc)}") from exc
    return outcome.open(task_name)


@dataclass(frozen=True, slots=True)
class _Value:
    value: Any

    def open(self, task_name: str) -> Any:
        return self.value


@dataclass(frozen=True, slots=True)
class _Error:
    error: BaseException
    trace: str

    def open(self, task_name: str) -> Any:
        raise self.error from RemoteTraceback(self.trace)


@dataclass(frozen=True, slots=True)
class _Unfit:
    """Something of the outcome that cannot come back."""

    part: str
    problem: str
    trace: str

    def open(self, task_name: str) -> Any:
        raise TaskNotPicklableError(task_name, self.part, self.problem) from (
            RemoteTraceback(self.trace) if self.trace else None
        )


def _pack_error(error: BaseException, pack: Pack) -> bytes:
    """Pack an error as its class says, or without calling its ``__init__`` again, else as text."""
    trace = "".join(traceback.format_exception(error)).rstrip()
    if isinstance(error, StopIteration):  # no future can carry it (PEP 479)
        error = RuntimeError("the task raised StopIteration")
    problem = ""
    for form in _forms(error):
        try:
            packed = pack(_Error(form, trace))  # type: ignore[arg-type]  # a _Rebuilt is unpickled as the error
            if type(pickle.loads(packed).error) is type(error):
                return packed
        except Exception as exc:
            problem = problem or _problem(exc)
    return pack(_Unfit(f"the error that it raised, {_told(error)!r},", problem or "changes its type", trace))


def _forms(error: BaseException) -> tuple[object, ...]:
    """Return what to pickle for an error: the first one, or the second where that fails."""
    rebuilt = _Rebuilt(error)
    return (error, rebuilt) if has_its_own_way(type(error)) else (rebuilt, error)


class _Rebuilt:
    """Pickles as an error of the same type, arguments and attributes; so do the members of a group."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        make, (kind, args), state = reduced(self._error)
        if isinstance(self._error, BaseExceptionGroup):
            args = (args[0], [_forms(member)[0] for member in self._error.exceptions])
        return make, (kind, args), state


class _ByName(pickle.Pickler):
    """Refuses what no other process can find; sends a task's function as the task's name."""

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, FunctionType):
            return NotImplemented if _named_as(obj) is obj else inside_task(obj) or _refuse(obj)
        if isinstance(obj, type) and obj.__module__ == "__main__":
            raise pickle.PicklingError(f"is of {obj.__qualname__}, a class {_OF_MAIN}")
        return NotImplemented


_OF_MAIN = "of the program that was started, which workers do not run; move it into a module and import it"
_TOP = "define it with def at the top of a module"


def inside_task(function: FunctionType) -> _Reduced | None:
    """Return how to find the function of a task of a module elsewhere; None if it is no such one.

    It is what ``reducer_override`` of a pickler may return: a plain pickler looks at the
    function's name, finds the task that a decorator left there, and gives up.
    """
    if getattr(_named_as(function), "function", None) is not function:
        return None
    return function_of, (function.__module__, function.__qualname__)


def function_of(module: str, qualname: str) -> Any:
    """Return the function of the task of this name."""
    return _find(module, qualname).function


def _named_as(function: FunctionType) -> Any:
    """Return what another process finds at the function's name, None if nothing."""
    module, qualname = function.__module__, function.__qualname__
    if module in (None, "__main__") or "<" in qualname:
        return None
    try:
        return _find(module, qualname)
    except (ImportError, AttributeError):
        return None


def _find(module: str, qualname: str) -> Any:
    return functools.reduce(getattr, qualname.split("."), importlib.import_module(module))


def _refuse(function: FunctionType) -> Any:
    if function.__module__ == "__main__":
        problem = f"is a function {_OF_MAIN}"
    elif function.__name__ == "<lambda>":
        problem = f"is a lambda; {_TOP}"
    elif "<locals>" in function.__qualname__:
        problem = f"is defined inside another function; {_TOP}"
    else:
        problem = f"is not what {function.__module__}.{function.__qualname__} names; {_TOP}"
    raise pickle.PicklingError(problem)


def _culprit(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], pack: Pack
) -> tuple[str, Exception] | None:
    """Find the first part of a call that cannot be packed by itself."""
    labelled = zip(_labels(function, len(args)), args, strict=True)
    parts = [("its function", function), *labelled, *((f"argument {k!r}", v) for k, v in kwargs.items())]
    for part, value in parts:
        try:
            pack(value)
        except Exception as exc:
            return part, exc
    return None


def _labels(function: Callable[..., Any], count: int) -> list[str]:
    try:
        names = [f"argument {name!r}" for name in inspect.signature(function).parameters]
    except (TypeError, ValueError):
        names = []
    return [*names, *(f"argument number {n}" for n in range(len(names) + 1, count + 1))][:count]


def _problem(error: Exception) -> str:
    text = str(error)
    return text if text.startswith("is ") else f"cannot be pickled ({_told(error)})"


def _told(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip()
