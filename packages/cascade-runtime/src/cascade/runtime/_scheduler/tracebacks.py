"""Tracebacks as a user needs them: their own code, and where the arguments came from."""

from __future__ import annotations

import inspect
from typing import Any

from cascade.interfaces.redaction import Redactor, describe
from cascade.interfaces.tracebacks import arguments_are_shown, begin_in_user_code
from cascade.runtime._graph.node import Node
from cascade.runtime._support.text import OWN, add_note
from cascade.spec import LazyResult, call_of, find_lazies, short

_ARGUMENTS = 8  # how many are listed
_EARLIER = 20  # how many failures before the one that ended the run are listed

_REDACTOR = Redactor()


def mark(error: Exception, node: Node, run_id: str) -> None:
    """Cut an error's traceback to the task's own code, and add a note that names the task, if the error takes one."""
    add_note(begin_in_user_code(error), _note(node, run_id))


def add_earlier(error: BaseException, earlier: list[Exception]) -> None:
    """Note the failures that came before an error which ends the run."""
    reported = [", ".join((describe(exc), *getattr(exc, "__notes__", ()))) for exc in earlier[:_EARLIER]]
    reported += [f"and {len(earlier) - _EARLIER} more"] if len(earlier) > _EARLIER else []
    add_note(error, "\n  ".join((f"before that, {len(earlier)} of the run's tasks had failed:", *reported)))


def add_declaration(error: BaseException, node: Node) -> None:
    """Note in which line a task is declared: an error found before it ran has no frame of it."""
    code = getattr(inspect.unwrap(node.definition.function), "__code__", None)
    if code is not None:
        add_note(error, f'task {node.name!r} is declared in "{code.co_filename}", line {code.co_firstlineno}')


def _note(node: Node, run_id: str) -> str:
    """Return which task failed, its arguments, and where each came from.

    It stays in this program: events describe an error without its notes. What a service writes to stderr ends in a
    journal, so only a terminal gets a short form of the values.
    """
    label = f", {node.label!r}" if node.call.settings.label else ""
    sources = ", ".join(_sources(node))
    called = f", called with {sources}" if sources else ""
    return _REDACTOR.mask(f"{OWN} {node.name!r} ({node.key}{label}) of run {run_id}{called}")


def _sources(node: Node) -> list[str]:
    signature = node.definition.signature
    if signature is None or node.definition.structural:
        return []
    values = node.arguments() if arguments_are_shown() else {}
    args, kwargs = node.declared_arguments
    arguments = list(signature.bind_partial(*args, **kwargs).arguments.items())
    reported = [
        (f"{name}={short(values[name])}" if name in values else name) + _source(node, value)
        for name, value in arguments[:_ARGUMENTS]
    ]
    return reported + (["…"] if len(arguments) > _ARGUMENTS else [])


def _source(node: Node, value: Any) -> str:
    if isinstance(value, LazyResult):
        return f" from {_task_id(node, value)}"
    inside = find_lazies(value)
    if inside:
        return f" with {len(inside)} results, the first from {_task_id(node, inside[0])}"
    return ""


def _task_id(node: Node, lazy: LazyResult[Any]) -> str:
    source = node.scope.find(call_of(lazy))
    return source.key if source is not None else call_of(lazy).definition.name
