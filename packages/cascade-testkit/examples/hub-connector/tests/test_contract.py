"""HubConnector keeps the whole contract but for what its hub cannot do."""

from collections.abc import AsyncIterator
from importlib.metadata import entry_points
from typing import Any

import pytest
import pytest_asyncio
from hub_connector.hub import Hub

from cascade.interfaces import Connector, SupportsSource
from cascade.interfaces.topics import status_topic
from cascade.testkit.chaos import ChaosProxy
from cascade.testkit.connector import Ability, ConnectorContract


class TestHubConnector(ConnectorContract):
    abilities = frozenset(Ability) - {Ability.BYTES, Ability.EXTEND}

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

    async def interrupt(self) -> None:
        await self.proxy.down()

    async def silence(self) -> None:
        self.hasty["connect_timeout"] = 0.2
        self.proxy.stall()

    async def restore(self) -> None:
        self.proxy.resume()
        await self.proxy.up()

    def status_of(self, connector: Connector) -> str:
        assert isinstance(connector, SupportsSource)
        return status_topic(connector.source_id)

    @pytest_asyncio.fixture
    async def environment(self, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
        for pause in ("backoff.SHORTEST_PAUSE", "backoff.LONGEST_PAUSE", "senders.STEADY_AFTER"):
            monkeypatch.setattr(f"cascade.transport.{pause}", 0.01)
        self.hasty: dict[str, float] = {}
        async with Hub() as self.hub, ChaosProxy(self.hub.port) as self.proxy:
            yield
