"""What a person wants to see of a failure: their own code, and where the arguments came from."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any

from cascade.runtime.arguments import find_lazies
from cascade.runtime.node import Node
from cascade.runtime.telemetry.redaction import describe
from cascade.spec import LazyResult, call_of

_INSIDES = ("cascade.", "asyncio.", "concurrent.futures.")
_ARGUMENTS = 8  # how many are told
_NOTE = "in task"  # how a note of ours begins
_NOTES = 8  # how many of them stay on an error that is raised again and again
_EARLIER = 20  # how many failures are told that came before the one that ended the run


def _of_the_task(traceback: TracebackType | None) -> TracebackType | None:
    """Return the part of a traceback that begins in the task, without the engine's frames before it."""
    inner = traceback
    while inner is not None:
        if not f"{inner.tb_frame.f_globals.get('__name__', '')}.".startswith(_INSIDES):
            return inner
        inner = inner.tb_next
    return traceback


def mark(error: Exception, node: Node, run_id: str) -> None:
    """Let an error begin in the task and say which one that was, as far as it lets itself be changed."""
    add_note(cut(error), _note(node, run_id))


def cut(error: Exception) -> Exception:
    """Let an error begin in the task, without the engine's frames before it."""
    BaseException.with_traceback(error, _of_the_task(error.__traceback__))  # none that it may have of its own
    return error


def add_note(error: BaseException, text: str) -> None:
    """Add a note that is not there yet; some errors cannot take any."""
    with contextlib.suppress(Exception):  # a frozen dataclass, for one
        notes = getattr(error, "__notes__", [])
        if text in notes:
            return
        ours = [each for each in notes if each.startswith(_NOTE)]
        if len(ours) >= _NOTES:
            notes.remove(ours[0])
        error.add_note(text)


def add_earlier(error: BaseException, earlier: list[Exception]) -> None:
    """Note the failures that came before an error which ends the run."""
    told = [", ".join((describe(exc), *getattr(exc, "__notes__", ()))) for exc in earlier[:_EARLIER]]
    told += [f"and {len(earlier) - _EARLIER} more"] if len(earlier) > _EARLIER else []
    add_note(error, "\n  ".join((f"before that, {len(earlier)} of the run's tasks had failed:", *told)))


def _note(node: Node, run_id: str) -> str:
    """Say which task failed and where each of its arguments came from, without their values."""
    told = ", ".join(_sources(node))
    return f"{_NOTE} {node.name!r} ({node.task_id}) of run {run_id}" + (
        f", called with {told}" if told else ""
    )


def _sources(node: Node) -> list[str]:
    signature = node.definition.signature
    if signature is None or node.definition.structural:
        return []
    arguments = list(signature.bind_partial(*node.call.args, **node.call.kwargs).arguments.items())
    told = [f"{name} {_source(node, value)}" for name, value in arguments[:_ARGUMENTS]]
    return told + (["…"] if len(arguments) > _ARGUMENTS else [])


def _source(node: Node, value: Any) -> str:
    if isinstance(value, LazyResult):
        return f"from {_task_id(node, value)}"
    inside = find_lazies(value)
    if inside:
        return f"holding {len(inside)} results, the first from {_task_id(node, inside[0])}"
    return "as given"


def _task_id(node: Node, lazy: LazyResult[Any]) -> str:
    source = node.scope.find(call_of(lazy))
    return source.task_id if source is not None else call_of(lazy).definition.name
