"""How calls at workers reach their executor: as events of a topic that its client subscribes to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from cascade.executors.dask._placement import Call
from cascade.interfaces.numbered_calls import Connect, SentAnswer, read_answer, read_report

_GONE = frozenset({"cancelled", "released", "forgotten"})
"""States of a task at its worker whose result no client wants: its engine has gone."""


def connect_to(topic: str) -> Connect:
    """Return what connects a call at a worker, in its thread.

    Dask pickles it by value, as any nested function: so workers need no package of this executor.
    """
    gone = _GONE

    def connect() -> tuple[Callable[[str | bytes], None], Callable[[], bool]]:
        from functools import partial

        from distributed import get_worker

        worker: Any = get_worker()
        key = worker.get_current_task()

        def is_awaited() -> bool:
            task = worker.state.tasks.get(key)
            return task is not None and task.state not in gone

        return partial(worker.log_event, topic), is_awaited

    return connect


class ExecutorLine:
    """The executor's end: takes what workers send.

    :param calls: the calls that were sent and are not over, by their numbers.
    :param answered: called with a call and the answer that its worker has sent.
    """

    def __init__(
        self, topic: str, calls: Mapping[int, Call], *, answered: Callable[[Call, SentAnswer], None]
    ) -> None:
        self._topic = topic
        self._calls = calls
        self._answered = answered
        self._client: Any = None

    def subscribe(self, client: Any) -> None:
        """Take what comes from now on through this client. Idempotent."""
        if client is not self._client:
            self._client = client
            client.subscribe_topic(self._topic, self._hear)

    async def unsubscribe(self, client: Any) -> None:
        """Take nothing more, and have the scheduler forget what came."""
        client.unsubscribe_topic(self._topic)
        await client.run_on_scheduler(_forget(self._topic))

    def _hear(self, event: tuple[float, str | bytes]) -> None:
        sent = event[1]
        with contextlib.suppress(Exception):  # another program wrote it, or the engine has gone
            self._take_answer(sent) if isinstance(sent, bytes) else self._take_report(sent)

    def _take_answer(self, sent: bytes) -> None:
        answer = read_answer(sent)
        if (call := self._calls.get(answer.number)) is not None:
            self._answered(call, answer)

    def _take_report(self, text: str) -> None:
        """Pass a report on to the engine of its call."""
        report = read_report(text)
        if (call := self._calls.get(report.number)) is None:
            return
        if call.context is not None:
            report.pass_on(call.context)
        call.hear(report.size)


def _forget(topic: str) -> Callable[[Any], None]:
    """Return what deletes the events of a topic that a scheduler keeps; pickled by value, too."""

    def forget_events(dask_scheduler: Any) -> None:
        dask_scheduler._broker.truncate(topic)

    return forget_events
