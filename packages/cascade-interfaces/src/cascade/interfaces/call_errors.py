"""Errors of calls with wrong arguments: Python's own text, with the argument that was meant or a list of all."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

from cascade.interfaces.text import meant

P = ParamSpec("P")
R = TypeVar("R")


def explains_calls(function: Callable[P, R]) -> Callable[P, R]:
    """Return a function whose ``TypeError`` for wrong arguments lists the right ones. It costs too much for hot code."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                # raised inside the function
                raise
            raise TypeError(_explained(function, str(error))) from None

    return cast("Callable[P, R]", call)


def _explained(function: Callable[..., Any], error: str) -> str:
    """Return the text of Python's error in the words of the caller, and what the function takes."""
    import inspect

    *_, owner, name = ("", *function.__qualname__.split("."))
    parameters = [each for each in inspect.signature(function).parameters.values() if each.name != "self"]
    problem = error.partition("() ")[2]
    if counted := re.match(r"takes .*positional arguments? but (\d+)", problem):
        # self counts for Python, and not for the caller
        count = int(counted[1]) - ("self" in function.__code__.co_varnames[:1])
        problem = f"got {count} positional argument{'s' * (count != 1)}"
    # from Python 3.13 on, its text proposes a name, too
    problem = problem.partition(". Did you mean ")[0]
    unknown = re.search(r"unexpected keyword argument '(\w+)'", problem)
    remedy = meant(unknown[1], (each.name for each in parameters), "{}=") if unknown else ""
    remedy = remedy or "; it takes " + ", ".join(map(_shown, parameters))
    return f"{owner if name == '__init__' else name}() {problem}{remedy}"


def _shown(parameter: Any) -> str:
    if parameter.kind is parameter.VAR_KEYWORD:
        return "name=value"
    return f"{parameter.name}=" if parameter.kind is parameter.KEYWORD_ONLY else str(parameter.name)
