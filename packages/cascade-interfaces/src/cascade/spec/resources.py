"""Resources that tasks share and the run closes: declared once, injected where they are needed."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, overload

from cascade.interfaces.errors import ConfigurationError, TaskDefinitionError

Scope = Literal["run", "task"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Resource:
    """A generator function that opens something, yields it once, and closes it."""

    function: Callable[..., Any]
    name: str
    scope: Scope
    """``run``: one for all tasks of a run; ``task``: one for each attempt of a task."""
    is_async: bool
    injections: Mapping[str, Injection]
    """Its own parameters into which other resources are injected."""

    def __repr__(self) -> str:
        return f"<Resource {self.name}, one for each {self.scope}>"


@dataclass(frozen=True, slots=True, repr=False)
class Injection:
    """The default of a parameter that a resource fills."""

    name: str
    resource: Resource | None = None
    """None if only the name is known: then it is one of the run's resources."""

    def __repr__(self) -> str:
        return f"inject({self.name!r})" if self.resource is None else f"inject({self.name})"


def inject(resource: str | Resource) -> Any:
    """Stand in as a parameter's default for a resource: ``def query(sql, db=cs.inject("db"))``.

    The run opens the resource when the first task needs it. An argument that is given wins.

    :raises ConfigurationError: if it is neither a name nor a resource.
    """
    if isinstance(resource, Resource):
        return Injection(resource.name, resource)
    if not isinstance(resource, str) or not resource:
        raise ConfigurationError("inject(resource)", f"takes a resource or its name, not {resource!r}")
    return Injection(resource)


@overload
def resource(function: Callable[..., Any], /) -> Resource: ...
@overload
def resource(
    *, name: str | None = None, scope: Scope = "run"
) -> Callable[[Callable[..., Any]], Resource]: ...
def resource(
    function: Callable[..., Any] | None = None, /, *, name: str | None = None, scope: Scope = "run"
) -> Resource | Callable[[Callable[..., Any]], Resource]:
    """Declare a generator function, sync or async, as a resource.

    The code before ``yield`` opens it, the code after (in ``finally``) closes it. Resources are
    closed in the reverse order of their opening, whatever happens.

    :raises TaskDefinitionError: if it is not a generator function.
    :raises ConfigurationError: if the scope is unknown.
    """
    if function is None:
        return functools.partial(_declare, name=name, scope=scope)
    return _declare(function, name=name, scope=scope)


def injections_of(signature: inspect.Signature | None) -> dict[str, Injection]:
    """Return the parameters into which a resource is injected."""
    parameters = signature.parameters if signature is not None else {}
    return {name: p.default for name, p in parameters.items() if isinstance(p.default, Injection)}


def _declare(function: Callable[..., Any], *, name: str | None, scope: Scope) -> Resource:
    if scope not in get_args(Scope):
        raise ConfigurationError("resource(scope=)", f"needs {' or '.join(get_args(Scope))}, not {scope!r}")
    is_async = inspect.isasyncgenfunction(function)
    if not is_async and not inspect.isgeneratorfunction(function):
        raise TaskDefinitionError(
            f"{getattr(function, '__name__', function)!r} is not a generator; a resource is a function that yields once, with the value that tasks share"
        )
    signature = inspect.signature(function)
    injections = injections_of(signature)
    for parameter in signature.parameters.values():
        if parameter.name not in injections and parameter.default is parameter.empty:
            raise TaskDefinitionError(
                f"the parameter {parameter.name!r} of the resource {function.__name__!r} has no value; "
                "give it a default, such as cs.inject(...)"
            )
    return Resource(function, name or function.__name__, scope, is_async, injections)
