"""``cascade ha``: what Home Assistant discovers, shows and publishes."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from home import device, device_topic
from home_rules import problems
from jinja2.sandbox import ImmutableSandboxedEnvironment

import cascade
from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces.topics import (
    check_topic,
    constraint_topic,
    request_topic,
    state_topic,
    status_topic,
)
from cascade.interfaces.watch import Complete, Message
from cascade.wire import parse_request
from testing_tools.engines import Plant, eventually

PROTOCOL = Path(__file__).parents[2] / "cascade-interfaces" / "PROTOCOL.md"
HOSTILE = ["pi.local/line 3", 'a"b\\c', "{{ 1/0 }}", "{% raw %}", "{# x", "hall%2F2", "ü日本", "x' ~ y"]


def examples(name: str) -> list[dict[str, Any]]:
    """The messages of one kind that the protocol's page shows."""
    found = re.findall(rf"```json {name}\n(.*?)```", PROTOCOL.read_text("utf-8"), re.DOTALL)
    return [json.loads(text) for text in found]


OFFERS = examples("workflows")[0]["workflows"]


ENTRY = examples("gate_entry")[0]
EFFECTIVE: list[dict[str, Any]] = [
    {"scope": "source:press", "type": "pause", "params": {}, "topic": "t/pause", "id": "p", "expires_at": None},
    *(
        {"scope": scope, "type": f"gate.{name}", "params": {}, "topic": constraint_topic(scope, f"gate.{name}"), "id": name,
         "expires_at": None, "gate": ENTRY}
        for scope, name in (("source:press", "power"), ("task:a{{ 1/0 }}", "power"), ("global", "night"))
    ),
]  # fmt: skip


def rendered(template: str, content: Any, **variables: Any) -> str:
    """What Home Assistant makes of a message: its sandbox, without strict undefined names."""
    made = ImmutableSandboxedEnvironment().from_string(template)
    return made.render(value=json.dumps(content), value_json=content, **variables).strip()


def shown(source: str, component: str, content: Any, **variables: Any) -> str:
    """The state of one entity after a message."""
    found = device(source)["components"][component]
    return rendered(found["value_template"], content, **variables)


@pytest.mark.parametrize("source", ["press-line-3", *HOSTILE])
def test_home_assistant_accepts_a_discovery_message(source: str) -> None:
    """With workflows and gates, by its own rules: keys, types, topics and templates; ids differ within a device."""
    gates = [row for row in EFFECTIVE if row["type"] in ("gate.power", "gate.night")]
    made = device(source, offers=OFFERS, effective=gates)
    assert problems(made) == []
    check_topic(device_topic(source))
    assert re.fullmatch(r"homeassistant/device/cascade_[a-zA-Z0-9_-]+/config", device_topic(source))
    assert made["device"]["name"] == source
    assert made["availability"][0]["topic"] == status_topic(source)
    ids = [component["unique_id"] for component in made["components"].values()]
    assert len(set(ids)) == len(ids)
    for component in made["components"].values():
        for key, value in component.items():
            if key.endswith("_topic"):
                check_topic(value)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("start_audit", {"command_topic": "cascade/requests/+/audit"}),
        ("start_audit", {"payload_press": {"by": "me"}}),
        ("start_audit", {"press_payload": "{}"}),
        ("start_audit", {"unique_id": None}),
        ("start_audit", {"qos": 3}),
        ("next_audit", {"unit_of_measurement": "s"}),
        ("next_audit", {"value_template": "{{ value_json.next"}),
        ("ended_audit", {"options": ["Succeeded"]}),
        ("state", {"options": None}),
        ("time_left", {"unit_of_measurement": "tasks"}),
        ("limit", {"min": 2000}),
        ("run_ended", {"event_types": None}),
        ("pause", {"icon": "pause"}),
        ("pause", {"platform": "light"}),
    ],
)
def test_the_rules_of_home_assistant_find_a_wrong_message(name: str, change: dict[str, Any]) -> None:
    """Each of these is one fault, in a message that has none otherwise; None: the key is missing."""
    made = device("press-line-3", offers=OFFERS)
    changed = {**made["components"][name], **change}
    made["components"][name] = {key: value for key, value in changed.items() if value is not None}
    assert problems(made)


def test_ids_keep_sources_apart() -> None:
    """A source that is not a legal id gets a digest; two that become the same text stay two devices."""
    for source, found in (("press-line-3", "press-line-3"), ("pi.local/line 3", "pi_local_line_3_5a184c")):
        assert device_topic(source) == f"homeassistant/device/cascade_{found}/config"
    assert len({device_topic("a b"), device_topic("a/b"), device_topic("a_b")}) == 3


@pytest.mark.parametrize("source", ["press-line-3", *HOSTILE])
def test_what_is_published_is_a_register(source: str) -> None:
    """Switch and number: the five keys of a register and its author, whatever the source is called."""
    components = device(source)["components"]
    register = {"id": f"pause-source:{source}", "scope": f"source:{source}", "type": "pause", "params": {}}
    pause = components["pause"]
    assert json.loads(pause["payload_on"]) == register | {"expires_at": None, "by": "Home Assistant"}
    assert pause["command_topic"] == constraint_topic(f"source:{source}", "pause")
    assert (pause["payload_off"], pause["retain"]) == ("", True)
    limit = components["limit"]
    text = ImmutableSandboxedEnvironment().from_string(limit["command_template"]).render(value=3.0)
    assert json.loads(text) == {
        "id": f"concurrency-source:{source}",
        "scope": f"source:{source}",
        "type": "concurrency",
        "params": {"limit": 3},
        "expires_at": None,
        "by": "Home Assistant",
    }
    lift = components["lift_limit"]
    assert (lift["command_topic"], lift["payload_press"], lift["retain"]) == (
        limit["command_topic"],
        "",
        True,
    )


@pytest.mark.parametrize("source", ["press-line-3", *HOSTILE])
def test_the_switch_shows_its_own_register(source: str) -> None:
    """Neither a global pause nor a refused one turns it on."""
    own = constraint_topic(f"source:{source}", "pause")
    for applied, state in (
        ({own: {"status": "applied"}}, "ON"),
        ({own: {"status": "rejected"}}, "OFF"),
        ({constraint_topic("global", "pause"): {"status": "applied"}}, "OFF"),
        ({}, "OFF"),
    ):
        assert shown(source, "pause", {"applied": applied}) == state
    assert shown(source, "pause", {"sync": "idle"}) == "OFF"
    limit = constraint_topic(f"source:{source}", "concurrency")
    assert shown(source, "limit", {"effective": [{"topic": limit, "params": {"limit": 4}}]}) == "4"
    assert shown(source, "limit", {"effective": [{"topic": "x", "params": {}}]}) == "None"


def test_a_person_sees_each_entity_with_its_name_unit_and_limits() -> None:
    """Beside the templates and topics: Home Assistant builds its page of these values."""
    made = device("press")
    assert made["device"] == {
        "identifiers": ["cascade_press"],
        "name": "press",
        "manufacturer": "Cascade",
        "model": "Engine",
    }
    assert made["origin"] == {"name": "Cascade", "sw_version": cascade.__version__}
    assert (made["qos"], made["state_topic"]) == (1, state_topic("press", "summary"))
    assert made["availability"][0]["value_template"] == "{{ value_json.status }}"
    constraints, runs = state_topic("press", "constraints"), state_topic("press", "runs")
    counted = {"platform": "sensor", "state_class": "measurement"}
    expected: dict[str, dict[str, Any]] = {
        "pause": {"platform": "switch", "name": "Pause", "icon": "mdi:pause", "payload_off": "", "retain": True,
                  "state_topic": constraints, "state_on": "ON", "state_off": "OFF"},
        "limit": {"platform": "number", "name": "Limit of running tasks", "icon": "mdi:speedometer", "retain": True,
                  "state_topic": constraints, "min": 0, "max": 1000, "mode": "box"},
        "lift_limit": {"platform": "button", "name": "Lift the limit", "icon": "mdi:speedometer-slow",
                       "payload_press": "", "retain": True},
        "state": {"platform": "sensor", "name": "State", "device_class": "enum",
                  "options": ["idle", "running", "paused", "ended"]},
        "paused": {"platform": "binary_sensor", "name": "Paused"},
        "running": {**counted, "name": "Running tasks", "unit_of_measurement": "tasks"},
        "waiting": {**counted, "name": "Waiting tasks", "unit_of_measurement": "tasks"},
        "progress": {**counted, "name": "Progress", "unit_of_measurement": "%", "state_topic": runs},
        "time_left": {**counted, "name": "Time left", "unit_of_measurement": "s", "device_class": "duration",
                      "state_topic": runs},
        "held": {"platform": "binary_sensor", "name": "Held by a gate", "icon": "mdi:gate", "state_topic": runs,
                 "json_attributes_topic": runs},
        "last_error": {"platform": "sensor", "name": "Last error", "icon": "mdi:alert-circle-outline",
                       "state_topic": runs},
        "last_run": {"platform": "sensor", "name": "Last run", "state_topic": runs, "json_attributes_topic": runs},
        "run_ended": {"platform": "event", "name": "Run ended", "state_topic": runs,
                      "event_types": ["succeeded", "failed", "cancelled", "lost"]},
    }  # fmt: skip
    left_out = ("payload_on", "command_topic", "unique_id")
    assert {
        name: {
            key: value for key, value in component.items() if key not in left_out and "template" not in key
        }
        for name, component in made["components"].items()
    } == expected
    ids = {name: component["unique_id"] for name, component in made["components"].items()}
    assert ids == {name: f"cascade_press_{name}" for name in expected}


def test_sensors_show_the_reports() -> None:
    """Of the protocol's examples, of an engine without a run, and of one with a run whose end is known."""
    (runs,), (summary,) = examples("runs"), examples("summary")
    row = runs["runs"][0]
    known = {
        **row,
        "open": False,
        "known": 10,
        "counts": {"COMPLETED": 3, "SKIPPED": 1, "RUNNING": 2},
        "eta_s": 41.5,
    }
    cases = [
        ("state", summary, "running"),
        ("state", summary | {"runs": 0}, "idle"),
        ("state", summary | {"paused": True}, "paused"),
        ("state", summary | {"up": 0}, "ended"),
        ("paused", summary, "OFF"),
        ("running", summary, "1"),
        ("waiting", summary, "2"),
        ("progress", runs, "None"),  # more tasks may come
        ("progress", runs | {"runs": [known]}, "40"),
        ("time_left", runs, "None"),
        ("time_left", runs | {"runs": [known]}, "41.5"),
        ("last_error", runs, "read:0[7]: ValueError: no such file"),
        (
            "last_error",
            {"recent": [{"status": "Cancelled", "error": "y"}, {"status": "Lost", "error": "x" * 300}]},
            "x" * 255,
        ),
        ("last_run", runs, "Failed"),
    ]
    for component, report, state in cases:
        assert shown("press-line-3", component, report) == state, component
    for component in ("progress", "time_left", "last_error", "last_run"):
        assert shown("press-line-3", component, {"v": "1.0", "source": "x"}) == "None", component


def test_the_event_fires_once_for_each_run() -> None:
    """A report that repeats the row of a run that Home Assistant knows makes no event."""
    (runs,) = examples("runs")
    event = json.loads(shown("x", "run_ended", runs))
    assert event == {
        "event_type": "failed",
        "run_id": "77fe",
        "target": "report",
        "error": "read:0[7]: ValueError: no such file",
        "by": "",
    }
    cancelled = runs | {"recent": [{**runs["recent"][0], "status": "Cancelled", "by": "ada"}]}
    assert json.loads(shown("x", "run_ended", cancelled))["by"] == "ada"
    assert shown("x", "run_ended", runs, this={"attributes": {"run_id": "77fe"}}) == ""
    assert shown("x", "run_ended", runs, this={"attributes": {"run_id": "older"}}) != ""
    assert shown("x", "run_ended", {"v": "1.0"}) == ""
    found = device("x", last_run="77fe")["components"]["run_ended"]["value_template"]
    assert rendered(found, runs) == ""  # it had ended when Home Assistant discovered the engine
    newer = runs | {"recent": [{**runs["recent"][0], "run_id": "newer"}]}
    assert json.loads(rendered(found, newer))["run_id"] == "newer"
    assert rendered(found, runs, this={"attributes": {"run_id": "older"}}) != ""
    attributes = device("x")["components"]["last_run"]["json_attributes_template"]
    assert json.loads(rendered(attributes, runs))["duration_ms"] == 8123.0
    assert json.loads(rendered(attributes, {})) == {}
    # a state and an event may have 255 characters
    long = runs | {"recent": [{**runs["recent"][0], "error": "x" * 500}]}
    assert json.loads(rendered(attributes, long))["error"] == "x" * 255
    assert json.loads(shown("x", "run_ended", long))["error"] == "x" * 255


def test_a_device_has_what_its_engine_offers() -> None:
    """A button for each workflow that needs no values, its last end, and its next start if it has a schedule."""
    (audit,) = OFFERS
    plain = {key: each for key, each in audit.items() if key not in ("schedule", "last")}
    asks = {**plain, "name": "calibrate", "params": {"type": "object", "required": ["oven"]}}
    hostile = {**plain, "name": "{{ 1/0 }}/#"}
    report = {"v": "1.0", "workflows": [plain | {"name": "other"}, audit, asks]}
    components = device("pi.local/line 3", offers=[audit, asks, hostile])["components"]
    added = components.keys() - device("pi.local/line 3")["components"].keys()
    assert added == {"start_audit", "ended_audit", "next_audit", "ended_calibrate"}
    topic = state_topic("pi.local/line 3", "workflows")
    assert {components[name].get("state_topic") for name in added - {"start_audit"}} == {topic}
    button = components["start_audit"]
    assert (button["platform"], button["name"], "retain" in button) == ("button", "Start audit", False)
    assert button["command_topic"] == request_topic("pi.local/line 3", "audit")
    assert parse_request(button["payload_press"].encode()).by == "Home Assistant"
    assert components["next_audit"]["device_class"] == "timestamp"
    never = {"v": "1.0", "workflows": [plain]}
    clock = {
        "v": "1.0",
        "workflows": [audit | {"last": None, "schedule": {**audit["schedule"], "next": None}}],
    }
    for name, content, state in (
        ("ended_audit", report, "Succeeded"),
        ("ended_calibrate", report, "None"),
        ("next_audit", report, "2026-11-22T03:00:00+01:00"),
        *((name, each, "None") for name in added - {"start_audit"} for each in (never, clock, {"v": "1.0"})),
    ):
        assert rendered(components[name]["value_template"], content) == state, name
    attributes = components["ended_audit"]["json_attributes_template"]
    assert json.loads(rendered(attributes, report))["run_id"] == "audit~7"
    assert json.loads(rendered(attributes, never)) == {}


def test_a_device_has_the_gates_of_its_engine() -> None:
    """Open, closed or unknown for each gate in force, whatever its scope is called; a gate that is gone is unknown."""
    components = device("press", effective=EFFECTIVE)["components"]
    added = {components[name]["name"]: components[name] for name in components if name.startswith("gate_")}
    assert [*added] == ["Gate power", "Gate power of task:a{{ 1/0 }}", "Gate night of global"]
    assert {(each["platform"], each["device_class"]) for each in added.values()} == {
        ("binary_sensor", "opening")
    }
    (of_press, of_task, _) = added.values()
    assert of_press["unique_id"] != of_task["unique_id"]
    for state, expected in (("open", "ON"), ("closed", "OFF"), ("unknown", "None")):
        row = {**EFFECTIVE[1], "gate": {**ENTRY, "state": state}}
        report = {"effective": [EFFECTIVE[0], row, *EFFECTIVE[2:]]}
        assert rendered(of_press["value_template"], report) == expected
        assert json.loads(rendered(of_press["json_attributes_template"], report)) == row["gate"]
        assert rendered(of_task["value_template"], report) == "OFF"
    for effective in ([], EFFECTIVE[:1]):
        assert rendered(of_press["value_template"], {"effective": effective}) == "None"
        assert json.loads(rendered(of_press["json_attributes_template"], {"effective": effective})) == {}
    assert rendered(of_press["value_template"], {"v": "1.0"}) == "None"


def test_a_device_says_that_a_gate_holds_tasks_and_why() -> None:
    """Of a gate that an operator has set, or the program declares; other reasons to wait are none."""
    held = device("press")["components"]["held"]
    slot = {"why": "slot", "n": 2, "since": ENTRY["since"]}
    own = {
        "why": "gate",
        "name": "beam",
        "n": 2,
        "since": ENTRY["since"],
        "text": "beam/current is 3, must stay above 50",
    }
    for waiting, state in (([], "OFF"), ([slot], "OFF"), ([slot, own, {**own, "text": "b"}], "ON")):
        report = {"runs": [{"waiting": waiting}]}
        assert rendered(held["value_template"], report) == state
        reasons = json.loads(rendered(held["json_attributes_template"], report))["reasons"]
        assert reasons == [row["text"] for row in waiting if "text" in row]
    assert rendered(held["value_template"], {"v": "1.0"}) == "OFF"


class Home:
    """Stands in for Home Assistant: it reads the discovery message, and publishes as its entities would."""

    def __init__(self, plant: Plant, source: str) -> None:
        self._url, self._source = plant.broker.url, source

    def publish(self, topic: str, payload: str, *, retain: bool = True) -> None:
        """Publish a message, as an entity does."""
        asyncio.run(self._publish(topic, json.loads(payload) if payload else None, retain=retain))

    async def _publish(self, topic: str, message: dict[str, Any] | None, *, retain: bool) -> None:
        async with MqttConnector.from_url(self._url) as connector:
            await connector.publish(topic, message, 1, retain=retain)
            await connector.flush(10)

    def retained(self, *topics: str) -> dict[str, Any]:
        """What the broker retains."""
        return asyncio.run(self._retained(*topics))

    async def _retained(self, *topics: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        async with MqttConnector.from_url(self._url) as connector:
            stream = connector.watch(*topics)
            async for item in stream:
                if isinstance(item, Complete):
                    break
                if isinstance(item, Message) and item.payload:
                    found[item.topic] = json.loads(item.payload)
            await stream.aclose()
        return found


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
def test_home_assistant_steers_a_live_engine(plant: Plant) -> None:
    """The engine obeys the payloads of the discovery message; prune and --remove leave nothing behind."""
    source = "pi.local/line 3"
    plant.start(source)
    plant.wait_for_runs(source)
    assert plant.json("ha", source) == [{"source": source, "topic": device_topic(source)}]
    home = Home(plant, source)
    (made,) = home.retained("homeassistant/#").values()
    components = made["components"]
    report = state_topic(source, "constraints")

    def state(name: str) -> str:
        found = home.retained(components[name].get("state_topic", made["state_topic"]))
        return "".join(rendered(components[name]["value_template"], each) for each in found.values())

    assert state("pause") == "OFF"
    home.publish(components["pause"]["command_topic"], components["pause"]["payload_on"])
    eventually(lambda: state("pause") == "ON", "the switch is on")
    eventually(lambda: state("paused") == "ON", "the engine is paused")
    assert plant.json("constraints")[0]["by"] == "Home Assistant"
    text = (
        ImmutableSandboxedEnvironment().from_string(components["limit"]["command_template"]).render(value=2)
    )
    home.publish(components["limit"]["command_topic"], text)
    eventually(lambda: state("limit") == "2", "the number is 2")
    home.publish(components["lift_limit"]["command_topic"], components["lift_limit"]["payload_press"])
    home.publish(components["pause"]["command_topic"], components["pause"]["payload_off"])
    eventually(lambda: (state("pause"), state("limit")) == ("OFF", "None"), "both are lifted")
    assert report in home.retained("cascade/state/#")
    plant.json("ha", "gone", "--force")
    assert [row["topic"] for row in plant.json("prune", "--yes")] == [device_topic("gone")]
    assert home.retained("homeassistant/#").keys() == {device_topic(source)}
    plant.json("ha", source, "--remove")
    assert home.retained("homeassistant/#") == {}


SERVICE = """
import sys
import cascade as cs

@cs.task
def count(number: int) -> int:
    return number

@cs.workflow
def audit(number: int = 60) -> cs.LazyResult[int]:
    return count(number)

cs.serve(audit, connector=sys.argv[1])
"""


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
def test_a_pressed_button_starts_one_run(plant: Plant) -> None:
    """Its sensor shows the end, with the run that the request has started."""
    with subprocess.Popen([sys.executable, "-c", SERVICE, f"{plant.broker.url}?source_id=press"]) as service:
        try:
            eventually(lambda: plant.json("workflows") != [], "the service offers its workflow")
            plant.json("ha", "press")
            home = Home(plant, "press")
            (made,) = home.retained("homeassistant/#").values()
            button, ended = made["components"]["start_audit"], made["components"]["ended_audit"]

            def shows(template: str) -> str:
                return rendered(ended[template], home.retained(ended["state_topic"])[ended["state_topic"]])

            assert shows("value_template") == "None"
            home.publish(button["command_topic"], button["payload_press"], retain=button.get("retain", False))
            eventually(lambda: shows("value_template") == "Succeeded", "the run has ended")
            last = json.loads(shows("json_attributes_template"))
            assert [row["run_id"] for row in plant.json("runs")] == [last["run_id"]]
        finally:
            service.kill()
