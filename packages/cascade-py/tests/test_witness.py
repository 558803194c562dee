"""The witness of this suite: it hears every broker that a test starts, and finds a wrong message of any publisher."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cascade.testkit.brokers import Broker, Mosquitto, NatsServer
from cascade.testkit.fixtures import require_mosquitto
from testing_tools.odd_broker import OddBroker
from testing_tools.suite_witness import SuiteWitness
from testing_tools.wire_links import Heard
from testing_tools.wire_rules import Deliveries

CONFTEST = Path(__file__).parents[2] / "conftest.py"
BIRTH = {"status": "online", "session": "1f", "ts": "t", "pid": 1, "host": "h", "version": "0.1.0"}
STATUS = "cascade/status/press"

PUBLISH = """
import json, sys
import paho.mqtt.publish as paho

(host, port), *messages = map(json.loads, sys.argv[1:])
paho.multiple([tuple(each) for each in messages], host, port)
"""


def publish(broker: Broker | OddBroker, *messages: tuple[str, str, int, bool]) -> None:
    """Publish in another process."""
    arguments = [json.dumps(each) for each in ((broker.host, broker.port), *messages)]
    subprocess.run([sys.executable, "-c", PUBLISH, *arguments], check=True, timeout=120)


def birth(**changes: Any) -> tuple[str, str, int, bool]:
    return STATUS, json.dumps(BIRTH | changes), 1, True


@pytest.fixture(params=[Mosquitto, NatsServer, OddBroker], ids=["mosquitto", "nats-server", "odd-broker"])
def heard_broker(request: pytest.FixtureRequest) -> Iterator[Broker | OddBroker]:
    if request.param is Mosquitto:
        require_mosquitto()
    with request.param() as broker:
        yield broker


@pytest.mark.broker
@pytest.mark.process
def test_what_another_process_publishes_is_checked(
    heard_broker: Broker | OddBroker, witness: SuiteWitness
) -> None:
    """A right birth, then a wrong one, an echo that is not an object, and a message on an unknown topic."""
    publish(heard_broker, birth())
    assert witness.collect() == []
    echo = ("cascade/sync/press/1f", "[]", 0, False)
    publish(heard_broker, birth(pid="1"), echo, ("cascade/status/press/later", "{}", 0, False))
    found = dict(witness.collect())
    assert found.keys() == {STATUS, "cascade/sync/press/1f", "cascade/status/press/later"}
    assert "channels []" in found["cascade/status/press/later"]
    assert "is not of type 'object'" in found["cascade/sync/press/1f"]


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.parametrize("words", [("-n", "0"), ("-n", "1")], ids=["plain", "xdist"])
def test_the_test_that_made_a_wrong_message_fails(tmp_path: Path, words: tuple[str, str]) -> None:
    """With the topic; a test that names the topic as wrong on purpose does not, nor do its neighbours."""
    made = tmp_path / "test_made.py"
    made.write_text(
        "import pytest\n"
        "from paho.mqtt import publish\n"
        "def send(broker):\n"
        '    publish.single("cascade/status/a", "{}", 1, True, broker.host, broker.port)\n'
        "@pytest.mark.broker\n"
        "def test_right(broker): ...\n"
        "@pytest.mark.broker\n"
        "def test_wrong(broker): send(broker)\n"
        "@pytest.mark.broker\n"
        '@pytest.mark.wrong_messages("to see it", "cascade/status/+")\n'
        "def test_exempt(broker): send(broker)\n",
        "utf-8",
    )
    (tmp_path / "conftest.py").write_text(
        "import importlib.util\n"
        f'spec = importlib.util.spec_from_file_location("house", {str(CONFTEST)!r})\n'
        "house = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(house)\n"
        "globals().update({name: each for name, each in vars(house).items() if name[0] != '_'})\n",
        "utf-8",
    )
    settings = str(CONFTEST.parents[1] / "pyproject.toml")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", settings, *words, str(made)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert "3 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert re.search(r"^ERROR .*::test_wrong", done.stdout, re.MULTILINE), done.stdout
    assert "cascade/status/a: []: 'status' is a required property" in done.stdout


PAUSE = "cascade/constraints/global/@pause"


@pytest.mark.parametrize(
    ("heard", "wrong"),
    [
        (Heard(PAUSE, b'{"type": "pause"}', 0, True), ""),
        (Heard(PAUSE, b"", 1, True), ""),
        (Heard(PAUSE, b"{}", 1, True), ""),
        (Heard(PAUSE, b"", 1, False), "retain is False, not True"),
        (Heard(PAUSE, b"", 2, True), "QoS 2, not 1"),
        (Heard("cascade/sync/a/@canary", b"", 1, True), ""),
        (Heard("cascade/sync/a/@canary", b"{}", 1, True), "QoS 1, not 0"),
        (Heard(PAUSE, b"oops", 1, True), "no JSON: b'oops'"),
        (Heard("cascade/sync/a/1f", b"", 0, False), "an empty message"),
        (Heard("cascade/sync/a/1f", b"{}", 1, False), "QoS 1, not 0"),
        (Heard("cascade/sync/a/1f", b"{}"), ""),
        (Heard("cascade/status/a", b'{"status": "offline"}', 0, False), ""),
        (Heard("cascade/status/a", b'{"status": "offline", "session": "1"}', 1, False), "retain is False, not True"),
        (Heard("cascade/later", b"{}", 0, False), "channels []"),
        (Heard("cascade/sync/ann/doctor-0123abcd-7", b"", 1, True), ""),
        (Heard("cascade/telemetry/o/p/doctor-0123abcd/later", b"", 1, True), "channels []"),
    ],
)  # fmt: skip
def test_a_message_is_what_the_document_says(heard: Heard, wrong: str) -> None:
    assert Deliveries().problems(heard) == ([wrong] if wrong else [])
