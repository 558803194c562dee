"""Every recipe of the wire's second page does what the page says."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces.topics import check_filter, parse_constraint_topic, parse_state_topic
from cascade.wire import parse_register
from testing_tools.engines import Plant, eventually
from testing_tools.patient import PATIENT

INTERFACES = Path(__file__).parents[2] / "cascade-interfaces"
PAGE = (INTERFACES / "RECIPES.md").read_text("utf-8")
PROTOCOL = (INTERFACES / "PROTOCOL.md").read_text("utf-8")
LINES, ALARM = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def block(kind: str) -> str:
    """The one block of a kind on the page."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def mosquitto(plant: Plant, tmp_path: Path) -> Any:
    """Run a line of the page; the settings of mosquitto's tools name the broker, and end a subscription."""
    if shutil.which("mosquitto_sub") is None:
        message = "mosquitto_sub is not installed: apt-get install mosquitto-clients"
        pytest.fail(message, pytrace=False) if os.environ.get("CI") else pytest.skip(message)
    for name in ("mosquitto_pub", "mosquitto_sub"):
        (tmp_path / name).write_text(f"-h {plant.broker.host}\n-p {plant.broker.port}\n")
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path)}

    def run(line: str) -> str:
        words = shlex.split(line)
        if words[0] == "mosquitto_sub" and "-C" not in words:
            words[1:1] = ["-C", "1"]
        done = subprocess.run(words, env=environment, timeout=60, check=True, capture_output=True, text=True)
        return done.stdout

    return run


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
def test_mosquitto_shows_and_steers(plant: Plant, mosquitto: Any) -> None:
    """Each line of the first recipe, in its order, against a live engine."""
    plant.start("press-line-3")
    plant.wait_for_runs("press-line-3")
    summary, status, constraints, pause, lift = [
        line for line in LINES.splitlines() if not line.startswith("#")
    ]

    def obeyed() -> list[str]:
        return list(json.loads(mosquitto(constraints))["applied"])

    assert mosquitto(summary).startswith('cascade/state/press-line-3/summary {"up": 1')
    assert mosquitto(status).startswith('cascade/status/press-line-3 {"status": "online"')
    eventually(lambda: obeyed() == [], "nothing is in force")
    mosquitto(pause)
    eventually(
        lambda: obeyed() == ["cascade/constraints/source/press-line-3/@pause"], "the pause is in force"
    )
    mosquitto(lift)
    eventually(lambda: obeyed() == [], "the pause is lifted")


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
def test_the_alarm_rings(plant: Plant, tmp_path: Path) -> None:
    """For a run that failed and for an engine that was killed; a file stands in for the mail."""
    mailed = tmp_path / "mailed"
    mail = "mail -s Cascade operator@example.com"
    assert mail in ALARM
    script = ALARM.replace(mail, f"cat >> {shlex.quote(str(mailed))}")
    script = script.replace("cascade watch", f"{shlex.join(PATIENT)} watch")
    alarm = subprocess.Popen(["bash", "-c", script], env=plant.environment(), start_new_session=True)
    try:
        living = plant.start("living")
        plant.start("failing", tasks=0)

        def rows() -> list[dict[str, Any]]:
            lines = mailed.read_text().splitlines() if mailed.exists() else []
            return [json.loads(line) for line in lines]

        eventually(
            lambda: ("failing", "Failed") in {(row["source"], row["status"]) for row in rows()}, "it failed"
        )
        plant.wait_for_runs("living")
        living.kill()
        eventually(
            lambda: ("living", "lost") in {(row["source"], row["status"]) for row in rows()}, "it is lost"
        )
    finally:
        os.killpg(alarm.pid, 15)
        alarm.wait()


def test_telegraf_reads_the_summary() -> None:
    """By the rules of its JSON parser: numbers become fields, other values only if they are named; the time parses."""
    (settings,) = tomllib.loads(block("toml"))["inputs"]["mqtt_consumer"]
    (example,) = re.findall(r"```json summary\n(.*?)```", PROTOCOL, re.DOTALL)
    summary = json.loads(example)
    (topic,) = settings["topics"]
    check_filter(topic)
    numbers = {key for key, value in summary.items() if type(value) in (int, float)}
    named = set(settings["json_string_fields"])
    assert numbers | named == summary.keys() - {settings["json_time_key"]}
    assert not numbers & named
    assert datetime.fromisoformat(summary[settings["json_time_key"]]).utcoffset() is not None
    assert settings["json_time_format"] == "2006-01-02T15:04:05.999999Z07:00"  # RFC 3339, in Go's notation
    (parsing,) = settings["topic_parsing"]
    levels = topic.replace("+", "press-line-3").split("/")
    assert len(parsing["measurement"].split("/")) == len(parsing["tags"].split("/")) == len(levels)
    assert dict(zip(parsing["tags"].split("/"), levels, strict=True))["source"] == "press-line-3"


def test_the_flow_of_node_red_is_whole() -> None:
    """Its wires lead to nodes, it steers with retained registers, and it reads what engines report."""
    flow = json.loads(block("json"))
    nodes = {node["id"]: node for node in flow}
    assert len(nodes) == len(flow)
    for node in flow:
        assert {target for wire in node.get("wires", ()) for target in wire} <= nodes.keys()
        assert node.get("z", "cascade.flow") == "cascade.flow"
    (out,) = [node for node in flow if node["type"] == "mqtt out"]
    assert (out["retain"], out["qos"]) == ("true", "1")
    assert parse_constraint_topic(out["topic"]) == ("source:press-line-3", "pause")
    payloads = {node["name"]: node["payload"] for node in flow if [[out["id"]]] == node.get("wires")}
    assert payloads.keys() == {"Pause", "Resume"}
    assert payloads["Resume"] == ""
    register = parse_register(out["topic"], payloads["Pause"].encode())
    assert register is not None
    assert (getattr(register, "problem", None), getattr(register, "by", None)) == ("", "Node-RED")
    (read,) = [node for node in flow if node["type"] == "mqtt in"]
    assert parse_state_topic(read["topic"]) == ("press-line-3", "summary")
    assert {nodes[node["broker"]]["type"] for node in (out, read)} == {"mqtt-broker"}
    (choice,) = [node for node in flow if node["type"] == "switch"]
    assert choice["property"] == "payload.last_status"
    assert [rule["v"] for rule in choice["rules"]] == ["Failed"]
