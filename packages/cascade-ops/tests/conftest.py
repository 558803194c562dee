"""These tests share roles, collectors and an examination: put their folder where Python finds it."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cascade.cli import main
from cascade.testkit.brokers import NatsServer
from testing_tools.command_fixtures import no_settings, patient, patient_with_nats, plant
from testing_tools.engines import PASSWORD
from testing_tools.patient import SECONDS, lengthen_connecting

sys.path.insert(0, str(Path(__file__).parent))

__all__ = ["no_settings", "patient", "patient_with_nats", "plant"]

_OF_THE_MACHINE = {"sqlite", "websocket"}
"""Warnings of the doctor that do not depend on the broker."""


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that drops a message is not waited for."""
    from ops_modules import retained_writes

    monkeypatch.setattr(retained_writes, "ACKNOWLEDGE_SECONDS", 0.05)


@pytest.fixture
def guarded() -> Iterator[NatsServer]:
    """A nats-server with the rules of all roles, one user more who may do everything, and one without any right."""
    from roles import NOTHING, ROLES, nats_rules

    lines = nats_rules(ROLES, "witness")
    lines[2:2] = [f'    {{ user: "stranger", password: "{PASSWORD}", {NOTHING} }}']
    with NatsServer(lines=lines) as broker:
        yield broker


@pytest.fixture
def quick_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer messages and a shorter wait for what does not come; a link that comes late is waited for."""
    from ops_modules import broker_probes, examination, gate_probes, network_probes

    lengthen_connecting(monkeypatch.setattr)
    monkeypatch.setattr(network_probes, "LOOKUP_SECONDS", SECONDS)
    monkeypatch.setattr(network_probes, "CONNECT_SECONDS", SECONDS)
    monkeypatch.setattr(examination, "MESSAGES", 30)
    monkeypatch.setattr(broker_probes, "RETURN_SECONDS", 0.3)
    monkeypatch.setattr(broker_probes, "QUIET_SECONDS", 0.15)
    monkeypatch.setattr(examination, "LISTEN_SECONDS", 0.2)
    monkeypatch.setattr(gate_probes, "LISTEN_SECONDS", 1.0)
    monkeypatch.setattr(gate_probes, "REPORT_SECONDS", 1.0)
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
