"""The reference for workflows: a recursive evaluator, one call after the other, without an engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from cascade.interfaces import Failure, TaskState
from cascade.interfaces.errors import RouteError
from cascade.spec import Call, CallSettings, InputCall, LazyResult, MapCall, RouteCall, as_call, call_of
from testing_tools.workflows.needed import RESOURCES


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one step ended."""

    state: TaskState
    """COMPLETED, SKIPPED or FAILED."""
    value: Any = None
    input_failed: bool = False
    """Whether a failure is why it has no value."""


class Reference:
    """Evaluates lazy results by recursion, each call once, carrying on after failures."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self._outcomes: dict[Call, Outcome] = {}
        self._kept: dict[tuple[str, str], Any] = {}
        self.failures: list[Exception] = []
        self.published: Counter[tuple[str, TaskState]] = Counter()
        """How often each state is published for the tasks of each name."""

    def evaluate(self, lazy: LazyResult[Any]) -> Outcome:
        """Return how a step ends."""
        call = call_of(lazy)
        if call not in self._outcomes:
            self._outcomes[call] = self._literal_map(call) if _is_literal_map(call) else self._step(call)
        return self._outcomes[call]

    def _step(self, call: Call) -> Outcome:
        judge = [self.evaluate(call.condition.lazy)] if call.condition is not None else []
        taken = judge + [self.evaluate(lazy) for lazy in _lazies(_needed(call))]
        before = [self.evaluate(lazy) for lazy in call.predecessors]
        if judge and judge[0].state is TaskState.COMPLETED and not judge[0].value:
            return self._declined(call)
        return self._troubled(call, taken, before) or self._run(call)

    def _declined(self, call: Call) -> Outcome:
        assert call.condition is not None
        self._tell(call, TaskState.SKIPPED)
        if call.condition.skips:
            return Outcome(TaskState.SKIPPED)
        instead = call.condition.otherwise
        return (
            self._forwarded(instead)
            if isinstance(instead, LazyResult)
            else Outcome(TaskState.COMPLETED, instead)
        )

    def _troubled(self, call: Call, taken: Iterable[Outcome], before: Iterable[Outcome]) -> Outcome | None:
        taken = list(taken)
        input_failed = any(outcome.input_failed for outcome in (*taken, *before))
        if not input_failed and all(outcome.state is TaskState.COMPLETED for outcome in taken):
            return None
        self._tell(call, TaskState.SKIPPED)
        return Outcome(TaskState.SKIPPED, input_failed=input_failed)

    def _run(self, call: Call) -> Outcome:
        before = len(self.failures)
        outcome = self._ended(call)
        # the policies of a map are those of its items
        fallback = None if isinstance(call, MapCall) else call.policies.fallback
        if fallback is None or not outcome.input_failed:
            return outcome
        del self.failures[before:]
        kept = Failure("", "", "") if fallback.keeps else fallback.value
        return Outcome(TaskState.COMPLETED, kept)

    def _ended(self, call: Call) -> Outcome:
        try:
            if isinstance(call, MapCall):
                return self._gathered(call, _items(call, self._filled))
            if isinstance(call, RouteCall):
                return self._forwarded(self._chosen(call))
            value = self._value(call)
        except Exception as exc:
            self.failures.append(exc)
            self._tell(call, TaskState.FAILED)
            return Outcome(TaskState.FAILED, input_failed=True)
        self._tell(call, TaskState.COMPLETED)
        value = as_call(value)
        if isinstance(value, LazyResult):
            return self._forwarded(value)
        return Outcome(TaskState.COMPLETED, value)

    def _value(self, call: Call) -> Any:
        if isinstance(call, InputCall):
            return self._params[call.source.name]
        args, kwargs = self._filled(call.args), self._filled(dict(call.kwargs))
        if call.policies.cache is None:
            return _attempted(call, args, kwargs)
        key = (call.definition.name, repr((args, kwargs)))
        if key not in self._kept:
            self._kept[key] = _attempted(call, args, kwargs)
        return self._kept[key]

    def _chosen(self, call: RouteCall) -> LazyResult[Any]:
        choice = self.evaluate(call.args[0]).value
        if choice not in call.routes:
            raise RouteError(choice, tuple(call.routes))
        return call.routes[choice]

    def _forwarded(self, lazy: LazyResult[Any]) -> Outcome:
        """Return how a step ends that has done its own work and takes another one's value; it publishes nothing more."""
        inner = self.evaluate(lazy)
        done = inner.state is TaskState.COMPLETED
        return inner if done else Outcome(TaskState.SKIPPED, input_failed=inner.input_failed)

    def _literal_map(self, call: Call) -> Outcome:
        assert isinstance(call, MapCall)
        items = _items(call, lambda columns: columns)
        if items:
            return self._gathered(call, items)
        before = [self.evaluate(lazy) for lazy in call.predecessors]
        return self._troubled(call, [], before) or Outcome(TaskState.COMPLETED, [])

    def _gathered(self, call: Call, items: Sequence[LazyResult[Any]]) -> Outcome:
        outcomes = [self.evaluate(item) for item in items]
        values = [outcome.value for outcome in outcomes]
        return self._troubled(call, outcomes, []) or Outcome(TaskState.COMPLETED, values)

    def _filled(self, value: Any) -> Any:
        if isinstance(value, LazyResult):
            return self.evaluate(value).value
        if isinstance(value, list | tuple):
            return type(value)(self._filled(item) for item in value)
        if isinstance(value, dict):
            return {key: self._filled(item) for key, item in value.items()}
        if is_dataclass(value) and not isinstance(value, type):
            return replace(value, **{f.name: self._filled(getattr(value, f.name)) for f in fields(value)})
        return value

    def _tell(self, call: Call, state: TaskState) -> None:
        self.published[call.definition.name, state] += 1


def _attempted(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    retry = call.policies.retry
    for _ in range(retry.max_attempts - 1 if retry is not None else 0):
        try:
            return _called(call, args, kwargs)
        except Exception:
            continue
    return _called(call, args, kwargs)


def _called(call: Call, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    function = call.definition.function
    injected = {name: RESOURCES[wanted.name] for name, wanted in call.definition.injections.items()}
    return getattr(function, "__wrapped__", function)(*args, **injected, **kwargs)


def _needed(call: Call) -> Any:
    fixed = dict(call.fixed) if isinstance(call, MapCall) else {}
    return [call.args, dict(call.kwargs), fixed, dict(call.policies.demands or {})]


def _is_literal_map(call: Call) -> bool:
    if not isinstance(call, MapCall) or call.condition is not None:
        return False
    return not any(isinstance(items, LazyResult) for items in call.kwargs.values())


def _items(call: MapCall, fill: Any) -> list[LazyResult[Any]]:
    columns = fill(dict(call.kwargs))
    rows = zip(*columns.values(), strict=True)
    calls = [{**call.fixed, **dict(zip(columns, row, strict=True))} for row in rows]
    settings = CallSettings(call.definition, call.policies, call.predecessors)
    return [LazyResult(Call(settings, (), kwargs)) for kwargs in calls]


def _lazies(value: Any) -> Iterator[LazyResult[Any]]:
    if isinstance(value, LazyResult):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _lazies(item)
    elif isinstance(value, dict):
        yield from _lazies(list(value.values()))
    elif is_dataclass(value) and not isinstance(value, type):
        yield from _lazies([getattr(value, field.name) for field in fields(value)])
