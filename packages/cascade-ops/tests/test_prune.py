"""``cascade prune``: what is left over, and that nothing else is cleared."""

import json
import time

import pytest
from home import device_topic
from paho.mqtt import publish

from cascade.interfaces.topics import canary_topic, constraint_topic, state_topic, status_topic
from cascade.testkit.waiting import busyness
from testing_tools.engines import Plant, eventually
from testing_tools.memory_broker import MemoryBroker, Person
from testing_tools.patient import PATIENT
from testing_tools.terminals import Terminal


def pruned(messages: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What ``cascade prune`` shows of a broker that retains these messages, and why."""
    monkeypatch.setattr(time, "time", lambda: 100.0)
    code, lines, _ = Person(MemoryBroker(messages), monkeypatch).types("prune", "--json", answer="n\n")
    assert code == 0
    rows = json.loads(lines[0])
    assert [row["topic"] for row in rows] == sorted(row["topic"] for row in rows)
    return {row["topic"]: row["why"] for row in rows}


def test_what_belongs_to_no_live_engine_is_left_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Presence, reports of any kind and the canary; expired registers, and those of a run that is over."""
    row = {"run_id": "r1", "target": "t", "status": "Succeeded", "ended": "2026-01-01T00:00:00+00:00"}
    messages: dict[str, object] = {
        status_topic("live"): {"status": "online", "session": "a"},
        state_topic("live", "runs"): {"v": "1.0", "source": "live", "runs": [], "recent": [row]},
        canary_topic("live"): {"canary": "x"},
        status_topic("a/b"): {"status": "offline", "session": "b"},
        state_topic("a/b", "anything"): {"v": "1.0"},
        canary_topic("a/b"): {"canary": "y"},
        canary_topic("gone"): {"canary": "z"},
        "cascade/sync/live/doctor-1a2b3c4d-7": {"number": 7},
        "cascade/sync/doctor-1a2b3c4d/doctor-1a2b3c4d-8": {"number": 8},
        "cascade/sync/live/5e6f": {},
        constraint_topic("global", "pause"): {"type": "pause"},
        constraint_topic("task:x", "pause"): {"type": "pause", "expires_at": 50.0},
        constraint_topic("run:r1", "cancel"): {"type": "cancel"},
        constraint_topic("run:unknown", "cancel"): {"type": "cancel"},
        "cascade/constraints/@store": {"store": "x"},
    }
    killed = "a command was killed before it cleared this"
    assert pruned(messages, monkeypatch) == {
        constraint_topic("run:r1", "cancel"): "the run r1 is over",
        constraint_topic("task:x", "pause"): "the constraint expired 50s ago",
        "cascade/state/a%2Fb/anything": "the engine is lost",
        "cascade/status/a%2Fb": "the engine is lost",
        "cascade/sync/a%2Fb/@canary": "the engine is lost",
        "cascade/sync/doctor-1a2b3c4d/doctor-1a2b3c4d-8": killed,
        "cascade/sync/gone/@canary": "the engine is lost",
        "cascade/sync/live/doctor-1a2b3c4d-7": killed,
    }


def test_a_run_is_over_when_no_live_engine_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its id may be used on several boxes, and its engine may be lost; a live one still obeys the constraint."""

    def report(source: str, run_id: str, *, runs: bool) -> dict[str, object]:
        row = {"run_id": run_id, "target": "t", "started": "2026-01-01T00:00:00+00:00", "counts": {}}
        ended = {**row, "status": "Failed", "ended": "2026-01-01T00:00:09+00:00"}
        lists = {"runs": [row], "recent": []} if runs else {"runs": [], "recent": [ended]}
        return {"v": "1.0", "source": source, **lists}

    messages: dict[str, object] = {
        status_topic("left"): {"status": "online", "session": "a"},
        state_topic("left", "runs"): report("left", "shared", runs=True),
        status_topic("right"): {"status": "online", "session": "b"},
        state_topic("right", "runs"): report("right", "shared", runs=False),
        status_topic("lost"): {"status": "offline", "session": "c"},
        state_topic("lost", "runs"): report("lost", "alone", runs=True),
        status_topic("ended"): {"status": "offline", "session": "d", "reason": "ended"},
        state_topic("unborn", "runs"): report("unborn", "alone", runs=True),
        constraint_topic("run:shared", "pause"): {"type": "pause"},
        constraint_topic("run:alone", "pause"): {"type": "pause"},
    }
    assert pruned(messages, monkeypatch) == {
        constraint_topic("run:alone", "pause"): "the run alone is over",
        state_topic("lost", "runs"): "the engine is lost",
        state_topic(
            "unborn", "runs"
        ): "the engine has no birth here, and has not reported since this command began",
        status_topic("ended"): "the engine has ended",
        status_topic("lost"): "the engine is lost",
    }


def test_a_device_stays_for_as_long_as_the_broker_knows_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is offline for the night keeps its device in Home Assistant; one without any trace does not."""
    messages: dict[str, object] = {
        status_topic("live"): {"status": "online", "session": "a"},
        status_topic("hall 2"): {"status": "offline", "session": "b"},
    }
    messages |= {device_topic(source): {} for source in ("live", "hall 2", "gone")}
    assert pruned(messages, monkeypatch) == {
        "cascade/status/hall%202": "the engine is lost",
        device_topic("gone"): "the broker knows no engine of this device",
    }


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
def test_prune_clears_a_dead_engine_and_leaves_a_live_one(plant: Plant) -> None:
    """It asks on a terminal; in a pipe it wants --yes, and without it shows and clears nothing."""
    dead = plant.start("hall 2/x")
    plant.start("live")
    plant.wait_for_runs("hall 2/x", "live")
    dead.kill()
    probe = "cascade/sync/live/doctor-1a2b3c4d-7"
    publish.single(probe, '{"number": 7}', 1, retain=True, hostname=plant.broker.host, port=plant.broker.port)
    eventually(
        lambda: {row["source"]: row["status"] for row in plant.json("ps")}.get("hall 2/x") == "lost",
        "it is lost",
    )
    piped = plant.begin("prune")
    assert piped.communicate(timeout=30 * busyness())[0] == ""
    assert piped.returncode == 2
    for answer in ("n", "y"):
        with Terminal(["prune"], plant.environment(), width=100, command=PATIENT) as terminal:
            shown = terminal.wait_for("retained messages? [y/N]")
            assert "cascade/sync/hall%202%2Fx/@canary" in shown
            assert probe in shown
            assert "live" not in shown.replace("the engine is", "").replace(probe, "")
            terminal.type(f"{answer}\n")
            assert terminal.end() == 0
        rows = {row["source"] for row in plant.json("ps")}
        assert rows == ({"live", "hall 2/x"} if answer == "n" else {"live"})
    assert plant.json("prune", "--yes") == []
