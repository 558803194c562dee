"""A proxy before the peer, at which a test breaks the links of the connectors that it checks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from cascade.interfaces import Connector, SupportsLink
from cascade.interfaces.topics import status_topic
from cascade.testkit.chaos import ChaosProxy

_SOON = 0.01
_PAUSES = ("backoff.SHORTEST_PAUSE", "backoff.LONGEST_PAUSE", "senders.STEADY_AFTER")


def _no_peer(self: object) -> int:
    """Fail: every connector has a peer of its own."""
    raise NotImplementedError(
        "override the fixture peer_port: start the peer, and return its TCP port on loopback"
    )


class ThroughProxy:
    """The hooks of a connector over TCP on ``cascade.transport``; name it before ``ConnectorContract`` as a base class.

    Give ``peer_port``. ``make`` and ``make_named`` connect to ``proxy``, a witness to the peer itself. The waits of
    ``cascade.transport`` are shortened, so that no test waits for a pause.
    """

    proxy: ChaosProxy
    """Carries the links; :meth:`interrupt`, :meth:`silence` and :meth:`restore` act on it."""
    hasty: dict[str, Any]
    """Further keywords for ``make``: after :meth:`silence`, a connector soon gives up on answers that cannot come."""

    peer_port: Any = pytest.fixture(_no_peer)
    """Override this fixture, also with an async one: start the peer, and return its TCP port on loopback."""

    @pytest_asyncio.fixture
    async def environment(self, peer_port: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
        for pause in _PAUSES:
            monkeypatch.setattr(f"cascade.transport.{pause}", _SOON)
        self._monkeypatch = monkeypatch
        self.hasty = {}
        async with ChaosProxy(peer_port) as self.proxy:
            yield

    async def interrupt(self) -> None:
        """Refuse links; a connector that leaves without one waits for it no longer than a moment."""
        self._monkeypatch.setattr("cascade.transport.waiting.NO_LINK", 0.05)
        self._monkeypatch.setattr("cascade.transport.waiting.RECENT", -1.0)
        await self.proxy.down()

    async def silence(self) -> None:
        """Carry nothing from now on; a connector soon gives up on answers that cannot come."""
        self._monkeypatch.setattr("cascade.transport.waiting.NO_PROGRESS", 0.2)
        self._monkeypatch.setattr("cascade.transport.link.LEAVE_TIMEOUT", 0.2)
        self.hasty["connect_timeout"] = 0.2
        self.proxy.stall()

    async def restore(self) -> None:
        """Carry what waits, and accept links again."""
        self.proxy.resume()
        await self.proxy.up()

    def status_of(self, connector: Connector) -> str:
        """Return the topic on which a connector's presence is published."""
        assert isinstance(connector, SupportsLink)
        return status_topic(connector.source_id)
