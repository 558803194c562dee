"""Responses to requests: what they say, and where they are sent."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from cascade.interfaces import Connector, ReplyTo, SupportsReplies, supports
from cascade.interfaces.logs import get_logger
from cascade.interfaces.redaction import Redactor
from cascade.interfaces.topics import response_topic
from cascade.runtime._support.publish_queue import PublishQueue
from cascade.runtime.serving._intake import Refused, RequestedRun
from cascade.wire.message import to_wire
from cascade.wire.requests import StartResponse

MAX_VALUE_BYTES = 64 * 1024
"""Of a value that is sent: a larger one is left out."""
_log = get_logger("cascade.serve")


class Asker(NamedTuple):
    """Who expects a response."""

    id: str
    """Of the request; empty for one that has none and starts nothing."""
    reply_to: ReplyTo | None = None
    """Where it asks for the response, if that is permitted."""
    wait: bool = False
    """Whether it expects the end."""


class Responses:
    """Sends responses: on the topic of the request's id, and where its sender expects it."""

    def __init__(self, connector: Connector, source: str, redactor: Redactor) -> None:
        self._queue = PublishQueue(connector, content="responses", logger=_log)
        self._replies = connector if supports(connector, SupportsReplies) else None
        self._source = source
        self._redactor = redactor

    def refused(self, asker: Asker, refused: Refused) -> None:
        """Say why nothing starts."""
        self._send(
            asker, status="refused", code=refused.code.value, reason=self._redactor.one_line(refused.reason)
        )

    def accepted(self, asker: Asker, run: RequestedRun) -> None:
        """Say which run the request has."""
        self._send(asker, status="accepted", run_id=run.run_id)

    def ended(self, asker: Asker, run: RequestedRun) -> None:
        """Say how the run of the request ended."""
        outcome = run.outcome
        assert outcome is not None
        self._send(
            asker,
            status="ended",
            run_id=run.run_id,
            outcome=outcome.status,
            error=self._redactor.one_line(outcome.error),
            duration_ms=outcome.duration_ms,
            value=outcome.value,
        )

    async def drain(self, timeout: float) -> None:
        """Wait until the responses have been handed to the connector."""
        await self._queue.drain(timeout)

    def _send(self, asker: Asker, **content: Any) -> None:
        body = to_wire(StartResponse(id=asker.id, source=self._source, **content))
        topic, reply_to = response_topic(self._source, asker.id) if asker.id else "", asker.reply_to
        if reply_to is not None and self._replies is not None:
            self._replies.answer_nowait(reply_to, body)
        if topic and (reply_to is None or reply_to.topic != topic):
            self._queue.publish(topic, body, qos=1)


def sendable(value: Any) -> Any:
    """Return a value as JSON has it; ``UNSET`` if it has no such value, or it is too large."""
    try:
        text = msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError):
        return msgspec.UNSET
    return msgspec.json.decode(text) if len(text) <= MAX_VALUE_BYTES else msgspec.UNSET
