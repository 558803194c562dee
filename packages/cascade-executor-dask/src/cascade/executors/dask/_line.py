"""How calls at workers reach their executor: as events of a topic that its client subscribes to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cascade.interfaces.numbered_calls import Connect

_GONE = frozenset({"cancelled", "released", "forgotten"})
"""States of a task at its worker whose result no client wants any more: its engine has gone."""


def connect_to(topic: str) -> Connect:
    """Return what connects a call at a worker, in its thread.

    Dask pickles it by value, as any nested function: so workers need no package of this executor.
    """
    gone = _GONE

    def connect() -> tuple[Callable[[str], None], Callable[[], bool]]:
        from functools import partial

        from distributed import get_worker

        worker: Any = get_worker()
        key = worker.get_current_task()

        def is_awaited() -> bool:
            task = worker.state.tasks.get(key)
            return task is not None and task.state not in gone

        return partial(worker.log_event, topic), is_awaited

    return connect


def forget(topic: str) -> Callable[[Any], None]:
    """Return what deletes the events of a topic that a scheduler keeps; pickled by value, too."""

    def forget_events(dask_scheduler: Any) -> None:
        dask_scheduler._broker.truncate(topic)

    return forget_events
