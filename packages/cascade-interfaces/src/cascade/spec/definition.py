"""What is known of a task's function, read once when it is declared."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from cascade.interfaces.errors import ConfigurationError, TaskCallError, TaskDefinitionError

Mode = Literal["auto", "inline", "thread"]


@dataclass(frozen=True, slots=True, eq=False)
class TaskDefinition:
    """A function and how to call it."""

    function: Callable[..., Any]
    name: str
    on_loop: bool
    """Whether it runs on the event loop; otherwise the engine's executor runs it."""
    is_async: bool
    signature: inspect.Signature | None
    """None for a builtin that does not tell."""
    arity: range
    """Numbers of positional arguments that need no closer look; empty if every call does."""

    def check_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Refuse arguments that the function does not take.

        :raises TaskCallError: with the task's name, the problem and the signature.
        """
        if self.signature is None or (not kwargs and len(args) in self.arity):
            return
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as exc:
            raise TaskCallError(self.name, str(self.signature), str(exc)) from None


def define(function: Callable[..., Any], *, name: str | None, mode: Mode) -> TaskDefinition:
    """Read a function.

    :raises TaskDefinitionError: if it cannot be a task.
    :raises ConfigurationError: if the mode is unknown, or does not fit the function.
    """
    _check_function(function)
    is_async = _is_async(function)
    if mode not in get_args(Mode):
        raise ConfigurationError("task(mode=)", f"knows {', '.join(get_args(Mode))}, not {mode!r}")
    if is_async and mode == "thread":
        raise ConfigurationError("task(mode=)", "an async function runs on the event loop; leave mode out")
    signature = _signature(function)
    return TaskDefinition(
        function=function,
        name=name or str(getattr(function, "__name__", type(function).__name__)),
        on_loop=is_async or mode == "inline",
        is_async=is_async,
        signature=signature,
        arity=_arity(signature),
    )


def _check_function(function: object) -> None:
    if not callable(function):
        raise TaskDefinitionError(f"{function!r} is not callable; @cs.task decorates a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        name = getattr(function, "__name__", function)
        raise TaskDefinitionError(f"{name} is a generator; a task returns one value: return a list instead")


def _is_async(function: Callable[..., Any]) -> bool:
    if inspect.iscoroutinefunction(function):
        return True
    return not inspect.isclass(function) and inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - the method itself is asked


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _arity(signature: inspect.Signature | None) -> range:
    if signature is None:
        return range(0)
    parameters = signature.parameters.values()
    if any(p.kind is not p.POSITIONAL_OR_KEYWORD for p in parameters):
        return range(0)
    return range(sum(p.default is p.empty for p in parameters), len(parameters) + 1)
