"""The error of a value that has no digest, and how errors name things."""

from __future__ import annotations

from typing import Any


class UndigestibleError(TypeError):
    """A value that has no digest; the message says which and why.

    ``variable`` names the captured or global variable that has the value; "" if it is none.
    """

    def __init__(self, problem: str, *, variable: str = "", place: str = "") -> None:
        self.problem = problem
        self.variable = variable
        self.place = place
        """The variable in full, such as ``global variable 'db' of shop.fetch``."""
        super().__init__(f"{place}: {problem}" if place else problem)


def full_name(thing: Any) -> str:
    """Return module and qualified name of a class, function or module."""
    module = getattr(thing, "__module__", None)
    return f"{module}.{getattr(thing, '__qualname__', None) or thing.__name__}"
