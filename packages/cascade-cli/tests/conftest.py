"""These tests share terminals and engines: put their folder where Python finds it."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from engines import PASSWORD, Plant
from patient import SECONDS, lengthen, lengthen_connecting

from cascade.cli import main
from cascade.cli._doctor import examination, trials, way
from cascade.testkit.brokers import Broker

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
_OF_THE_MACHINE = {"sqlite", "websocket"}
"""Warnings of the doctor that do not depend on the broker."""


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


@pytest.fixture
def quick_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer messages and a shorter wait for what does not come; a link that comes late is waited for."""
    lengthen_connecting(monkeypatch.setattr)
    monkeypatch.setattr(way, "LOOKUP_SECONDS", SECONDS)
    monkeypatch.setattr(way, "CONNECT_SECONDS", SECONDS)
    monkeypatch.setattr(examination, "MESSAGES", 30)
    monkeypatch.setattr(trials, "RETURN_SECONDS", 0.3)
    monkeypatch.setattr(trials, "QUIET_SECONDS", 0.15)
    monkeypatch.setattr(examination, "LISTEN_SECONDS", 0.2)
    monkeypatch.setattr(examination, "RENEWAL_SECONDS", 0.2)
    monkeypatch.setattr(examination, "_WEBSOCKET_PORTS", (9,))


@pytest.fixture
def doctor(
    quick_doctor: None, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, set[str], set[str]]]:
    """Run the command; return its code, and the names of problems and of warnings."""

    def call(url: str, *arguments: str) -> tuple[int, set[str], set[str]]:
        code = main(["doctor", "--broker", url, "--json", *arguments])
        out, err = capsys.readouterr()
        assert err == ""
        document = json.loads(out)
        assert document.keys() == {"broker", "problems", "warnings"}
        assert PASSWORD not in out
        found = [{each["name"] for each in document[key]} for key in ("problems", "warnings")]
        return code, found[0], found[1] - _OF_THE_MACHINE

    return call
