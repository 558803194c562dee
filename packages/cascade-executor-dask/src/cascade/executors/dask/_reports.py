"""The reports of calls: events of a Dask topic, which the executor's client subscribes to."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from cascade.executors.dask._call import Call
from cascade.interfaces import CallContext


class Reports:
    """Passes the reports of calls on to their engines.

    :param calls: the calls that were sent and are not over, by their numbers.
    :param left: called with the address of a worker that leaves and the numbers of the calls that run there.
    :param answered: called with a call whose worker leaves, and its answer.
    """

    def __init__(
        self,
        topic: str,
        calls: Mapping[int, Call],
        *,
        left: Callable[[str, list[int]], object],
        answered: Callable[[Call, bytes], object],
    ) -> None:
        self._topic = topic
        self._calls = calls
        self._left = left
        self._answered = answered
        self._client: Any = None

    def subscribe(self, client: Any) -> None:
        """Take what comes from now on through this client. Idempotent."""
        if client is not self._client:
            self._client = client
            client.subscribe_topic(self._topic, self._take)

    async def unsubscribe(self, client: Any) -> None:
        """Take nothing more, and have the scheduler forget what came."""
        client.unsubscribe_topic(self._topic)
        await client.run_on_scheduler(_forget(self._topic))

    def _take(self, event: tuple[float, str]) -> None:
        text = event[1]
        # another program wrote it, or the engine has gone
        with contextlib.suppress(Exception):
            number, kind, content = json.loads(text)
            if kind == "leaving":
                self._left(*content)
            if (call := self._calls.get(number)) is None:
                return
            if call.context is not None:
                _pass_on(call.context, kind, content)
            if kind == "data":
                call.count(len(text))
            elif kind == "answer":
                self._answered(call, base64.b64decode(content[0]))


def _pass_on(context: CallContext, kind: str, content: list[Any]) -> None:
    if kind == "progress":
        context.progress(*content)
    elif kind == "data":
        context.publish(*content)
    elif kind == "arrived":
        context.arrived(paused=content[0])


def _forget(topic: str) -> Callable[[Any], None]:
    """Return what deletes the events of a topic that a scheduler keeps.

    Dask pickles it by value, as any nested function: the scheduler need not have this package.
    """

    def forget_events(dask_scheduler: Any) -> None:
        dask_scheduler._broker.truncate(topic)

    return forget_events
