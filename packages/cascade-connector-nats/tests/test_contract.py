"""NatsConnector passes the suite that every connector must pass, on a real nats-server.

Its connectors reach the server through a proxy, which breaks their links; the witnesses do not.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import nats
import pytest
import pytest_asyncio

from cascade.connectors.nats import NatsConnector
from cascade.interfaces import Connector
from cascade.interfaces.subjects import subject_of
from cascade.testkit.brokers import NatsServer
from cascade.testkit.connector import Ability, Answers, ConnectorContract, ThroughProxy

pytestmark = [
    pytest.mark.broker,
    pytest.mark.wrong_messages(
        "requests that no engine would obey", "cascade/requests/#", "cascade/telemetry/contract/#"
    ),
]


class TestOnNats(ThroughProxy, ConnectorContract):
    abilities = frozenset(Ability) - {Ability.SEND_NOW}
    asking: Any
    """The client that sends requests, from the first one on."""

    async def make(self) -> Connector:
        return NatsConnector(
            self.proxy.host, self.proxy.port, presence_ttl=1, drain_timeout=60.0, **self.hasty
        )

    async def make_witness(self) -> Connector:
        return NatsConnector(self.server.host, self.server.nats_port, presence=False)

    async def make_named(self, source_id: str) -> Connector:
        return NatsConnector(self.proxy.host, self.proxy.port, source_id=source_id)

    async def ask(self, topic: str, payload: bytes, *, traceparent: str = "") -> Answers:
        found: list[dict[str, Any]] = []

        async def take(message: Any) -> None:
            found.append(json.loads(message.data))

        if self.asking is None:
            self.asking = await nats.connect(self.server.nats_url)
        inbox = self.asking.new_inbox()
        await self.asking.subscribe(inbox, cb=take)
        headers = {"Other": "x", "traceparent": traceparent} if traceparent else None
        await self.asking.publish(subject_of(topic), payload, reply=inbox, headers=headers)
        await self.asking.flush()
        return lambda: [*found]

    @pytest_asyncio.fixture(autouse=True)
    async def asking_ends(self, environment: None) -> AsyncIterator[None]:
        self.asking = None
        yield
        if self.asking is not None:
            await self.asking.close()

    async def send_bytes(self, topic: str, payload: bytes) -> None:
        client = await nats.connect(self.server.nats_url)
        await client.publish(topic.replace("/", "."), payload)
        await client.flush()
        await client.close()

    @pytest.fixture
    def peer_port(self, nats_server: NatsServer) -> int:
        self.server = nats_server
        return nats_server.nats_port
