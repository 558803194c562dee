"""A task's future value, before anything has run."""

from __future__ import annotations

import io
import itertools
import operator
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, Self, TypeVar, cast, overload

from cascade.interfaces.errors import ConfigurationError, InvalidTargetError, UsageError
from cascade.spec import _misuse, labels
from cascade.spec._containers import Deferred
from cascade.spec.checks import check_count
from cascade.spec.definition import TaskDefinition, structural
from cascade.spec.nested import PLAIN, check_arguments, find_lazies
from cascade.spec.policies import NO_POLICIES, Fallback, Policies
from cascade.spec.policy_methods import PolicyMethods, fallback

if TYPE_CHECKING:
    from cascade.interfaces.failures import Failure

R_co = TypeVar("R_co", covariant=True)
S = TypeVar("S")
T = TypeVar("T")

_UNSET: Any = object()
_serials = itertools.count()

NO_KWARGS: Mapping[str, Any] = {}
"""Shared and never changed, so that a call without keywords needs no dict of its own."""


class Condition(NamedTuple):
    """The condition under which a call is made."""

    lazy: LazyResult[Any]
    otherwise: Any
    """The value when the condition is false; a lazy result is run then."""
    skips: bool
    """Whether a false condition skips the call and everything that needs it, instead of giving ``otherwise``."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CallSettings:
    """All of a call but its arguments. The calls of one task share it, so that each of them stays small."""

    definition: TaskDefinition
    policies: Policies = NO_POLICIES
    predecessors: tuple[LazyResult[Any], ...] = ()
    condition: Condition | None = None
    label: str = ""
    """A template for the names that only this program shows, filled from the arguments; "" for the task's name."""
    is_plain: bool = field(init=False, repr=False)
    """Whether a call asks for nothing, neither policies nor resources: to make it is to call the function once."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_plain", self.policies is NO_POLICIES and not self.definition.injections)


@dataclass(slots=True, eq=False, repr=False)
class Call:
    """One call of a task, equal only to itself. Never changed: not frozen only because that makes it slow to create."""

    settings: CallSettings
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=lambda: NO_KWARGS)
    serial: int = field(default_factory=_serials.__next__, init=False, repr=False)
    """Place among the calls that this program has declared: the order of calls in a set."""

    @property
    def definition(self) -> TaskDefinition:
        """The function that it calls."""
        return self.settings.definition

    @property
    def policies(self) -> Policies:
        """How often and how long it is tried, and what it needs."""
        return self.settings.policies

    @property
    def predecessors(self) -> tuple[LazyResult[Any], ...]:
        """What it waits for without taking the value."""
        return self.settings.predecessors

    @property
    def condition(self) -> Condition | None:
        """The condition under which it is made; None if it always is."""
        return self.settings.condition

    def shown(self) -> str:
        """Return the call as it is written, in short: ``add(1, b=2)``."""
        return labels.called(self)


@dataclass(slots=True, eq=False, repr=False)
class MapCall(Call):
    """One call for each item; ``kwargs`` holds the columns: tuples, or lazy results that return one."""

    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that are the same for every item."""
    limit: int | None = None
    """How many items run at the same time at most."""

    def shown(self) -> str:
        """Return the call as it is written, in short: ``add.map(a=[1, 2])``."""
        return labels.called(self, method=".map", fixed=self.fixed)


class LazyResult(PolicyMethods, Deferred, Generic[R_co]):
    """One call of a task in a graph that has not run. Immutable; equal only to itself.

    Pass it to other tasks, alone or inside lists, tuples, dicts, sets and dataclasses: they wait for
    it and get its value. Used in several places, it runs once. ``lazy[key]`` and
    ``lazy.attribute`` are lazy results too: the item or attribute of its value.
    """

    __slots__ = ("_call",)

    _call: Call

    def __init__(self, call: Call) -> None:
        object.__setattr__(self, "_call", call)
        if _watch is not None:
            _watch(self, None)

    def after(self, *lazies: LazyResult[Any]) -> Self:
        """Return a node that also waits for ``lazies``, without taking their values.

        :raises InvalidTargetError: if one is not a lazy result.
        """
        for lazy in lazies:
            _check_lazy(lazy, "after(...) takes the results of calling tasks")
        return self._changed(predecessors=self._call.predecessors + lazies)

    @overload
    def run_if(self, condition: LazyResult[Any]) -> Self: ...
    @overload
    def run_if(self, condition: LazyResult[Any], *, otherwise: LazyResult[T]) -> LazyResult[R_co | T]: ...
    @overload
    def run_if(self, condition: LazyResult[Any], *, otherwise: T) -> LazyResult[R_co | T]: ...
    def run_if(self, condition: LazyResult[Any], *, otherwise: Any = _UNSET) -> LazyResult[Any]:
        """Return a node that runs only if the value of ``condition`` is true.

        If it is false the node's value is ``otherwise``, which may be, or hold, lazy results: they
        run only then. Without ``otherwise`` the node is skipped, and so is every task that takes its
        value. A skipped target's value is None.

        :raises InvalidTargetError: if the condition is not a lazy result.
        :raises UsageError: if ``otherwise`` holds a lazy result where no value can take its place.
        """
        _check_lazy(condition, "run_if(...) takes the result of calling a task")
        skips = otherwise is _UNSET
        if not skips:
            check_arguments([otherwise])
            otherwise = as_call(otherwise)
        return self._changed(condition=Condition(condition, None if skips else otherwise, skips))

    def named(self, name: str) -> Self:
        """Return a node with another name, which observers see and constraints match.

        A name with parameters in braces, such as ``"parse {path}"``, is a label: it is filled with
        the arguments for error notes and names of asyncio tasks in this program. What observers see
        and constraints match stays the same then, because values must not leave the program.

        :raises ConfigurationError: if the name is not a text, or is blank, or has a field that is
            not a parameter of the task.
        """
        if not isinstance(name, str) or not name.strip():
            raise ConfigurationError("named(name)", f"needs a text, not {name!r}")
        definition = self._call.definition
        if definition.signature is not None and labels.label_fields(name, definition.signature.parameters):
            return self._changed(label=name)
        return self._changed(definition=replace(definition, name=name))

    def with_concurrency(self, limit: int) -> Self:
        """Return a map of which at most ``limit`` items run at the same time.

        :raises ConfigurationError: if it is not a whole number from 1, or this is not a map.
        """
        if not isinstance(self._call, MapCall):
            raise ConfigurationError(
                "with_concurrency(limit)",
                "limits the items of a map; write task.map(...).with_concurrency(4)",
            )
        check_count("with_concurrency(limit)", limit)
        return self._with_call(replace(self._call, limit=limit))

    @overload
    def or_else(self: LazyResult[list[S]], value: T) -> LazyResult[Any]: ...
    @overload
    def or_else(self, value: T) -> LazyResult[R_co | T]: ...
    def or_else(self, value: Any) -> LazyResult[Any]:
        """Return a call whose value is ``value`` if the task fails for good; of a map, that holds for each item.

        The failure is reported, and the run goes on and succeeds. Retries and the time limit come first.
        A call that is cancelled, or skipped because something else failed, gives no value.

        :raises ConfigurationError: if the value is or holds a lazy result.
        """
        return self._with_policy("or_else", fallback=fallback(value))

    def keep_failures(self: LazyResult[list[S]]) -> LazyResult[list[S | Failure]]:
        """Return a map whose list holds a :class:`Failure` for each item that failed for good.

        The failure is reported, and the run goes on and succeeds. Retries and the time limit come first.
        An item that is cancelled, or skipped because something else failed, is not kept.

        :raises ConfigurationError: if this is not a map.
        """
        if not isinstance(self._call, MapCall):
            raise ConfigurationError(
                "keep_failures()",
                "keeps the failed items of a map; write task.map(...).keep_failures(), "
                "or call(...).or_else(value) for one call",
            )
        kept = self._with_policy("keep_failures", fallback=Fallback(keeps=True))
        return cast("LazyResult[list[S | Failure]]", kept)

    def __getitem__(self, key: Any) -> LazyResult[Any]:
        check_arguments([key])
        return LazyResult(Call(_ITEM, (self, key)))

    def __getattr__(self, name: str) -> LazyResult[Any]:
        # attributes that Python and libraries look up by themselves
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return LazyResult(Call(_ATTRIBUTE, (self, name)))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._call.shown()}>"

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        if isinstance(other, LazyResult):
            return self is other
        raise UsageError(
            f"{labels.described(self)} has no value before it runs, so it cannot be compared with a value of type {type(other).__name__}; "
            "compare inside a task, or run it first with cs.run(...)"
        )

    def __format__(self, format_spec: str) -> NoReturn:
        raise UsageError(
            f"{labels.described(self)} has no value before it runs, so it cannot be put into a text; "
            "make the text inside a task, or run it first with cs.run(...)"
        )

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{labels.described(self)} is immutable; its methods return new nodes")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[type[LazyResult[Any]], tuple[Call]]:
        return LazyResult, (self._call,)

    def __bool__(self) -> NoReturn:
        raise UsageError(
            f"{labels.described(self)} has no value before it runs; decide inside a task or with run_if(...), "
            "or run it first with cs.run(...)"
        )

    def __iter__(self) -> NoReturn:
        raise UsageError(
            f"{labels.described(self)} has no items before it runs; write task.map(x=lazy) for a task for each, or lazy[0] for one"
        )

    # a type checker must not believe that these give anything
    if not TYPE_CHECKING:

        def __call__(self, /, *args: object, **kwargs: object) -> NoReturn:
            attribute = self._call.args[1] if self._call.settings is _ATTRIBUTE else None
            raise UsageError(_misuse.called(self, attribute, dir(LazyResult)))

        def __await__(self) -> NoReturn:
            raise UsageError(
                f"{labels.described(self)} is a declaration and cannot be awaited; write: await cs.arun(lazy), "
                "or pass it to another task"
            )

        def __array__(self, *_: object, **__: object) -> NoReturn:
            raise UsageError(
                f"{labels.described(self)} has no value before it runs, so it cannot be put into a NumPy array; "
                "make the array inside a task, or run it first with cs.run(...)"
            )

        for _method in (*_misuse.OPERATORS, *_misuse.OTHER_USES):
            locals()[_method] = _misuse.refusing(_method)
        del _method

    def _declared(self) -> TaskDefinition:
        return self._call.definition

    def _with_policy(self, setting: str, **policy: Any) -> Self:
        definition = self._call.definition
        if definition.structural:
            raise ConfigurationError(
                setting,
                f"{definition.name!r} is a step of the graph and calls no task; "
                "set it on the tasks whose values it takes, or on a task that takes its value",
            )
        call = self._call
        policies = call.policies._replace(**policy)
        check_readable_again(policies, (*call.args, *call.kwargs.values()))
        return self._changed(policies=policies)

    def _serial(self) -> int:
        return self._call.serial

    def _twin(self) -> LazyResult[Any]:
        return LazyResult(self._call)

    def _changed(self, **changes: Any) -> Self:
        settings = replace(self._call.settings, **changes)
        return self._with_call(replace(self._call, settings=settings))

    def _with_call(self, call: Call) -> Self:
        """Return a lazy result that takes the place of this one."""
        made: LazyResult[Any] = LazyResult(call)
        if _watch is not None:
            _watch(made, self)
        return cast("Self", made)


Watch = Callable[[LazyResult[Any], LazyResult[Any] | None], None]
"""Called with each new lazy result, and with the one whose place it takes, if it does."""


def watch_calls(watch: Watch) -> None:
    """Have a function see each lazy result that is made from now on, by any thread: for engines, not for workflows."""
    global _watch  # noqa: PLW0603 - asked for each call that is declared
    _watch = watch


def place_of_call(depth: int = 1) -> tuple[str, int]:
    """Return file and line of the nearest code, from ``depth`` calls up, that is not Cascade's own."""
    frame = _misuse.frame_of_call(depth + 1)
    return ("", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def _note_first(made: LazyResult[Any], replaced: LazyResult[Any] | None) -> None:
    """Note where the program makes its first call: if it ends without a run, that was all in vain."""
    global _watch  # noqa: PLW0603 - asked for each call that is declared
    _watch = None
    _misuse.note_first_call()


_watch: Watch | None = _note_first


def call_of(lazy: LazyResult[Any]) -> Call:
    """Return the call that a lazy result declares: for engines and tools, not for workflows."""
    return lazy._call


def check_readable_again(policies: Policies, values: Iterable[object]) -> None:
    """Refuse iterators as arguments of a call that may be tried again: only the first attempt could read them.

    :raises ConfigurationError: naming the iterator's type.
    """
    if policies.retry is None or policies.retry.max_attempts == 1:
        return
    for value in values:
        if type(value) not in PLAIN and is_iterator(value):
            raise ConfigurationError(
                "with_retry",
                f"an argument is a {type(value).__name__}, which only the first attempt could read; pass a list",
            )


def is_iterator(value: object) -> bool:
    """Return whether ``value`` can be read only once; a file can be read again."""
    return isinstance(value, Iterator | AsyncIterator) and not isinstance(value, io.IOBase)


def targets_of(target: object) -> list[LazyResult[Any]]:
    """Return the targets of a run: one lazy result, or those of a list.

    :raises InvalidTargetError: naming the first that is not a lazy result.
    """
    _misuse.call_used()
    targets = [target] if isinstance(target, LazyResult) else target
    if not isinstance(targets, list | tuple):
        raise not_lazy(target)
    if not all(issubclass(kind, LazyResult) for kind in set(map(type, targets))):
        raise not_lazy(next(each for each in targets if not isinstance(each, LazyResult)))
    return list(targets)


def as_call(value: Any) -> Any:
    """Return a lazy result that gives ``value`` once the lazy results in it have run; without any, ``value`` itself.

    :raises UsageError: if a lazy result stands where no value can take its place.
    """
    if isinstance(value, LazyResult) or not find_lazies(value):
        return value
    return collected(value)


def collected(container: Any) -> LazyResult[Any]:
    """Return a lazy result that gives a copy of ``container`` with values in the places of its lazy results."""
    return LazyResult(Call(_COLLECTED, (container,)))


def _check_lazy(lazy: object, advice: str) -> None:
    if not isinstance(lazy, LazyResult):
        raise not_lazy(lazy, advice)


def not_lazy(value: object, advice: str = "") -> InvalidTargetError:
    """Return the error for something in the place of a lazy result; ``advice`` is what that place takes."""
    if isinstance(value, PolicyMethods):
        name = value._declared().name
        return InvalidTargetError(value, advice=f"it is the task itself; call it: {name}(...)")
    # few programs declare one
    from cascade.spec.workflows import Workflow

    if isinstance(value, Workflow):
        return InvalidTargetError(value, advice=f"it is the workflow itself; call it: {value.name}(...)")
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, Collection) else ()
    # an iterator is not read: it may be endless
    if isinstance(value, Iterator) or any(isinstance(each, LazyResult) for each in items):
        several = "pass each of its items by itself" if advice else "pass several targets as one list"
        advice = f"{advice}; {several}" if advice else several
    return InvalidTargetError(value, advice=advice)


def _itself(value: Any) -> Any:
    """Return a container whose lazy results have run: by name, so that another process can return one."""
    return value


_COLLECTED = CallSettings(structural(_itself, "collected"))
_ITEM = CallSettings(structural(operator.getitem, "item"))
_ATTRIBUTE = CallSettings(structural(getattr, "attribute"))


def target_name(targets: list[LazyResult[Any]]) -> str:
    """Name a run's targets in a report and in the record of the run."""
    return ", ".join(dict.fromkeys(call_of(lazy).definition.name for lazy in targets[:8]))
