"""Pickling of errors whose ``__init__`` does not take their ``args``, which is the common case.

Python calls the class with the ``args``: an error made from the number 7 with the message
``part 7 is bad`` comes back as ``part part 7 is bad is bad``, or not at all.
"""

from __future__ import annotations

from typing import Any


def reduced(error: BaseException) -> tuple[Any, ...]:
    """Return a value for ``__reduce__``: the same type, arguments and attributes, without its ``__init__``."""
    kind, args, *state = _of_python(type(error), "__reduce__")(error)
    whole = object.__getstate__(error)
    slots = whole[1] if isinstance(whole, tuple) else {}
    return rebuild, (kind, args), {**(state[0] if state else {}), **slots} or None


def rebuild(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Return an error of a class; of all ``__init__`` only that of Python's own base is called."""
    error = kind.__new__(kind, *args)
    _of_python(kind, "__init__")(error, *args)
    return error


def defines_reduce(kind: type[BaseException]) -> bool:
    """Return whether the class itself defines how its errors are pickled.

    Entries in ``copyreg`` do not count: some libraries register every class of errors there.
    """
    return kind.__reduce_ex__ is not object.__reduce_ex__ or kind.__reduce__ is not _of_python(
        kind, "__reduce__"
    )


def _of_python(kind: type[BaseException], method: str) -> Any:
    """Return a method as the nearest of Python's own classes has it, whatever was derived from that."""
    return next(
        vars(base)[method] for base in kind.__mro__ if base.__module__ == "builtins" and method in vars(base)
    )
