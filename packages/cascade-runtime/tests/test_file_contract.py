"""FileConnector keeps the part of the contract that it declares: it writes telemetry, and receives nothing."""

import json
from pathlib import Path

import pytest

from cascade.interfaces import Connector
from cascade.interfaces.topics import matches
from cascade.runtime import FileConnector
from cascade.testkit.connector import Ability, ConnectorContract, Observer
from cascade.testkit.naming import unique_topic


class TestFileConnector(ConnectorContract):
    abilities = frozenset({Ability.PUBLISH_NOWAIT, Ability.FLUSH, Ability.STATISTICS, Ability.LINK_STATE})

    @pytest.fixture
    def environment(self, tmp_path: Path) -> None:
        self.path = tmp_path / "run.jsonl"

    async def make(self) -> Connector:
        return FileConnector(self.path)

    def topic(self) -> str:
        return f"cascade/telemetry/{unique_topic('contract')}"

    async def observe(self, topic_filter: str) -> Observer:
        def seen() -> list[tuple[str, dict[str, object]]]:
            lines = self.path.read_text("utf-8").split("\n")[:-1] if self.path.exists() else []
            messages = [json.loads(line) for line in lines]
            found = [(message.pop("topic"), message) for message in messages]
            return [(topic, message) for topic, message in found if matches(topic_filter, topic)]

        return seen
