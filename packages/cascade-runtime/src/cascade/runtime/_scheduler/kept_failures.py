"""Kept failures: which call has a value although a task failed, and which value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cascade.interfaces import (
    RunCancelledError,
    RunChangedError,
    RunInUseError,
    StateUnavailable,
    TaskCancelledError,
    UnstorableValueError,
)
from cascade.interfaces.failures import Failure
from cascade.interfaces.redaction import Redactor, describe
from cascade.runtime._graph.items import MapItems
from cascade.runtime._graph.node import Node, Status
from cascade.spec import MapCall

_NEVER_KEPT = (
    TaskCancelledError,
    RunCancelledError,
    StateUnavailable,
    RunChangedError,
    RunInUseError,
    UnstorableValueError,
)
"""Cancellations, and faults of the store of recorded runs: no task failed."""


def keeper_of(node: Node, error: BaseException | None = None) -> Node | None:
    """Return the call that has a value although ``node`` failed; None if there is none.

    That is the call itself, or the nearest one that returned it, alone or as a part of what it returned.
    """
    by_its_own_code = isinstance(error, TaskCancelledError) and not error.run_id
    if isinstance(error, _NEVER_KEPT) and not by_its_own_code:
        return None
    each: Node | None = node
    while each is not None:
        # the policies of a map are those of its items
        if each.call.settings.policies.fallback is not None and not isinstance(each.call, MapCall):
            return each
        each = each.scope.target
    return None


def failure_of(node: Node, error: BaseException, keeper: Node | None = None) -> Failure:
    """Return the failure of a task; ``keeper`` is the call whose value it becomes, if it is another one."""
    text = Redactor.DEFAULT.one_line(describe(error))
    item = (keeper or node).item
    return Failure(text, type(error).__name__, node.key, node.item if item is None else item)


def value_of(keeper: Node, failure: Failure) -> Any:
    """Return the value that a call has although a task failed."""
    fallback = keeper.call.settings.policies.fallback
    assert fallback is not None
    return failure if fallback.keeps else fallback.value


def values_of(targets: Iterable[Node], failures: Sequence[Failure]) -> list[Any]:
    """Return the values of a run's targets, and failures in the places of those that have none."""
    by_call: dict[str, Failure] = {}
    for failure in failures:
        key = failure.task_id
        by_call[key] = failure
        # a map has the first failure of its items, and a call the first of those that it returned
        for end in (at for at, each in enumerate(key) if each in "[~"):
            by_call.setdefault(key[:end], failure)
    return [_value_or_failure(node, by_call) for node in targets]


def _value_or_failure(node: Node, failures: dict[str, Failure]) -> Any:
    if node.status is Status.DONE:
        return node.value
    if node.status is Status.SKIPPED and not node.skipped_by_failure:
        return None
    if node.key in failures:
        return failures[node.key]
    why = "a task that it needs failed" if node.status is Status.SKIPPED else "the run ended before"
    return Failure(f"it has no value: {why}", "", node.key, node.item)


def cause_of(error: Exception, first: Node | None = None, *, failed: int = 0, of_map: int = 0) -> str:
    """Return why a run failed, in one line: ``measure:0[33]: OSError: sensor 4 does not answer (1 of 200 failed)``.

    :param first: the task that failed first; None if the error is not a task's.
    :param failed: how many tasks failed; 0 if the first failure ended the run.
    :param of_map: how many of these are items of the same map as ``first``.
    """
    text = describe(error)
    if first is None:
        return text
    items = first.origin
    if isinstance(items, MapItems) and 0 < failed == of_map:
        number = f" ({failed} of {items.size} failed)"
    else:
        number = f" ({failed} tasks failed)" if failed > 1 else ""
    return f"{first.key}: {text}{number}"
