"""``@task``: a function that declares a node of a graph when it is called."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import islice
from operator import length_hint
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, Self, TypeVar, cast, overload

from cascade.interfaces.call_errors import explains_calls
from cascade.interfaces.errors import (
    ConfigurationError,
    MapLengthError,
    TaskCallError,
    TaskDefinitionError,
    UsageError,
)
from cascade.interfaces.text import meant
from cascade.spec import _misuse
from cascade.spec.definition import AUTO, TaskDefinition, define
from cascade.spec.labels import settings
from cascade.spec.lazy import (
    NO_KWARGS,
    Call,
    CallSettings,
    LazyResult,
    MapCall,
    check_readable_again,
    is_iterator,
)
from cascade.spec.nested import PLAIN, check_arguments
from cascade.spec.policies import NO_POLICIES, Policies
from cascade.spec.policy_methods import PolicyMethods, fallback

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")


class Task(PolicyMethods, Generic[P, R]):
    """A declared function. Calling it runs nothing and returns a :class:`LazyResult`."""

    __name__: str

    def __init__(
        self,
        definition: TaskDefinition,
        policies: Policies = NO_POLICIES,
        fixed: Mapping[str, Any] = NO_KWARGS,
    ) -> None:
        functools.update_wrapper(self, definition.function)
        self._definition = definition
        self._settings = CallSettings(definition, policies)
        self._fixed = fixed

    @property
    def name(self) -> str:
        """The name that observers see and constraints match."""
        return self._definition.name

    @property
    def function(self) -> Callable[..., Any]:
        """The function itself, for a direct call."""
        return self._definition.function

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> LazyResult[R]:
        """Declare a call; each argument may be, or hold, a lazy result.

        Arguments are not copied: what changes a list between the call and the run changes what the task gets.

        :raises TaskCallError: if the function does not take these arguments, or a lazy result
            stands in an argument where no value can take its place.
        :raises ConfigurationError: if an argument is an iterator and the task may be tried again.
        """
        named: Mapping[str, Any] = {**self._fixed, **kwargs} if self._fixed else kwargs
        if named or len(args) not in self._definition.arity:
            self._definition.check_call(args, named)
            self._check_values((*args, *named.values()))
            return LazyResult(Call(self._settings, args, named or NO_KWARGS))
        for value in args:
            if type(value) not in _HARMLESS:
                self._check_values(args)
                break
        return LazyResult(Call(self._settings, args, NO_KWARGS))

    @explains_calls
    def partial(self, /, **fixed: Any) -> Task[..., R]:
        """Return a task with some arguments given, by name; a call may give them again.

        :raises TaskCallError: if the function has no such parameter.
        """
        self._check_names(fixed)
        return Task(self._definition, self._settings.policies, {**self._fixed, **fixed})

    def or_else(self, value: V) -> Task[P, R | V]:
        """Return a copy whose calls, and each item of its maps, give ``value`` if the task fails for good.

        See :meth:`LazyResult.or_else`.

        :raises ConfigurationError: if the value is or holds a lazy result.
        """
        return cast("Task[P, R | V]", self._with_policy("or_else", fallback=fallback(value)))

    if TYPE_CHECKING:

        def map(self, /, **iterables: Iterable[Any] | LazyResult[Iterable[Any]]) -> LazyResult[list[R]]:
            """Declare a call for each item; the value is the list of results, in order.

            Iterables are zipped; the items of a lazy one are taken when it has run. Arguments that
            are the same for every item are given with :meth:`partial`.

            :raises MapLengthError: if iterables differ in length.
            :raises TaskCallError: if the function has no such parameter, or one is not iterable, or may be endless: it
                has no length and more than 1,000,000 items.
            """

    else:

        def map(self, /, *positional: object, **iterables: Any) -> LazyResult[list[R]]:
            """Declare a call for each item; the value is the list of results, in order.

            Iterables are zipped; the items of a lazy one are taken when it has run. Arguments that
            are the same for every item are given with :meth:`partial`.

            :raises MapLengthError: if iterables differ in length.
            :raises TaskCallError: if the function has no such parameter, or one is not iterable, or may be endless: it
                has no length and more than 1,000,000 items.
            """
            if positional:
                raise self._definition.call_error(self._by_name())
            return self._mapped(iterables)

    def _mapped(self, iterables: Mapping[str, Any]) -> LazyResult[list[R]]:
        if not iterables:
            raise self._definition.call_error("map needs at least one iterable, as a keyword argument")
        self._definition.check_call((), {**self._fixed, **iterables})
        columns = {name: self._column(name, items) for name, items in iterables.items()}
        check_lengths(self.name, {k: len(v) for k, v in columns.items() if isinstance(v, tuple)})
        fixed = {name: value for name, value in self._fixed.items() if name not in columns}
        self._check_values((*columns.values(), *fixed.values()))
        for name, value in fixed.items():
            if is_iterator(value):
                raise self._definition.call_error(
                    f"{name!r} is a {type(value).__name__}, which only the first item could read; pass a list"
                )
        return LazyResult(MapCall(self._settings, (), columns, fixed=fixed))

    def __repr__(self) -> str:
        given = [f"partial({', '.join(self._fixed)})"] if self._fixed else []
        shown = [f"{self.name}{self._definition.signature_text}", *given, *settings(self._settings.policies)]
        return f"<Task {', '.join(shown)}>"

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            # attributes that Python and libraries look up by themselves
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            form = _misuse.method_of_calls(name, LazyResult)
            advice = (
                f"; it is a method of a call: {self.name}{form}"
                if form
                else f"{meant(name, dir(Task))}; call the task, and run what the call returns with cs.run(...)"
            )
            raise AttributeError(f"task {self.name!r} has no method {name}{advice}")

    def _declared(self) -> TaskDefinition:
        return self._definition

    def _with_policy(self, setting: str, **policy: Any) -> Self:
        policies = self._settings.policies._replace(**policy)
        return cast("Self", Task(self._definition, policies, self._fixed))

    def _check_names(self, names: Mapping[str, Any]) -> None:
        signature = self._definition.signature
        if signature is None:
            return
        try:
            signature.bind_partial(**names)
        except TypeError as exc:
            raise TaskCallError(self.name, str(signature), str(exc)) from None

    def _check_values(self, values: tuple[Any, ...]) -> None:
        others = [value for value in values if type(value) not in _HARMLESS]
        if not others:
            return
        try:
            check_arguments(others)
        except UsageError as exc:
            raise self._definition.call_error(str(exc)) from None
        check_readable_again(self._settings.policies, others)

    def _by_name(self) -> str:
        signature = self._definition.signature
        first = next(iter(signature.parameters), "x") if signature is not None else "x"
        return f"map takes its iterables by name; write {self.name}.map({first}=[...])"

    def _column(self, name: str, items: object) -> tuple[Any, ...] | LazyResult[Any]:
        return items if isinstance(items, LazyResult) else column_of(self._definition, name, items)


def settings_of(task: Task[..., Any]) -> CallSettings:
    """Return what all calls of a task have in common: for engines and tools, not for workflows."""
    return task._settings


_HARMLESS = PLAIN | {LazyResult}
"""Types of arguments that need no check."""


def column_of(definition: TaskDefinition, name: str, items: object, *, given_by: str = "") -> tuple[Any, ...]:
    """Return the items of one iterable of a map.

    :raises TaskCallError: if it is a text, a mapping or not iterable at all, or has no length and more than
        :data:`MOST_UNCOUNTED` items; ``given_by`` names the task whose value it is.
    """
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        source = (
            f", but {given_by!r} gave {type(items).__name__}" if given_by else f", not {type(items).__name__}"
        )
        remedy = "" if given_by else _scalar_form(definition.name, name, items)
        problem = f"map needs a list of values for {name!r}{source}{remedy}"
        raise TaskCallError(definition.name, definition.signature_text, problem)
    if length_hint(items, -1) >= 0:
        return tuple(items)
    rest = iter(items)
    taken = tuple(islice(rest, MOST_UNCOUNTED))
    if len(taken) == MOST_UNCOUNTED and next(rest, rest) is not rest:
        raise too_many(definition, name, items)
    return taken


def too_many(definition: TaskDefinition, name: str, items: object) -> TaskCallError:
    """Return the error for an iterable of a map that may be endless."""
    return definition.call_error(
        f"the {type(items).__name__} for {name!r} has more than {MOST_UNCOUNTED:,} items and may be endless; "
        f"take some of them with itertools.islice(...), or pass a list if you need them all"
    )


def _scalar_form(task_name: str, name: str, value: object) -> str:
    """Return how to give a value that is the same for all items of a map."""
    if isinstance(value, Task):
        return f"; it is the task itself; call it: {value.name}(...)"
    return f"; for one value in all items write {task_name}.partial({name}=...).map(...)"


def check_lengths(task_name: str, lengths: dict[str, int]) -> None:
    """Refuse columns of different lengths.

    :raises MapLengthError: naming each column's length.
    """
    if len(set(lengths.values())) > 1:
        raise MapLengthError(task_name, lengths)


@overload
def task(
    function: Callable[P, Awaitable[R]], /, *, name: str | None = None, mode: str = AUTO
) -> Task[P, R]: ...
@overload
def task(function: Callable[P, R], /, *, name: str | None = None, mode: str = AUTO) -> Task[P, R]: ...
@overload
def task(*, name: str | None = None, mode: str = AUTO) -> _Decorator: ...
def task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    mode: str = AUTO,
    **unknown: object,
) -> Task[..., Any] | _Decorator:
    """Declare a function as a task.

    An async function runs on the event loop. The engine's executor (threads, unless it was given
    another) runs a synchronous one. ``mode`` selects another place: ``"inline"`` is the event
    loop, for work that takes microseconds; ``"thread"``, ``"process"`` or the name of any other
    executor of the engine.

    :raises TaskDefinitionError: if it is not a function, or is a generator.
    :raises ConfigurationError: if the mode does not fit the function, or a setting does not exist.
    """
    for setting in unknown:
        raise ConfigurationError(f"task({setting}=)", _right_form(setting))
    if function is None:
        return _Decorator(name, mode)
    return _made(function, name, mode)


class _Decorator:
    """``@task(...)`` with its settings, waiting for the function."""

    def __init__(self, name: str | None, mode: str) -> None:
        self._name = name
        self._mode = mode

    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, function: Callable[..., Any], /) -> Task[..., Any]:
        return _made(function, self._name, self._mode)


def _made(function: Callable[..., Any], name: str | None, mode: str) -> Task[..., Any]:
    if isinstance(function, Task):
        raise TaskDefinitionError(f"{function.name!r} is a task already; leave one @cs.task out")
    return Task(define(function, name=name, mode=mode))


def _right_form(setting: str) -> str:
    """Return how to set what other libraries call ``setting``."""
    if setting in _OTHER_FORMS:
        return f"it is not a setting; write {_OTHER_FORMS[setting]}"
    settings = [name for name in dir(PolicyMethods) if name.startswith("with_")]
    stem = next((name for name in settings if name[5:8] == setting.removeprefix("max_")[:3]), None)
    if stem is None:
        return f"it is not a setting; task has name and mode{meant(setting, ('name', 'mode'))}"
    return f"it is not a setting; write task.{stem}(...) on the declared task"


MOST_UNCOUNTED = 1_000_000
"""Items that a map takes of an iterable without a length: with more of them it may be endless, and fill the memory."""

_OTHER_FORMS = {
    **dict.fromkeys(("executor", "pool", "backend"), "mode='process'"),
    **dict.fromkeys(
        ("resources", "gpu", "cpu", "memory"), "task.with_constraints(gpu=1) on the declared task"
    ),
}
"""What other libraries call a setting, and its form here."""
