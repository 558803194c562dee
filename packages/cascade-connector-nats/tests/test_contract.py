"""NatsConnector passes the suite that every connector must pass, on a real nats-server.

Its connectors reach the server through a proxy, which breaks their links; the witnesses do not.
"""

import nats
import pytest

from cascade.connectors.nats import NatsConnector
from cascade.interfaces import Connector
from cascade.testkit.brokers import NatsServer
from cascade.testkit.connector import Ability, ConnectorContract, ThroughProxy

pytestmark = pytest.mark.broker


class TestOnNats(ThroughProxy, ConnectorContract):
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

    @pytest.fixture
    def peer_port(self, nats_server: NatsServer) -> int:
        self.server = nats_server
        return nats_server.nats_port
