"""JsonlConnector keeps the part of the contract that it declares: it sends, and calls no callbacks."""

import json
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from cascade.interfaces import Connector
from cascade.interfaces.topics import matches
from cascade.testkit.connector import ConnectorContract, Observer


class TestJsonlConnector(ConnectorContract):
    abilities = frozenset()

    @pytest.fixture
    def environment(self, tmp_path: Path) -> None:
        self.path = tmp_path / "messages.jsonl"

    async def make(self) -> Connector:
        (found,) = entry_points(group="cascade.connectors", name="jsonl")
        connector: Connector = found.load()(self.path)
        return connector

    async def observe(self, topic_filter: str) -> Observer:
        def lines() -> list[str]:
            return self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []

        return lambda: [
            (line["topic"], line["payload"])
            for line in map(json.loads, lines())
            if matches(topic_filter, line["topic"])
        ]
