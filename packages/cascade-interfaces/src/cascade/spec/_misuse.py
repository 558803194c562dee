"""Name the right form where a lazy result or a task is used in a wrong one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, NoReturn

from cascade.interfaces.errors import UsageError
from cascade.interfaces.text import nearest
from cascade.spec.labels import described

_ARITHMETIC = (
    "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow", "lshift", "rshift", "and", "xor", "or",
)  # fmt: skip
OPERATORS = (
    *(f"__{name}__" for name in _ARITHMETIC),
    *(f"__r{name}__" for name in _ARITHMETIC),
    "__neg__", "__pos__", "__abs__", "__invert__", "__lt__", "__le__", "__gt__", "__ge__",
    "__contains__", "__len__", "__int__", "__float__", "__index__", "__round__",
)  # fmt: skip
"""Methods of operators and conversions that need a value."""

_GIVES_A_VALUE = frozenset({"result", "compute", "get", "run", "collect", "execute", "evaluate", "wait"})


def refusing(method: str) -> Callable[..., NoReturn]:
    """Return a method that says that a lazy result has no value to compute with."""

    def refuse(self: object, *_: object) -> NoReturn:
        raise UsageError(
            f"{described(self)} has no value before it runs, so {method}() cannot compute with it; "
            "compute inside a task, or run it first with cs.run(...)"
        )

    refuse.__name__ = method
    return refuse


def called(lazy: object, attribute: str | None, methods: Iterable[str]) -> str:
    """Return what to do instead of calling a lazy result, or the attribute of one."""
    if attribute is None:
        return f"{described(lazy)} cannot be called: it is the result of a call; call the task itself"
    if attribute in _GIVES_A_VALUE:
        return f"a lazy result has no method {attribute}(); write cs.run(lazy), or await cs.arun(lazy)"
    return f"a lazy result has no method {attribute}(){meant(attribute, methods)}; call methods of its value inside a task"


def meant(name: str, known: Iterable[Any], form: str = "{}") -> str:
    """Return ", did you mean ...?" for the most similar of the known names; "" if none is similar."""
    similar = nearest(name, (each for each in known if not each.startswith("_")))
    return f"; did you mean {form.format(similar)}?" if similar else ""


_first_call = ""


def note_first_call() -> None:
    """Note where a script makes its first call, and say at its end that nothing ran, unless :func:`call_used` was called."""
    global _first_call  # noqa: PLW0603 - one for a program
    frame = frame_of_call(2)
    if frame is None or frame.f_globals.get("__name__") != "__main__" or "__file__" not in frame.f_globals:
        return
    import atexit

    _first_call = f"{frame.f_code.co_filename}:{frame.f_lineno}"
    atexit.register(_report_unused)


def call_used() -> None:
    """Note that a program has done something with its calls."""
    global _first_call  # noqa: PLW0603 - one for a program
    _first_call = ""


def frame_of_call(depth: int) -> FrameType | None:
    """Return the nearest frame, from ``depth`` calls up, that is not Cascade's own."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None and frame.f_globals.get("__name__", "").startswith("cascade."):
        frame = frame.f_back
    return frame


def _report_unused() -> None:
    # a program that failed has said why nothing ran
    if _first_call and not hasattr(sys, "last_value"):
        line = f"{_first_call}: lazy results were made and never run; run them with cs.run(...)"
        sys.stderr.write(line + "\n")
