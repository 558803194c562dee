"""HubConnector keeps the whole contract but for what its hub cannot do."""

from collections.abc import AsyncIterator
from importlib.metadata import entry_points
from typing import Any

import pytest_asyncio
from hub_connector.hub import Hub

from cascade.interfaces import Connector
from cascade.testkit.connector import Ability, ConnectorContract, ThroughProxy


class TestHubConnector(ThroughProxy, ConnectorContract):
    abilities = frozenset(Ability) - {
        Ability.BYTES,
        Ability.EXTEND,
        Ability.KEEP,
        Ability.REPLIES,
        Ability.REQUESTS,
        Ability.SEND_NOW,
        Ability.TRACES,
    }

    async def make(self) -> Connector:
        return self._new(self.proxy.port, **self.hasty)

    async def make_witness(self) -> Connector:
        return self._new(self.hub.port, presence=False)

    async def make_named(self, source_id: str) -> Connector:
        return self._new(self.proxy.port, source_id=source_id)

    def _new(self, port: int, **keywords: Any) -> Connector:
        (found,) = entry_points(group="cascade.connectors", name="hub")
        connector: Connector = found.load()("127.0.0.1", port, drain_timeout=1.0, **keywords)
        return connector

    @pytest_asyncio.fixture
    async def peer_port(self) -> AsyncIterator[int]:
        async with Hub() as self.hub:
            yield self.hub.port
