"""What is known of a task's function, read once when it is declared."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cascade.interfaces.errors import ConfigurationError, TaskCallError, TaskDefinitionError
from cascade.spec.resource import Injection, injections_of

AUTO, INLINE = "auto", "inline"


@dataclass(frozen=True, slots=True, eq=False)
class TaskDefinition:
    """A function and how to call it."""

    function: Callable[..., Any]
    name: str
    mode: str
    """``auto``, ``inline``, or the name of the executor that runs it."""
    on_loop: bool
    """Whether it runs on the event loop; otherwise an executor runs it."""
    is_async: bool
    signature: inspect.Signature | None
    """None for a builtin that does not tell."""
    arity: range
    """Numbers of positional arguments that need no closer look; empty if every call does."""
    injections: Mapping[str, Injection]
    """Parameters whose default asks for a resource."""
    structural: bool = False
    """Part of the graph's structure and not of the work: observers are not told, constraints do not hold it."""

    @property
    def signature_text(self) -> str:
        """The signature as a person would write it."""
        return str(self.signature) if self.signature is not None else "(...)"

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


def define(function: Callable[..., Any], *, name: str | None, mode: str) -> TaskDefinition:
    """Read a function.

    :raises TaskDefinitionError: if it cannot be a task.
    :raises ConfigurationError: if the mode does not fit the function.
    """
    _check_function(function)
    is_async = _is_async(function)
    if not isinstance(mode, str) or not mode:
        raise ConfigurationError("task(mode=)", f"needs 'auto', 'inline' or an executor's name, not {mode!r}")
    if is_async and mode not in (AUTO, INLINE):
        raise ConfigurationError("task(mode=)", "an async function runs on the event loop; leave mode out")
    signature = _signature(function)
    return TaskDefinition(
        function=function,
        name=name or str(getattr(function, "__name__", type(function).__name__)),
        mode=mode,
        on_loop=is_async or mode == INLINE,
        is_async=is_async,
        signature=signature,
        arity=_arity(signature),
        injections=injections_of(signature),
    )


def structural(function: Callable[..., Any], name: str) -> TaskDefinition:
    """Define a step of the graph itself: quick, on the loop, and not worth telling."""
    return TaskDefinition(function, name, INLINE, True, False, None, range(0), {}, structural=True)


def _check_function(function: object) -> None:
    if not callable(function):
        raise TaskDefinitionError(f"{function!r} is not callable; @cs.task decorates a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        name = getattr(function, "__name__", function)
        raise TaskDefinitionError(
            f"{name} is a generator; a task returns one value: return a list instead, "
            "or decorate it with @cs.resource if it opens and closes something"
        )


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
