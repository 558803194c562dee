"""Startable targets: a lazy result, a list of them, or a function that returns one, with its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from cascade.interfaces.errors import UsageError
from cascade.interfaces.redaction import Redactor
from cascade.interfaces.text import nearest
from cascade.runtime._graph.plan import inputs_of
from cascade.runtime.starting._conversions import Schema, in_words
from cascade.runtime.starting._docstrings import summary
from cascade.runtime.starting._parameters import Parameter, of_function, of_inputs, schema_of
from cascade.spec import LazyResult, Task, target_name, targets_of

Target = LazyResult[Any] | Sequence[LazyResult[Any]]
"""What a run computes: a lazy result, or several."""


class Startable(NamedTuple):
    """A target, or the function that makes it.

    :ivar title: how the help names it: ``night.py:report``.
    :ivar summary: the first paragraph of the function's docstring, else empty.
    :ivar parameters: all that are known before the function is called with its arguments.
    """

    title: str
    made_by: Callable[..., Any] | None
    target: Target | None
    summary: str
    parameters: tuple[Parameter, ...]
    of_function: frozenset[str]
    settings: Mapping[str, Any] = MappingProxyType({})
    """Of a run, as the file declares them; ``params`` among them are values of inputs."""
    workflow: str = ""
    """The name by which constraints cover its runs."""

    @property
    def knows_all(self) -> bool:
        """Whether there are no further parameters: the graph is known before the function is called with its arguments."""
        own = [each for each in self.parameters if each.name in self.of_function]
        return not any(each.required for each in own)

    def schema(self, redactor: Redactor = Redactor.DEFAULT) -> Schema:
        """Return the JSON Schema of what :meth:`converted` takes; secrets are no defaults in it."""
        return {**schema_of(self.parameters, redactor), "additionalProperties": not self.knows_all}

    def converted(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of decoded JSON values, each converted where its parameter is known.

        :raises UsageError: once for all parameters that are missing, unknown or wrong, each with its name.
        """
        known = {each.name: each for each in self.parameters}
        problems = [
            f"{each.name} is missing" for each in self.parameters if each.required and each.name not in params
        ]
        values: dict[str, Any] = {}
        for name, value in params.items():
            if name not in known and self.knows_all:
                near = nearest(name, known)
                takes = f"it takes {', '.join(known)}" if known else "it takes none"
                problems.append(f"no parameter {name!r}; {f'did you mean {near!r}?' if near else takes}")
                continue
            try:
                values[name] = known[name].conversion.from_json(value) if name in known else value
            except ValueError as error:
                problems.append(in_words(name, error))
        if problems:
            raise UsageError("; ".join(problems))
        return values

    def build(self, values: Mapping[str, Any], *, to_run: bool = True) -> tuple[Target, dict[str, Any]]:
        """Return the target, and the values of its inputs; ``values`` are converted, or texts where unknown.

        :param to_run: False: a required input may be missing, because nothing runs.
        :raises UsageError: if a parameter is missing or unknown.
        """
        given = {name: value for name, value in values.items() if name in self.of_function}
        rest = {name: value for name, value in values.items() if name not in self.of_function}
        target = self.target if self.made_by is None else self._made(self.made_by, given)
        assert target is not None
        inputs = of_inputs(inputs_of(targets_of(target)))
        self._check_names(rest, inputs)
        if to_run:
            self.check_inputs(target, rest)
        late = {each.name: each for each in inputs if each not in self.parameters}
        return target, {name: _late(late.get(name), value) for name, value in rest.items()}

    def check_inputs(self, target: Target, values: Mapping[str, Any]) -> None:
        """Check that every required input of a target that :meth:`build` has made has a value.

        :raises UsageError: once for all that are missing.
        """
        declared = self.settings.get("params") or {}
        self._check_present(of_inputs(inputs_of(targets_of(target))), {**declared, **values})

    def _made(self, function: Callable[..., Any], values: Mapping[str, Any]) -> Target:
        self._check_present([each for each in self.parameters if each.name in self.of_function], values)
        return checked(function(**values), self.title)

    def _check_present(self, parameters: list[Parameter], values: Mapping[str, Any]) -> None:
        missing = [each for each in parameters if each.required and each.name not in values]
        if missing:
            described = [
                f"{each.name} ({each.description})" if each.description else each.name for each in missing
            ]
            remedy = f"pass {' '.join(f'-p {each.name}=...' for each in missing)}"
            raise UsageError(f"{self.title} needs {' and '.join(described)}; {remedy}")

    def _check_names(self, rest: Mapping[str, Any], inputs: list[Parameter]) -> None:
        known = sorted({*self.of_function, *(each.name for each in inputs)})
        for name in rest:
            if name not in known:
                near = nearest(name, known)
                takes = f"it takes {', '.join(known)}" if known else "it takes none"
                hint = f"did you mean {near!r}?" if near else takes
                raise UsageError(f"{self.title} has no parameter {name!r}; {hint}")


def _late(parameter: Parameter | None, value: Any) -> Any:
    """Convert the value of an input that was not known when the command line or the message was read."""
    if parameter is None:
        return value
    conversion = parameter.conversion
    try:
        return conversion.from_text(value) if isinstance(value, str) else conversion.from_json(value)
    except ValueError as error:
        raise UsageError(f"-p {in_words(parameter.name, error)}") from error


def name_of(target: Target) -> str:
    """Return the name of a target, as reports and records of its runs have it."""
    return target_name(targets_of(target))


def startable(found: Any, title: str) -> Startable:
    """Return the workflow that a user's object is.

    :raises UsageError: if it is none.
    """
    if isinstance(found, LazyResult | list | tuple):
        target = checked(found, title)
        inputs = of_inputs(inputs_of(targets_of(target)))
        return Startable(title, None, target, "", tuple(inputs), frozenset())
    if not callable(found) or isinstance(found, type) or inspect.iscoroutinefunction(_plain(found)):
        raise _not_a_workflow(found, title)
    own = of_function(found)
    names = frozenset(each.name for each in own)
    return Startable(
        title, found, None, summary(found.__doc__), (*own, *_inputs_of_result(found, own)), names
    )


def checked(target: Any, title: str) -> Target:
    """Return ``target`` if a run can compute it.

    :raises UsageError: otherwise.
    """
    try:
        targets_of(target)
    except Exception:
        raise _not_a_workflow(target, title) from None
    result: Target = target
    return result


def _plain(function: Any) -> Any:
    return None if isinstance(function, Task) else function


def _inputs_of_result(function: Callable[..., Any], own: list[Parameter]) -> list[Parameter]:
    """Return the inputs of the graph that the function makes, if it can be called without arguments."""
    if any(each.required for each in own):
        return []
    try:
        inputs = of_inputs(inputs_of(targets_of(function())))
    except Exception:  # the call with the arguments of the command line says it
        return []
    names = {each.name for each in own}
    return [each for each in inputs if each.name not in names]


def _not_a_workflow(found: Any, title: str) -> UsageError:
    kind = type(found).__name__
    return UsageError(
        f"{title} is not a workflow but of type {kind}; "
        "a workflow is what a call of a task returns, or a function that returns that"
    )
