"""JetStream's API in memory: what a store asks it, and what it answers."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from typing import Any
from unittest import mock

from cascade.connectors.nats._client import ApiError, Handler, NatsClient
from cascade.connectors.nats._store import Store

BUCKET, STREAM = "KV_cascade", "cascade"
MISSING = {"code": 404, "err_code": 10059, "description": "stream not found"}
ABSENT = {"code": 503, "description": "nothing answers"}


class JetStream:
    """A server with the streams that a test gives it; every request is noted in ``asked``.

    ``errors`` has what the server raises for a subject that begins so.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.sent: list[tuple[str, bytes, Mapping[str, str] | None]] = []
        self.written: list[tuple[str, bytes]] = []
        self.replies: list[str] = []
        """The subject for an answer to each written message."""
        self.streams: dict[str, dict[str, Any]] = {}
        self.errors: dict[str, BaseException] = {}
        self.held = asyncio.Event()
        self.held.set()
        self.client = mock.Mock(spec=NatsClient)
        self.client.max_payload, self.client.server_version = 1_048_576, "2.15.1"
        self.client.has_jetstream = True
        self.client.request = self.request
        self.client.write = self.write
        self._numbers = itertools.count(1)
        self.inboxes: dict[str, Handler] = {}
        self.pending = 0
        """How many values a new consumer has to send."""
        self.client.new_inbox = lambda: f"inbox-{next(self._numbers)}"
        self.client.subscribe = self.subscribe
        self.client.unsubscribe = self.unsubscribe
        self._subscribed: list[str] = []
        self.settled: list[str] = []
        self.client.settle = self.settle

    def store(self, bucket: str = "cascade") -> Store:
        """Return the store of one link."""
        return Store(self.client, bucket=bucket)

    def has(self, name: str, **config: Any) -> None:
        """Have a stream from the beginning."""
        self.streams[name] = {"created": "2026-01-01", "config": {"name": name, **config}}

    def names(self) -> list[str]:
        """Return what the API was asked, without what it was asked about."""
        return [subject.removeprefix("$JS.API.") for subject, _ in self.asked]

    async def request(
        self, subject: str, data: bytes, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        await self.held.wait()
        error = next((found for begin, found in self.errors.items() if subject.startswith(begin)), None)
        if not subject.startswith("$JS.API."):
            self.sent.append((subject, data, headers))
            if error is not None:
                raise error
            return {}
        self.asked.append((subject, json.loads(data)))
        if error is not None:
            raise error
        kind, what, name = subject.removeprefix("$JS.API.").split(".", 2)
        return self._answer(kind, what, name, json.loads(data))

    def write(self, subject: str, data: bytes = b"", **keywords: Any) -> bool:
        self.written.append((subject, data))
        self.replies.append(keywords.get("reply", ""))
        return True

    async def settle(self, subject: str = "") -> None:
        self.settled.append(subject)

    def subscribe(self, subject: str, handler: Handler) -> int:
        self.inboxes[subject] = handler
        self._subscribed.append(subject)
        return len(self._subscribed)

    def unsubscribe(self, number: int) -> None:
        del self.inboxes[self._subscribed[number - 1]]

    def consumers(self) -> list[dict[str, Any]]:
        """Return the settings of the consumers that were asked for."""
        return [request["config"] for subject, request in self.asked if ".CONSUMER.CREATE." in subject]

    def _answer(self, kind: str, what: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
        if kind == "STREAM" and what == "CREATE":
            self.has(name, **{key: value for key, value in request.items() if key != "name"})
        if kind == "STREAM" and name not in self.streams:
            raise ApiError(MISSING)
        return self.streams[name] if kind == "STREAM" else {"num_pending": self.pending}
