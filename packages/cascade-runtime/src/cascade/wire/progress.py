"""The numbers of a run as every screen shows them: terminal line, ``watch``, page, ``runs`` and summary. No I/O.

The words are those of the glossary: a task is *running* while its function runs, and *waiting* while something other than
its inputs prevents its start or keeps it at a checkpoint; *open* is a run that may still get tasks, and *paused* one that a
pause covers as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from cascade.interfaces.events import ENDED_STATES, TaskState

RUNNING: Final = "Running"
"""Status of a run that has not ended, and that no pause covers as a whole."""
PAUSED: Final = "Paused"
"""Status of a run that has not ended, while a pause covers everything in it."""
UNKNOWN: Final = "unknown"
"""Status of a run that had not ended in a report that the broker has kept, while nothing shows whether its engine lives."""
ACTIVE: Final = frozenset({RUNNING, PAUSED, UNKNOWN})
"""The statuses of a run of which no end is known."""
LEAST_RUN: Final = 10
"""Tasks that must have run before the time left is estimated."""

_KEPT = "its failure was kept in attempt "
_RECORDED = ("recorded in attempt ", _KEPT)
_WORDS = ("completed", "running", "waiting", "failed", "skipped", "recorded", "cancelled")
_LABELS = {"recorded": "taken from the record"}
_ENDED = {state.value: state.value.lower() for state in ENDED_STATES}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    status: str
    """``Running``, ``Paused``, ``unknown``, or how it ended."""
    finished: int
    """Tasks that have ended, in whatever state."""
    known: int
    """Tasks known so far."""
    open: bool
    """Whether more tasks may come."""
    running: int
    waiting: int
    """Tasks that something prevents from starting or going on; no reason to wait has more tasks than that."""
    percent: int | None
    """The share of the known tasks that has ended; at most 99, and None while more may come or after the end."""
    left_s: float | None
    """Seconds until the end, as estimated; None while that is not known, and while the run is paused."""
    tasks: Mapping[str, int]
    """Tasks by the word for their state, such as ``completed`` and ``waiting``, without zeros, in a fixed order.

    ``recorded`` are steps that an earlier attempt of the run has recorded, with their value or a kept failure; they are not among the ``skipped``.
    """


def progress_of(
    counts: Mapping[str, int],
    *,
    status: str = RUNNING,
    recorded: int = 0,
    known: int = 0,
    open: bool = False,  # noqa: A002 - the word of the wire
    waits: Iterable[tuple[str, int]] | None = None,
    paused: bool = False,
    left_s: float | None = None,
) -> Progress:
    """Return what every screen shows of a run.

    :param counts: tasks by state.
    :param status: of the run; a running run that is ``paused`` gets the status ``Paused``.
    :param recorded: tasks that were skipped because an earlier attempt of the run has recorded them.
    :param known: tasks known so far; never fewer than ``counts`` has.
    :param waits: how many tasks wait for each reason (``constraint``, ``slot``, ``retry`` ...), a task under each of its
        own. None if the reasons are not known: then each task in the state RETRYING waits.
    :param paused: whether a pause covers the run as a whole.
    :param left_s: the estimate of :func:`seconds_left`.
    """
    finished = sum(counts.get(state, 0) for state in _ENDED)
    known = max(known, sum(counts.values()))
    active = status == RUNNING
    running, waiting = _unfinished(counts, known - finished if known else None, waits if active else None)
    if active and paused:
        status = PAUSED
    words = {word: counts.get(state, 0) for state, word in _ENDED.items()}
    recorded = min(recorded, words["skipped"])
    words |= {"running": running, "waiting": waiting, "recorded": recorded}
    words["skipped"] -= recorded
    has_share = active and not open and known > 0
    has_estimate = has_share and not paused and finished < known
    return Progress(
        status,
        finished=finished,
        known=known,
        open=open,
        running=running,
        waiting=waiting,
        # the value of the last task may still add some: only the end of the run means 100 %
        percent=min(100 * finished // known, 99) if has_share else None,
        left_s=None if left_s is None or not has_estimate else max(left_s, 0.0),
        tasks={word: words[word] for word in _WORDS if words[word]},
    )


def seconds_left(counts: Mapping[str, int], *, known: int, seconds: float) -> float | None:
    """Estimate the seconds until all known tasks have ended, from the mean rate so far.

    Skipped tasks do not count for the rate: a run that is continued skips in no time what is recorded.

    :param seconds: since the start.
    :return: None before ten tasks have run.
    """
    finished = sum(counts.get(state, 0) for state in _ENDED)
    have_run = finished - counts.get(TaskState.SKIPPED, 0)
    if have_run < LEAST_RUN or seconds <= 0:
        return None
    return max(known - finished, 0) * seconds / have_run


def label(word: str) -> str:
    """Return what a person reads behind a number of tasks, for a word of :attr:`Progress.tasks`.

    >>> label("failed"), label("recorded")
    ('failed', 'taken from the record')
    """
    return _LABELS.get(word, word)


def is_recorded(reason: str) -> bool:
    """Return whether a task was skipped because an earlier attempt of the run has recorded its value or its failure.

    >>> is_recorded("recorded in attempt 1"), is_recorded("its condition is false")
    (True, False)
    """
    return reason.startswith(_RECORDED)


def is_kept_failure(reason: str) -> bool:
    """Return whether a task was skipped because an earlier attempt of the run has kept its failure."""
    return reason.startswith(_KEPT)


def _unfinished(
    counts: Mapping[str, int], unfinished: int | None, waits: Iterable[tuple[str, int]] | None
) -> tuple[int, int]:
    """Return how many tasks run, and how many wait.

    An event says that an attempt failed, and none says that the next one begins: the reasons to wait do.
    """
    reasons = None if waits is None else list(waits)
    retrying = counts.get(TaskState.RETRYING, 0)
    if reasons is not None:
        retrying = min(retrying, sum(n for why, n in reasons if why == "retry"))
    running = counts.get(TaskState.RUNNING, 0) + counts.get(TaskState.RETRYING, 0) - retrying
    waiting = counts.get(TaskState.BLOCKED, 0) + retrying
    most = max((n for _, n in reasons or ()), default=0)
    # events may be ahead of the report that has the reasons; before a task is known, nothing bounds them
    room = most if unfinished is None else unfinished - running
    return running, max(waiting, min(most, room))
