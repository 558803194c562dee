"""The workflow that a file offers: a lazy result, a list of them, or a function that returns one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from cascade.cli._workflow.docstrings import summary
from cascade.cli._workflow.parameters import Parameter, of_function, of_inputs
from cascade.cli.errors import USAGE, CommandError
from cascade.interfaces.text import nearest
from cascade.runtime import inputs_of
from cascade.spec import LazyResult, Task, targets_of

DEFAULT = "workflow"
"""The name that is looked for if none is given."""

Target = LazyResult[Any] | Sequence[LazyResult[Any]]


class Workflow(NamedTuple):
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

    def build(self, values: Mapping[str, Any], *, to_run: bool = True) -> tuple[Target, dict[str, Any]]:
        """Return the target, and the values of its inputs; ``values`` are converted, or texts where unknown.

        :param to_run: False: a required input may be missing, because nothing runs.
        :raises CommandError: if a parameter is missing or unknown.
        """
        given = {name: value for name, value in values.items() if name in self.of_function}
        rest = {name: value for name, value in values.items() if name not in self.of_function}
        target = self.target if self.made_by is None else self._made(self.made_by, given)
        assert target is not None
        inputs = of_inputs(inputs_of(targets_of(target)))
        self._check_names(rest, inputs)
        if to_run:
            self._check_present(inputs, rest)
        late = {each.name: each for each in inputs if each not in self.parameters}
        return target, {name: _late(late.get(name), value) for name, value in rest.items()}

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
            raise CommandError(f"{self.title} needs {' and '.join(described)}", remedy, code=USAGE)

    def _check_names(self, rest: Mapping[str, Any], inputs: list[Parameter]) -> None:
        known = sorted({*self.of_function, *(each.name for each in inputs)})
        for name in rest:
            if name not in known:
                near = nearest(name, known)
                takes = f"it takes {', '.join(known)}" if known else "it takes none"
                hint = f"did you mean {near!r}?" if near else takes
                raise CommandError(f"{self.title} has no parameter {name!r}", hint, code=USAGE)


def _late(parameter: Parameter | None, value: Any) -> Any:
    """Convert the text of an input that was not known when the command line was read."""
    if parameter is None or not isinstance(value, str):
        return value
    try:
        return parameter.conversion.convert(value)
    except ValueError as error:
        raise CommandError(f"-p {parameter.name}: {error}", code=USAGE) from error


def workflow_of(found: Any, title: str) -> Workflow:
    """Return the workflow that a user's object is.

    :raises CommandError: if it is none.
    """
    if isinstance(found, LazyResult | list | tuple):
        target = checked(found, title)
        inputs = of_inputs(inputs_of(targets_of(target)))
        return Workflow(title, None, target, "", tuple(inputs), frozenset())
    if not callable(found) or isinstance(found, type) or inspect.iscoroutinefunction(_plain(found)):
        raise _not_a_workflow(found, title)
    own = of_function(found)
    names = frozenset(each.name for each in own)
    return Workflow(title, found, None, summary(found.__doc__), (*own, *_inputs_of_result(found, own)), names)


def checked(target: Any, title: str) -> Target:
    """Return ``target`` if a run can compute it.

    :raises CommandError: otherwise.
    """
    try:
        targets_of(target)
    except Exception:
        raise _not_a_workflow(target, title) from None
    result: Target = target
    return result


def found_in(module: ModuleType, file: str, name: str) -> Any:
    """Return what a module has under a dotted name.

    :raises CommandError: if it has nothing there, with what it has.
    """
    try:
        return functools.reduce(getattr, name.split("."), module)
    except AttributeError:
        raise _missing(module, file, name) from None


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


def _missing(module: ModuleType, file: str, name: str) -> CommandError:
    offered = [
        key
        for key, value in vars(module).items()
        if isinstance(value, LazyResult)
        or (inspect.isfunction(value) and value.__module__ == module.__name__ and not key.startswith("_"))
    ]
    near = nearest(name, offered)
    if near:
        remedy = f"did you mean {file}:{near}?"
    elif offered:
        remedy = f"choose one: {', '.join(f'{file}:{each}' for each in offered[:5])}"
    else:
        remedy = f"write {name} = task(...) there, without running it"
    return CommandError(f"{file} has no {name!r}", remedy, code=USAGE)


def _not_a_workflow(found: Any, title: str) -> CommandError:
    kind = type(found).__name__
    return CommandError(
        f"{title} is not a workflow but of type {kind}",
        "a workflow is what a call of a task returns, or a function that returns that",
        code=USAGE,
    )
