"""A client of MQTT 5 that sends requests, as programs do that have nothing to do with Cascade."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import defaultdict
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cascade.testkit import unique_topic
from cascade.testkit.connector import Answers


class Requester:
    """Expects every answer on one topic, and knows them by their correlation data. It connects for its first request."""

    def __init__(self, host: str, port: int) -> None:
        self._client = aiomqtt.Client(host, port, protocol=aiomqtt.ProtocolVersion.V5)
        self._topic = unique_topic("answers")
        self._filters = [self._topic]
        self._numbers = itertools.count()
        self._answers: dict[bytes | None, list[dict[str, Any]]] = defaultdict(list)
        self._opened = AsyncExitStack()
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait({self._reading})
        await self._opened.aclose()

    def expect(self, *filters: str) -> None:
        """Take answers for these filters, too. Call it before the first request."""
        self._filters += filters

    async def ask(self, topic: str, payload: bytes, *, answer_on: str = "", traceparent: str = "") -> Answers:
        """Publish a request, and return a function that lists its answers so far."""
        if self._reading is None:
            await self._opened.enter_async_context(self._client)
            await self._client.subscribe([(each, 1) for each in self._filters])
            self._reading = asyncio.create_task(self._read(), name="requester")
        properties: Any = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic = answer_on or self._topic
        properties.CorrelationData = correlation = b"\xff\x00%d" % next(self._numbers)
        if traceparent:
            properties.UserProperty = [("other", "x"), ("traceparent", traceparent)]
        await self._client.publish(topic, payload, 1, properties=properties)
        return lambda: [*self._answers[correlation]]

    async def _read(self) -> None:
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            known = getattr(message.properties, "CorrelationData", None)
            self._answers[known].append(json.loads(message.payload))
