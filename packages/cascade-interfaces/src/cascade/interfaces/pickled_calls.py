"""Pickled calls: for executors whose workers do not share memory.

``pack_call`` here, ``run_packed`` in the worker, ``open_answer`` here again. A function is pickled
as its name: if a decorator left a task at that name, the worker takes the task's ``function``.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import io
import pickle
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from cascade.interfaces._pickled_errors import defines_reduce, reduced
from cascade.interfaces.call_context import StepInfo, in_worker, step_in_worker
from cascade.interfaces.errors import TaskNotPicklableError
from cascade.interfaces.forked_children import end_forked_child, generation
from cascade.interfaces.main_module import MAIN
from cascade.interfaces.tracebacks import begin_in_user_code

Pack = Callable[[object], bytes]
_Reduced = tuple[Callable[..., Any], tuple[Any, ...]]


class RemoteTraceback(Exception):
    """The traceback of an error in the process where the task ran: the cause of the error raised here."""

    from_another_process = True

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f"\n\nwhere the task ran:\n{self.text}"


def name_of(function: Callable[..., Any]) -> str:
    """Return the name of a function for messages."""
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)


def pack(value: object) -> bytes:
    """Pickle a value that holds only what another process can find by its name.

    :raises pickle.PicklingError: if it holds a lambda, a nested function, or anything of ``__main__``.
    """
    buffer = io.BytesIO()
    ByName(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def pack_call(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    pack: Pack = pack,
    step: StepInfo | None = None,
) -> bytes:
    """Return a call as bytes, for ``run_packed``; with a step, ``cs.step`` returns that in the worker.

    :raises TaskNotPicklableError: naming the task, and the argument that cannot be pickled.
    """
    step_fields = tuple(step) if step is not None else None
    try:
        return pack((function, args, kwargs, step_fields))
    except Exception as exc:
        part, cause = _unpicklable_part(function, args, kwargs, pack) or ("the call", exc)
    # Outside the except block, because the pickler's frames say nothing about what it refuses by itself.
    refused = str(cause).startswith("is ")
    raise TaskNotPicklableError(name_of(function), part, _problem(cause)) from None if refused else cause


def run_packed(packed: bytes | memoryview, pack: Pack = pack) -> bytes:
    """Run a packed call and return its outcome as bytes, for ``open_answer``; it raises nothing."""
    try:
        function, args, kwargs, step_fields = pickle.loads(packed)
    except Exception as exc:
        return pack(
            _Unpicklable(
                "its function or an argument", f"cannot be read in the worker: {_described(exc)}", ""
            )
        )
    began, entered = generation(), in_worker.set(True)
    known = step_in_worker.set(StepInfo(*step_fields) if step_fields is not None else None)
    try:
        with _observed(step_fields[-1]) if step_fields and step_fields[-1] else nullcontext():
            value = function(*args, **kwargs)
        end_forked_child(began)
    except BaseException as exc:
        end_forked_child(began, exc)
        return _pack_error(exc, pack)
    finally:
        in_worker.reset(entered)
        step_in_worker.reset(known)
        del function, args, kwargs
    try:
        return pack(_Value(value))
    except Exception as exc:
        return pack(_Unpicklable("its result", _problem(exc), ""))


@contextmanager
def _observed(traceparent: str) -> Iterator[None]:
    """Enter what the installed observers offer for the code of a traced attempt; their errors change nothing."""
    with ExitStack() as stack:
        for in_worker in _contexts_of_observers():
            with suppress(Exception):
                stack.enter_context(in_worker(traceparent))
        yield


@functools.cache
def _contexts_of_observers() -> list[Callable[[str], AbstractContextManager[object]]]:
    from importlib.metadata import entry_points

    found = []
    for point in entry_points(group="cascade.observers"):
        with suppress(Exception):
            found.append(point.load().in_worker)
    return found


def open_answer(answer: bytes | memoryview, task_name: str) -> Any:
    """Return what the call returned, or raise what it raised, with the traceback from there.

    :raises TaskNotPicklableError: if a part of the call or its outcome could not be pickled.
    """
    try:
        outcome = pickle.loads(answer)
    except Exception as exc:
        raise TaskNotPicklableError(
            task_name, "its result", f"cannot be read here: {_described(exc)}"
        ) from exc
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
class _Unpicklable:
    """A part of the outcome that cannot be pickled."""

    part: str
    problem: str
    trace: str

    def open(self, task_name: str) -> Any:
        raise TaskNotPicklableError(task_name, self.part, self.problem) from (
            RemoteTraceback(self.trace) if self.trace else None
        )


def _pack_error(error: BaseException, pack: Pack) -> bytes:
    """Pack an error as its class says, or without calling its ``__init__`` again, else as text."""
    trace = "".join(traceback.format_exception(begin_in_user_code(error))).rstrip()
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
    return pack(
        _Unpicklable(
            f"the error that it raised, {_described(error)!r},", problem or "changes its type", trace
        )
    )


def _forms(error: BaseException) -> tuple[object, ...]:
    """Return what to pickle for an error: the first one, or the second where that fails."""
    rebuilt = _Rebuilt(error)
    return (error, rebuilt) if defines_reduce(type(error)) else (rebuilt, error)


class _Rebuilt:
    """Pickles as an error of the same type, arguments and attributes; so do the members of a group."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        make, (kind, args), state = reduced(self._error)
        if isinstance(self._error, BaseExceptionGroup):
            args = (args[0], [_forms(member)[0] for member in self._error.exceptions])
        return make, (kind, args), state


class ByName(pickle.Pickler):
    """Refuses functions and classes that another process cannot find; pickles a task's function as the task's name.

    A subclass may define :meth:`of_main` to pickle those of the program's main module.
    """

    def reducer_override(self, obj: object) -> Any:
        if isinstance(obj, FunctionType | type) and obj.__module__ == MAIN:
            return self.of_main(obj)
        return by_name(obj) if isinstance(obj, FunctionType) else NotImplemented

    def of_main(self, obj: FunctionType | type) -> Any:
        """Return how to pickle a function or a class of the main module; here, refuse it."""
        what = "a function" if isinstance(obj, FunctionType) else f"of {obj.__qualname__}, a class"
        raise pickle.PicklingError(f"is {what} {_OF_MAIN}")


def by_name(function: FunctionType) -> Any:
    """Return what ``reducer_override`` of a pickler returns for a function that a module contains.

    :raises pickle.PicklingError: if its module does not contain it under its name.
    """
    return NotImplemented if _named_as(function) is function else task_function(function) or refuse(function)


_OF_MAIN = "of the program that was started, which workers do not run; move it into a module and import it"
_TOP = "define it with def at the top of a module"


def task_function(function: FunctionType) -> _Reduced | None:
    """Return how another process finds the function of a module's task; None for any other function.

    ``reducer_override`` of a pickler may return it: a plain pickler looks up the function's
    name, finds the task that a decorator left there, and fails.
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
    if module in (None, MAIN) or "<" in qualname:
        return None
    try:
        return _find(module, qualname)
    except (ImportError, AttributeError):
        return None


def _find(module: str, qualname: str) -> Any:
    return functools.reduce(getattr, qualname.split("."), importlib.import_module(module))


def refuse(function: FunctionType) -> Any:
    """Refuse a function that its module does not contain under its name.

    :raises pickle.PicklingError: always.
    """
    if function.__name__ == "<lambda>":
        problem = f"is a lambda; {_TOP}"
    elif "<locals>" in function.__qualname__:
        problem = f"is defined inside another function; {_TOP}"
    else:
        problem = f"is not what {function.__module__}.{function.__qualname__} names; {_TOP}"
    raise pickle.PicklingError(problem)


def _unpicklable_part(
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
        parameters = inspect.signature(function).parameters.values()
        names = [f"argument {p.name!r}" for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD]
    except (TypeError, ValueError):
        names = []
    return [*names, *(f"argument number {n}" for n in range(len(names) + 1, count + 1))][:count]


def _problem(error: Exception) -> str:
    text = str(error)
    return text if text.startswith("is ") else f"cannot be pickled ({_described(error)})"


def _described(error: BaseException) -> str:
    """Return an error without its notes: from Python 3.14 on, pickle adds a line for each object around the one at fault."""
    summary = traceback.TracebackException(type(error), error, None)
    summary.__notes__ = None
    return "".join(summary.format_exception_only()).strip()
