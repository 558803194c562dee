"""``cascade gate``: what it writes, what it refuses, and what every screen says of a gate."""

import json
from functools import partial
from typing import Any

import pytest
from paho.mqtt import publish

from cascade.interfaces.gates import Gate, gate
from cascade.interfaces.topics import constraint_topic, state_topic, status_topic
from testing_tools.engines import Plant, eventually
from testing_tools.memory_broker import MemoryBroker, Person
from testing_tools.odd_broker import OddBroker

ONLINE = {status_topic("oven"): {"status": "online", "session": "s", "ts": "2026-11-21T03:00:20+00:00"}}
POWER = ("--topic", "site/power", "--path", "w", "--above", "800")
HINT = "without --stale, a sensor that has stopped keeps its last value for ever; --stale 10m makes it unknown then"
TEXT = "site/power is 900 w, must stay below 800"


def effective(name: str, scope: str = "source:oven") -> dict[str, Any]:
    """Return the row of a closed gate in a report."""
    return {
        "scope": scope, "type": f"gate.{name}", "topic": constraint_topic(scope, f"gate.{name}"),
        "params": {"topic": "site/power", "path": "w", "above": 800}, "id": f"gate.{name}-{scope}", "expires_at": None,
        "gate": {"state": "closed", "holds": True, "value": 900, "since": "2026-11-21T03:00:20+00:00", "text": TEXT},
    }  # fmt: skip


def report(*rows: dict[str, Any]) -> dict[str, Any]:
    """Return a report of the oven."""
    applied = {row["topic"]: {"id": row["id"], "status": "applied"} for row in rows}
    return {
        "v": "1.0", "source": "oven", "session": "s", "sync": "synced", "applied": applied, "effective": list(rows),
        "in_scope_running": 0, "ts": "2026-11-21T03:00:21+00:00",
    }  # fmt: skip


@pytest.fixture
def broker() -> MemoryBroker:
    """A broker with one engine."""
    return MemoryBroker(ONLINE)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("oven", "power", *POWER), gate("power", topic="site/power", path="w", above=800)),
        (
            ("task:up*", "power", *POWER, "--clear-at", "700", "--settle", "60s", "--stale", "10m", "--on-stale", "pass"),
            gate("power", topic="site/power", path="w", above=800, clear_at=700, settle=60, stale=600, on_stale="pass"),
        ),
        (("global", "t", "--topic", "t", "--inside", "10,20.5"), gate("t", topic="t", inside=(10, 20.5))),
        (("global", "t", "--topic", "t", "--outside", "-5,5"), gate("t", topic="t", outside=(-5, 5))),
        (("global", "door", "--topic", "d", "--equals", "open"), gate("door", topic="d", equals="open")),
        (("oven", "night", "--window", "22:00-06:00 UTC"), gate("night", window="22:00-06:00 UTC")),
    ],
)  # fmt: skip
def test_a_gate_is_written(
    arguments: tuple[str, ...], expected: Gate, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an engine reads it, below the scope's topic; a gate without --stale is written with a hint."""
    code, lines, err = Person(broker, monkeypatch).types("gate", *arguments, "--id", "mine", "--by", "eva")
    scope = "source:oven" if arguments[0] == "oven" else arguments[0]
    topic = constraint_topic(scope, expected.type)
    message = json.loads(broker.retained[topic])
    assert (code, lines) == (0, [topic])
    assert Gate.from_params(expected.name, message["params"]) == expected
    assert (message["id"], message["by"], message["type"]) == ("mine", "eva", expected.type)
    assert (HINT in err) == (expected.window is None and expected.stale is None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a b", *POWER), "NAME: needs 1 to 40 letters, digits, '-' and '_', not 'a b'"),
        (("p",), "--topic: a gate needs a topic, or a window"),
        (("p", "--topic", "t"), "--above: a gate needs one of above, below, inside, outside and equals, and has none"),
        (("p", "--topic", "t", "--above", "hot"), "'hot' is not a valid float"),
        (("p", "--topic", "t", "--above", "nan"), "--above: needs a number from -1e+300 to 1e+300"),
        (("p", "--topic", "t", "--inside", "20,10"), "--inside: needs the lower number first: 10 and 20"),
        (("p", "--topic", "t", "--inside", "20"), "'20' is not two numbers, such as 10,20"),
        (("p", *POWER, "--clear-at", "900"), "--clear-at: must lie on the open side: at most 800, not 900"),
        (("p", *POWER, "--path", "/w"), "--path: is written without its first slash: 'w'"),
        (("p", *POWER, "--stale", "10"), "'10' is not a duration: did you mean 10s?"),
        (("p", "--topic", "site/#", "--above", "1"), "--topic: 'site/#' has a wildcard"),
        (("p", "--topic", "cascade/status/x", "--above", "1"), "--topic: 'cascade/status/x': topics that begin with"),
        (("p", "--topic", "$SYS/load", "--above", "1"), "--topic: '$SYS/load': topics that begin with"),
        (("p", "--window", "08:00-08:00 UTC"), "--window: '08:00-08:00 UTC' never opens"),
        (("p", "--window", "8-9"), "--window: needs hours and a time zone, such as '22:00-06:00 Europe/Berlin'"),
        (("p", *POWER, "--window", "08:00-09:00 UTC"), "--window: a gate has a window or a topic; leave topic out"),
    ],
)  # fmt: skip
def test_a_gate_that_cannot_work_is_not_written(
    arguments: tuple[str, ...], said: str, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the option that is wrong, and what would be right."""
    code, _, err = Person(broker, monkeypatch).types("gate", "oven", *arguments)
    assert (code, said in " ".join(err.split())) == (2, True), err
    assert not [topic for topic in broker.retained if topic.startswith("cascade/constraints/source")]


def test_the_101st_topic_is_refused(broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A further gate on one of the hundred is not."""
    for number in range(100):
        made = gate(f"g{number}", topic=f"t/{number}", above=1)
        broker.retained[constraint_topic("global", made.type)] = json.dumps(
            {"type": made.type, "params": made.params()}
        ).encode()
    person = Person(broker, monkeypatch)
    code, _, err = person.types("gate", "oven", "more", "--topic", "t/new", "--above", "1")
    assert (code, "gates read 100 topics already, and an engine reads no more" in err) == (2, True)
    assert person.types("gate", "oven", "more", "--topic", "t/7", "--above", "1")[0] == 0


def test_clear_finds_the_gates_that_only_an_engine_names(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a scope as a whole; where a broker sends nothing for wildcards their names stand in the engine's report."""
    rows = [effective("power"), effective("level")]
    broker.retained[state_topic("oven", "constraints")] = json.dumps(report(*rows)).encode()
    for row in rows:
        broker.retained[row["topic"]] = json.dumps({"type": row["type"], "params": row["params"]}).encode()
    broker.wildcards = False
    person = Person(broker, monkeypatch)
    assert person.types("clear", "oven", "gate.level")[:2] == (0, [rows[1]["topic"]])
    assert rows[0]["topic"] in broker.retained
    person.types("clear", "oven")
    assert rows[0]["topic"] not in broker.retained


def test_every_list_says_why_a_gate_is_closed(broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The constraints in words and as JSON, also of a broker that has lost them, and the live view."""
    row = effective("power")
    waiting = {
        "why": "constraint", "topic": row["topic"], "type": row["type"], "id": row["id"], "n": 3, "text": TEXT,
        "since": "2026-11-21T03:00:20+00:00",
    }  # fmt: skip
    runs = {
        "v": "1.0", "source": "oven", "session": "s", "recent": [], "paused": False, "ts": "2026-11-21T03:00:21+00:00",
        "runs": [{
            "run_id": "r1", "target": "bake", "started": "2026-11-21T03:00:20+00:00", "attempt": 1, "counts": {"BLOCKED": 3},
            "known": 3, "open": False, "tasks": {}, "running": [], "waiting": [waiting], "graph": {"rev": 1, "nodes": 1}, "lost": 0,
        }],
    }  # fmt: skip
    broker.retained[state_topic("oven", "constraints")] = json.dumps(report(row)).encode()
    broker.retained[state_topic("oven", "runs")] = json.dumps(runs).encode()
    broker.retained[row["topic"]] = json.dumps({"type": row["type"], "params": row["params"]}).encode()
    person = Person(broker, monkeypatch)
    code, lines, err = person.types("constraints", "--json")
    assert (code, json.loads(lines[0])[0]["gates"]) == (
        0,
        [{"source": "oven", "state": "closed", "text": TEXT}],
    )
    assert f"gate.power source:oven: closed in oven: {TEXT}" in err
    del broker.retained[row["topic"]]
    _, lines, err = person.types("constraints", "--json")
    assert json.loads(lines[0])[0]["gates"] == [{"source": "oven", "state": "closed", "text": TEXT}]
    assert f"gate.power source:oven: closed in oven: {TEXT}" in err
    for listing in ("ps", "runs"):
        code, lines, _ = person.types(listing, "--json")
        assert (code, json.loads(lines[0])[0]["held"]) == (0, [TEXT])
        assert TEXT in "\n".join(person.types(listing, width=400)[1])


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
def test_wait_says_what_the_gate_says(plant: Plant) -> None:
    """An engine in a process: unknown, closed, open and cleared, each with its exit code."""
    plant.start("press-1")
    plant.wait_for_runs("press-1")
    done = plant.cascade("gate", "press-1", "power", *POWER, "--stale", "10m", "--wait")
    assert (done.returncode, "press-1: site/power has sent nothing yet" in done.stderr) == (0, True)

    def state() -> tuple[str, str]:
        (row,) = plant.json("constraints")
        return next(((each["state"], each["text"]) for each in row["gates"]), ("", ""))

    for watts, expected in ((900, ("closed", TEXT)), (700, ("open", "site/power is 700 w"))):
        publish.single("site/power", f'{{"w": {watts}}}', hostname=plant.broker.host, port=plant.broker.port)
        eventually(partial(lambda expected: state() == expected, expected), f"the gate is {expected[0]}")
    done = plant.cascade("clear", "press-1", "gate.power", "--wait", "--json")
    assert (done.returncode, json.loads(done.stdout)["applied"]) == (0, ["press-1"])
    assert plant.json("constraints") == []


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
def test_wait_fails_where_engines_that_come_later_would_not_know_the_gate() -> None:
    """As on RabbitMQ: the engine that is there obeys, and the command says what is wrong with that."""
    with OddBroker(retained_for_wildcards=False) as broker, Plant(broker) as plant:  # type: ignore[arg-type]
        plant.start("press-1")
        report = state_topic("press-1", "constraints")
        eventually(lambda: b"degraded" in broker.retained().get(report, b""), "the engine follows the broker")
        done = plant.cascade("gate", "press-1", "power", *POWER, "--stale", "10m", "--wait", "--json")
        assert (done.returncode, json.loads(done.stdout)["applied"]) == (1, ["press-1"])
        assert "engines that connect later, or again, do not know this gate" in done.stderr
