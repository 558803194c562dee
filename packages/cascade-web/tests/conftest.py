"""These tests share a served page and a browser, and the engines of the tests of the command: they are found here."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "cascade-cli/tests"))
sys.path.insert(0, str(Path(__file__).parent))

from engines import Plant

from cascade.testkit.brokers import Broker


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the developer names no broker to a test."""
    for name in ("BROKER", "MQTT_PASSWORD", "MQTT_PASSWORD_FILE", "MQTT_CA", "MQTT_CERT", "MQTT_KEY"):
        monkeypatch.delenv(f"CASCADE_{name}", raising=False)


@pytest.fixture
def plant(fresh_broker: Broker) -> Iterator[Plant]:
    """A broker for one test, and the engines that the test starts."""
    with Plant(fresh_broker) as made:
        yield made
