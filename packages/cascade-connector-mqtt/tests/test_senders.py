"""The tasks that empty the outbox over one link."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cascade.connectors.mqtt._outbox import Outbox
from cascade.connectors.mqtt._senders import Senders
from cascade.testkit import eventually


class Client:
    """Takes whatever is published."""

    def __init__(self) -> None:
        self.published: list[str] = []

    async def publish(self, topic: str, **_: Any) -> None:
        self.published.append(topic)


def one_that_broke_a_link() -> Outbox:
    outbox = Outbox(max_messages=10, max_bytes=1_000)
    outbox.accept("breaks", "{}", 1, False)
    outbox.take()
    outbox.restore(blame=True)
    return outbox


@pytest.mark.parametrize("steady_after", [0.01, 3600.0])
async def test_what_broke_a_link_alone_waits_until_the_next_one_is_steady(
    steady_after: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a moment earlier, but then without anything else having to happen."""
    monkeypatch.setattr("cascade.connectors.mqtt._senders.STEADY_AFTER", steady_after)
    client, outbox = Client(), one_that_broke_a_link()
    senders = Senders(client, outbox, fail=lambda _: None, on_settled=lambda: None)
    senders.start()
    sending = asyncio.create_task(senders.send())
    if steady_after < 1:
        await eventually(lambda: client.published == ["breaks"])
    else:
        for _ in range(50):
            senders.wake()
            await asyncio.sleep(0)
        assert client.published == []
        assert outbox.pending == 1
    senders.stop()
    sending.cancel()
    await asyncio.wait({sending})
