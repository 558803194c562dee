"""The properties of a task's function, read once when it is declared."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cascade.interfaces.errors import ConfigurationError, TaskCallError, TaskDefinitionError, UsageError
from cascade.interfaces.text import meant
from cascade.spec.nested import find_lazies
from cascade.spec.resources import Injection, injections_of

AUTO, INLINE = "auto", "inline"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
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
    """None for a builtin without one."""
    arity: range
    """Numbers of positional arguments that need no further check; empty if every call needs one."""
    injections: Mapping[str, Injection]
    """Parameters whose default is an injected resource."""
    inline: bool = False
    """Whether calling the function on the event loop is all there is to do: it is synchronous, and injects nothing."""
    structural: bool = False
    """Part of the graph's structure, not of the work: it makes no events, and constraints do not apply to it."""

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
            raise self.call_error(self._unknown(kwargs) or f"{exc}{self._unbound()}") from None

    def call_error(self, problem: str) -> TaskCallError:
        """Return the error for a call that cannot work."""
        return TaskCallError(self.name, self.signature_text, problem)

    def _unbound(self) -> str:
        """Say that a method has no object of its own here; "" if it is a function."""
        first = next(iter(self.signature.parameters), "") if self.signature is not None else ""
        if first not in ("self", "cls"):
            return ""
        return f"; a task is not bound to an object: pass {first} as an argument, or make the task a function"

    def _unknown(self, kwargs: Mapping[str, Any]) -> str:
        """Name the first keyword that the function does not take; "" if it takes them all."""
        parameters = self.signature.parameters if self.signature is not None else {}
        kinds = {p.kind for p in parameters.values()}
        names = [
            name for name, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        ]
        unknown = next((name for name in kwargs if name not in names), None)
        if unknown is None or inspect.Parameter.VAR_KEYWORD in kinds:
            return ""
        only = f"; did you mean {names[0]}=?" if len(names) == 1 else meant(unknown, names, "{}=")
        return f"got an unexpected keyword argument {unknown!r}{only}"


def define(function: Callable[..., Any], *, name: str | None, mode: str) -> TaskDefinition:
    """Read a function.

    :raises TaskDefinitionError: if it cannot be a task.
    :raises ConfigurationError: if the mode does not fit the function.
    """
    _check_function(function)
    if name is not None and (not isinstance(name, str) or not name.strip()):
        raise ConfigurationError("task(name=)", f"needs a text, not {name!r}")
    is_async = _is_async(function)
    if not isinstance(mode, str) or not mode:
        raise ConfigurationError("task(mode=)", f"needs 'auto', 'inline' or an executor's name, not {mode!r}")
    if is_async and mode not in (AUTO, INLINE):
        raise ConfigurationError("task(mode=)", "an async function runs on the event loop; leave mode out")
    signature = _signature(function)
    injections = injections_of(signature)
    known_as = name or str(getattr(function, "__name__", type(function).__name__))
    _check_defaults(known_as, signature)
    return TaskDefinition(
        function=function,
        name=known_as,
        mode=mode,
        on_loop=is_async or mode == INLINE,
        is_async=is_async,
        signature=signature,
        arity=_arity(signature),
        injections=injections,
        inline=mode == INLINE and not is_async and not injections,
    )


def structural(function: Callable[..., Any], name: str) -> TaskDefinition:
    """Define a step of the graph itself: quick, on the loop, without events."""
    return TaskDefinition(function, name, INLINE, True, False, None, range(0), {}, structural=True)


def _check_function(function: object) -> None:
    if isinstance(function, str):
        raise TaskDefinitionError(f"{function!r} is a text; for a name write @cs.task(name={function!r})")
    if isinstance(function, classmethod):
        raise TaskDefinitionError(f"{function.__name__} is a class method; write @cs.task below @classmethod")
    if not callable(function):
        raise TaskDefinitionError(f"{function!r} is not callable; @cs.task decorates a function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        name = getattr(function, "__name__", function)
        raise TaskDefinitionError(
            f"{name} is a generator; a task returns one value: return a list instead, "
            "or decorate it with @cs.resource if it opens and closes something"
        )


def _check_defaults(name: str, signature: inspect.Signature | None) -> None:
    for parameter in signature.parameters.values() if signature is not None else ():
        try:
            has_lazies = bool(find_lazies(parameter.default))
        except UsageError:
            has_lazies = True
        if has_lazies:
            raise TaskDefinitionError(
                f"the default of {parameter.name!r} of task {name!r} is or holds a lazy result, "
                f"which no call would wait for; pass it in the call: {name}({parameter.name}=...)"
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
