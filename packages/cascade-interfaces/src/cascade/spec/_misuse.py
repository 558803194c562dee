"""Misuse of lazy results and tasks: errors that name the right form."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import NoReturn

from cascade.interfaces.errors import UsageError
from cascade.interfaces.text import meant
from cascade.spec.labels import described

_BINARY = {
    "add": "+", "sub": "-", "mul": "*", "matmul": "@", "truediv": "/", "floordiv": "//", "mod": "%",
    "divmod": "divmod()", "pow": "**", "lshift": "<<", "rshift": ">>", "and": "&", "xor": "^", "or": "|",
}  # fmt: skip
OPERATORS = {
    **{f"__{name}__": sign for name, sign in _BINARY.items()},
    **{f"__r{name}__": sign for name, sign in _BINARY.items()},
    "__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">=", "__contains__": "the test with in",
    "__neg__": "-", "__pos__": "+", "__invert__": "~", "__abs__": "abs()", "__round__": "round()",
    "__len__": "len()", "__int__": "int()", "__float__": "float()",
}  # fmt: skip
"""Methods of operators and functions that need a value, with what the user has written."""

OTHER_USES = {
    "__index__": "cannot be a whole number, as range() and an index need one; use it inside a task",
    "__fspath__": "cannot be the name of a file; open the file inside a task that takes the name",
    "__setitem__": "has no items to set; change the value inside a task",
    "__delitem__": "has no items to delete; change the value inside a task",
}
"""Methods of further uses that need a value, with why they cannot work and what to do."""

_GIVES_A_VALUE = frozenset({"result", "compute", "get", "run", "collect", "execute", "evaluate", "wait"})


def refusing(method: str) -> Callable[..., NoReturn]:
    """Return a method that says that a lazy result has no value for it."""
    if method in OPERATORS:
        problem = f"has no value before it runs, so {OPERATORS[method]} cannot compute with it; compute inside a task"
    else:
        problem = f"has no value before it runs, so it {OTHER_USES[method]}"

    def refuse(self: object, *_: object) -> NoReturn:
        raise UsageError(f"{described(self)} {problem}, or run it first with cs.run(...)")

    refuse.__name__ = method
    return refuse


def called(lazy: object, attribute: str | None, methods: Iterable[str]) -> str:
    """Return what to do instead of calling a lazy result, or the attribute of one."""
    if attribute is None:
        return f"{described(lazy)} cannot be called: it is the result of a call; call the task itself"
    if attribute in _GIVES_A_VALUE:
        return f"a lazy result has no method {attribute}(); write cs.run(lazy), or await cs.arun(lazy)"
    if attribute in ("map", "partial"):
        return f"a lazy result has no method {attribute}(): it is the task's; write task.{attribute}(x=...)"
    return f"a lazy result has no method {attribute}(){meant(attribute, methods)}; call methods of its value inside a task"


def method_of_calls(name: str, calls: type) -> str:
    """Return how to write a method that only calls of a task have; "" if they do not have it."""
    if name in ("with_concurrency", "keep_failures"):
        return f".map(...).{name}(...)"
    return f"(...).{name}(...)" if hasattr(calls, name) else ""


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
