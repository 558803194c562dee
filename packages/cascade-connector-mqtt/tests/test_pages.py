"""The examples in the README run as printed, and the tables of the pages are those of the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cascade.connectors.mqtt import MqttConnector, _aiomqtt_client, config
from cascade.testkit import Broker
from cascade.transport import outbox
from cascade.transport.settings import OWN

PACKAGE = Path(__file__).parents[1]
EXAMPLES = re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text("utf-8"), re.DOTALL)
OUTPUT = ["42", "plant/1/temperature {'celsius': 21.5}", ""]


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.parametrize(
    ("example", "output"), list(zip(EXAMPLES, OUTPUT, strict=True)), ids=["run", "alone", "mock"]
)
def test_an_example_runs(broker: Broker, tmp_path: Path, example: str, output: str) -> None:
    """With the address of a broker that the test started it prints what it says, and warns of nothing."""
    address = f'"{broker.host}", {broker.port}'
    program = example.replace('hostname="localhost"', address).replace('"localhost"', address)
    file = tmp_path / "example.py"
    file.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(file)], capture_output=True, text=True, check=False, timeout=600
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert output in done.stdout


def test_each_reason_for_which_a_message_is_dropped_is_explained() -> None:
    """By the word that ``statistics().dropped`` has: programs and dashboards ask for it."""
    table = (
        (PACKAGE / "docs" / "methods.md")
        .read_text("utf-8")
        .partition("| reason in `dropped` |")[2]
        .partition("\n\n")[0]
    )
    assert re.findall(r"^\| `(.*?)` \|", table, re.MULTILINE) == [
        outbox.FULL,
        outbox.TOO_LARGE,
        outbox.SUPERSEDED,
        outbox.POISON,
        outbox.NOT_ALLOWED,
        outbox.REFUSED,
        outbox.NOT_CONNECTED,
        outbox.UNSENT,
        outbox.GIVEN_BACK,
        outbox.FORKED,
    ]


def test_each_keyword_has_the_default_that_is_stated() -> None:
    """In the table of the connector's own keywords; none of them is missing there."""
    table = (
        (PACKAGE / "docs" / "options.md")
        .read_text("utf-8")
        .partition("| keyword | default |")[2]
        .partition("\n\n")[0]
    )
    stated = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE))
    made = MqttConnector("broker")
    assert {*stated} == {*OWN, *config.NETWORK.own}
    assert [made._mqtt.source_id, made._mqtt.client_id] == [None, None]
    del stated["source_id"], stated["client_id"]  # what stands for them is stated in words
    for name, default in stated.items():
        found = getattr(made._mqtt, name)
        assert default in (f"`{found}`", f"{found / (1 << 20):.0f} MiB"), name
    assert (made.hostname, made.port) == ("broker", 1883)


@pytest.mark.parametrize(
    "page", ["cascade-connector-mqtt/docs/versions.md", "cascade-interfaces/PROTOCOL.md"]
)
def test_the_limits_of_mqtt_5_are_those_of_the_code(page: str) -> None:
    """When an engine with a name uses MQTT 3.1.1 instead; other clients plan with it, too."""
    text = " ".join((PACKAGE.parent / page).read_text("utf-8").split())
    assert f"does not answer within {_aiomqtt_client.NEWER_SECONDS:g} s, it connects with MQTT 3.1.1" in text
    assert (
        f"permits fewer than {_aiomqtt_client.LEAST_RATE} messages a second over the measured round trip"
        in text
    )
    assert f"{MqttConnector('broker')._mqtt.window} messages" in text
