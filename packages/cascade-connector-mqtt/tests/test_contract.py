"""MqttConnector passes the suite that every connector must pass, on real brokers.

Its connectors reach the broker through a proxy, which breaks their links; the witnesses do not.
"""

from collections.abc import AsyncIterator
from typing import Any, ClassVar

import aiomqtt
import pytest
import pytest_asyncio

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import Connector, SupportsSource
from cascade.interfaces.topics import status_topic
from cascade.testkit import Broker
from cascade.testkit.chaos import ChaosProxy
from cascade.testkit.connector import Ability, ConnectorContract

pytestmark = pytest.mark.broker


class OnBroker(ConnectorContract):
    abilities = frozenset(Ability)
    keywords: ClassVar[dict[str, Any]] = {}

    async def make(self) -> Connector:
        return MqttConnector(self.proxy.host, self.proxy.port, **self.keywords)

    async def make_witness(self) -> Connector:
        return MqttConnector(self.broker.host, self.broker.port, presence=False, **self.keywords)

    async def make_named(self, source_id: str) -> Connector:
        return MqttConnector(self.proxy.host, self.proxy.port, source_id=source_id, **self.keywords)

    async def send_bytes(self, topic: str, payload: bytes) -> None:
        async with aiomqtt.Client(self.broker.host, self.broker.port) as client:
            await client.publish(topic, payload, qos=1)

    async def interrupt(self) -> None:
        await self.proxy.down()

    async def restore(self) -> None:
        await self.proxy.up()

    def status_of(self, connector: Connector) -> str:
        assert isinstance(connector, SupportsSource)
        return status_topic(connector.source_id)

    @pytest_asyncio.fixture
    async def environment(self, shared: Broker) -> AsyncIterator[None]:
        self.broker = shared
        async with ChaosProxy(shared.port) as self.proxy:
            yield


class TestOnMosquitto(OnBroker):
    @pytest.fixture
    def shared(self, mosquitto: Broker) -> Broker:
        return mosquitto


class TestOnMosquittoWithMqtt5(TestOnMosquitto):
    keywords: ClassVar[dict[str, Any]] = {"protocol": aiomqtt.ProtocolVersion.V5}


class TestOnNats(OnBroker):
    @pytest.fixture
    def shared(self, nats_server: Broker) -> Broker:
        return nats_server
