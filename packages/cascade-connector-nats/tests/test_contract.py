"""NatsConnector passes the suite that every connector must pass, on a real nats-server.

Its connectors reach the server through a proxy, which breaks their links; the witnesses do not.
"""

from collections.abc import AsyncIterator
from typing import Any

import nats
import pytest
import pytest_asyncio

from cascade.connectors.nats import NatsConnector
from cascade.interfaces import Connector, SupportsSource
from cascade.interfaces.topics import status_topic
from cascade.testkit.brokers import NatsServer
from cascade.testkit.chaos import ChaosProxy
from cascade.testkit.connector import Ability, ConnectorContract

pytestmark = pytest.mark.broker


class TestOnNats(ConnectorContract):
    abilities = frozenset(Ability)

    async def make(self) -> Connector:
        return NatsConnector(
            self.proxy.host, self.proxy.port, presence_ttl=1, drain_timeout=60.0, **self.hasty
        )

    async def make_witness(self) -> Connector:
        return NatsConnector(self.server.host, self.server.nats_port, presence=False)

    async def make_named(self, source_id: str) -> Connector:
        return NatsConnector(self.proxy.host, self.proxy.port, source_id=source_id)

    async def send_bytes(self, topic: str, payload: bytes) -> None:
        client = await nats.connect(self.server.nats_url)
        await client.publish(topic.replace("/", "."), payload)
        await client.flush()
        await client.close()

    async def interrupt(self) -> None:
        """Refuse links, and let one that leaves without a link wait for it no longer than a moment."""
        self.monkeypatch.setattr("cascade.transport.drain.NO_LINK", 0.05)
        self.monkeypatch.setattr("cascade.transport.drain.RECENT", -1.0)
        await self.proxy.down()

    async def silence(self) -> None:
        """Carry nothing any more, and give up soon on answers that cannot come."""
        self.monkeypatch.setattr("cascade.transport.drain.NO_PROGRESS", 0.2)
        self.hasty["connect_timeout"] = 0.2
        self.proxy.stall()

    async def restore(self) -> None:
        self.proxy.resume()
        await self.proxy.up()

    def status_of(self, connector: Connector) -> str:
        assert isinstance(connector, SupportsSource)
        return status_topic(connector.source_id)

    @pytest_asyncio.fixture
    async def environment(
        self, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator[None]:
        for pause in ("backoff.SHORTEST_PAUSE", "backoff.LONGEST_PAUSE", "senders.STEADY_AFTER"):
            monkeypatch.setattr(f"cascade.transport.{pause}", 0.01)
        self.monkeypatch = monkeypatch
        self.hasty: dict[str, Any] = {}
        self.server = nats_server
        async with ChaosProxy(nats_server.nats_port) as self.proxy:
            yield
