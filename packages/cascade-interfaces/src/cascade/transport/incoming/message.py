"""An arriving message, and what the queues of one connector count and log."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from cascade.interfaces.watch import ReplyTo
from cascade.interfaces.wire import UndecodableMessageError, decode_payload

OVERFLOW = "queue full"
UNDECODABLE = "undecodable"


class DeliveryCounts:
    """What all queues of one connector share: counters and a logger.

    :param quiet: seconds for which a queue does not log the same kind of failure again; None: 60 s.
    """

    def __init__(self, log: logging.Logger, *, quiet: float | None = None) -> None:
        self.log = log
        self.quiet = quiet
        self.received = 0
        self.delivered = 0
        self.discarded: Counter[str] = Counter()
        self.most: int | None = None
        """How many messages may wait for each callback; None: the usual number."""


class IncomingMessage:
    """One message that arrived, decoded when the first callback needs its data."""

    __slots__ = ("_data", "_error", "expires_in", "payload", "reply_to", "retain", "topic", "traceparent")

    def __init__(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        expires_in: float | None = None,
        reply_to: ReplyTo | None = None,
        traceparent: str = "",
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.retain = retain
        self.expires_in = expires_in
        self.reply_to = reply_to
        self.traceparent = traceparent
        self._data: dict[str, Any] | None = None
        self._error: UndecodableMessageError | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The JSON object.

        :raises UndecodableMessageError: if the payload is not a JSON object.
        """
        if self._error is not None:
            raise self._error
        if self._data is None:
            try:
                self._data = decode_payload(self.payload)
            except UndecodableMessageError as exc:
                self._error = exc
                raise
        return self._data
