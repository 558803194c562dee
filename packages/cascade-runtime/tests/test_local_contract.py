"""LocalConnector passes the suite that every connector must pass."""

import pytest

from cascade.interfaces import Connector, ReplyTo
from cascade.runtime import LocalConnector, LocalHub
from cascade.testkit.connector import Ability, Answers, ConnectorContract


class TestLocalConnector(ConnectorContract):
    # a hub inside the process is never away
    abilities = frozenset(Ability) - {Ability.KEEP, Ability.LINK, Ability.WILL, Ability.PRESENCE}

    @pytest.fixture
    def environment(self) -> None:
        self.hub = LocalHub()

    async def make(self) -> Connector:
        return LocalConnector(self.hub)

    async def ask(self, topic: str, payload: bytes, *, traceparent: str = "") -> Answers:
        answers = f"{self.topic()}/answers"
        seen = await self.observe(answers)
        self.hub.publish(topic, payload, reply_to=ReplyTo(answers), traceparent=traceparent)
        return lambda: [data for _, data in seen()]

    async def send_bytes(self, topic: str, payload: bytes) -> None:
        self.hub.publish(topic, payload)
