"""A failed run's error: for a program as an object, for a person as the user's own lines and one line with the cause."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any

from cascade.interfaces.redaction import Redactor, describe
from cascade.interfaces.tracebacks import own_frames

MOST_FRAMES = 3
"""Frames that a person reads; the last one has raised the error."""


def first_cause(error: BaseException) -> BaseException:
    """Return the first failure of a group of them, or the error itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def as_object(error: Exception, reported: str) -> dict[str, Any]:
    """Return the first cause as ``--json`` prints it.

    :param reported: the cause as the run has reported it: with the task's id before it, if a task failed.
    """
    cause = first_cause(error)
    text, mask = describe(cause), Redactor.DEFAULT.mask
    task_id, _, rest = reported.partition(": ")
    frames = own_frames(cause)
    return {
        "type": type(cause).__name__,
        "text": text,
        "task_id": task_id if text and rest.startswith(text) else "",
        "file": frames[-1].file if frames else None,
        "line": frames[-1].line if frames else None,
        "traceback": mask("".join(traceback.format_exception(cause))),
    }


def frame_lines(error: Exception) -> Iterator[str]:
    """Yield the user's own lines on the way to the first cause."""
    for frame in own_frames(first_cause(error))[-MOST_FRAMES:]:
        yield from Redactor.DEFAULT.mask(str(frame)).split("\n")


def in_one_line(error: Exception, reported: str) -> str:
    """Return the cause with the notes that say in which task it was raised; of several failures the first one."""
    if isinstance(error, ExceptionGroup) and reported:
        return reported
    text = Redactor.DEFAULT.one_line(error.message if isinstance(error, ExceptionGroup) else describe(error))
    return "; ".join([text, *(" ".join(note.split()) for note in getattr(error, "__notes__", []))])
