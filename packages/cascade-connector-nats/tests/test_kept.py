"""How a reader asks the stream for telemetry that the server keeps."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from unittest import mock

import pytest

from cascade.connectors.nats._client import NatsClient
from cascade.connectors.nats._kept import BATCH, Keeping, KeptTelemetry
from cascade.testkit import eventually
from cascade.transport.delivery.callbacks import CallbackQueue
from cascade.transport.delivery.message import Delivery


async def test_messages_of_two_requests_are_followed_by_a_third(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a silence a reader asks again, and the server still has its first request: more come than one has asked for."""
    monkeypatch.setattr("cascade.connectors.nats._consumer.SILENCE", 1e6)
    got, log = list[str](), logging.getLogger(__name__)

    async def note(topic: str, data: dict[str, Any]) -> None:
        got.append(topic)

    async def stored() -> None:
        pass

    client, delivery = mock.Mock(spec=NatsClient), Delivery(log)
    client.new_inbox.return_value = "inbox"
    queue = CallbackQueue("cascade/telemetry/#", note, 1, delivery)
    store = mock.Mock(client=client)
    kept = KeptTelemetry(queue, Keeping("collector", stored), store=store, delivery=delivery)
    running = asyncio.create_task(kept.run())
    await eventually(lambda: client.write.call_count == 1)
    for number in range(BATCH + 3):
        kept._receive("cascade.telemetry.a", f"reply.{number}", b"{}", None)
    await eventually(lambda: client.write.call_count == 1 + BATCH + 3 + 1)
    assert len(got) == BATCH + 3
    running.cancel()
    await asyncio.wait({running})
    await queue.stop(reason="end")
