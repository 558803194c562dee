"""Fixtures for tests of the command: a conftest imports those that its tests use."""

from collections.abc import Iterator

import pytest

from cascade.testkit.brokers import Broker
from testing_tools.engines import Plant
from testing_tools.patient import lengthen

_VARIABLES = (
    "BROKER",
    "SOURCE_ID",
    "MQTT_PASSWORD",
    "MQTT_PASSWORD_FILE",
    "MQTT_CA",
    "MQTT_CERT",
    "MQTT_KEY",
    "NATS_PASSWORD",
    "NATS_PASSWORD_FILE",
    "NATS_TOKEN",
    "NATS_TOKEN_FILE",
    "NATS_CREDS",
    "NATS_NKEY",
    "NATS_CA",
    "NATS_CERT",
    "NATS_KEY",
)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the developer names no broker to a test."""
    for name in (*(f"CASCADE_{each}" for each in _VARIABLES), "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.setenv(name, "")  # so that what a command sets ends with the test, too
        monkeypatch.delenv(name)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that gets no processor for seconds is not one that does not answer."""
    lengthen(monkeypatch.setattr)


@pytest.fixture
def plant(patient: None, fresh_broker: Broker) -> Iterator[Plant]:
    """A broker for one test, and the engines that the test starts."""
    with Plant(fresh_broker) as made:
        yield made


@pytest.fixture
def patient_with_nats(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for seconds is not a JetStream that does not answer."""
    monkeypatch.setattr("cascade.connectors.nats._link.OPEN_TIMEOUT", 60.0)
