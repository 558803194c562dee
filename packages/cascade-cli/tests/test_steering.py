"""The commands that steer: the real command, engines in processes, a real broker."""

import json
import subprocess
import sys
import time

import pytest
from paho.mqtt import publish

from cascade.testkit.brokers import Broker, Mosquitto, NatsServer
from cascade.testkit.fixtures import require_mosquitto
from cascade.testkit.waiting import busyness
from testing_tools.engines import Plant, eventually
from testing_tools.recorder import Recorder

pytestmark = [pytest.mark.broker, pytest.mark.process]

READ = """
import asyncio, json, sys
from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces.watch import Complete, Message

async def main() -> None:
    found = {}
    async with MqttConnector("127.0.0.1", int(sys.argv[1]), presence=False, required=True, connect_timeout=50) as connector:
        async for item in connector.watch("cascade/constraints/#"):
            if isinstance(item, Message):
                found[item.topic] = json.loads(item.payload)
            if isinstance(item, Complete):
                break
    print(json.dumps(found))

asyncio.run(main())
"""


STORE = "cascade/constraints/@store"
PAUSE = "cascade/constraints/global/@pause"


def retained(broker: Broker) -> dict[str, object]:
    """The registers, and the identity of the broker's store."""
    done = subprocess.run(
        [sys.executable, "-c", READ, str(broker.port)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30 * busyness(),
    )
    found: dict[str, object] = json.loads(done.stdout)
    return found


def registers(broker: Broker) -> dict[str, object]:
    """The registers only."""
    return {topic: content for topic, content in retained(broker).items() if topic != STORE}


@pytest.mark.full
def test_each_command_writes_its_register_and_prints_the_topic(plant: Plant) -> None:
    """Five keys, and ``by`` only if it is given; clear removes what a scope has; a cancellation expires."""
    lines = {
        ("pause",): "cascade/constraints/global/@pause",
        ("pause", "press 3", "--id", "x", "--by", "olaf"): "cascade/constraints/source/press%203/@pause",
        ("limit", "task:a*", "--concurrency", "3"): "cascade/constraints/task/a*/@concurrency",
        ("limit", "task:a*", "--rate", "10/m", "--capacity", "2"): "cascade/constraints/task/a*/@rate_limit",
        ("cancel", "run:9a81"): "cascade/constraints/run/9a81/@cancel",
    }
    began = time.time()
    for arguments, topic in lines.items():
        done = plant.cascade(*arguments)
        assert (done.returncode, done.stdout) == (0, f"{topic}\n"), done.stderr
    found = registers(plant.broker)
    cancel = found.pop("cascade/constraints/run/9a81/@cancel")
    assert isinstance(cancel, dict)
    assert began + 59 < cancel.pop("expires_at") < time.time() + 61
    assert cancel == {"id": "cancel-run:9a81", "scope": "run:9a81", "type": "cancel", "params": {}}
    head: dict[str, object] = {"params": {}, "expires_at": None}
    limit = {"scope": "task:a*", "expires_at": None}
    assert found == {
        "cascade/constraints/global/@pause": {
            "id": "pause-global",
            "scope": "global",
            "type": "pause",
            **head,
        },
        "cascade/constraints/source/press%203/@pause": {
            "id": "x",
            "scope": "source:press 3",
            "type": "pause",
            "by": "olaf",
            **head,
        },
        "cascade/constraints/task/a*/@concurrency": {
            "id": "concurrency-task:a*",
            "type": "concurrency",
            "params": {"limit": 3},
            **limit,
        },
        "cascade/constraints/task/a*/@rate_limit": {
            "id": "ratelimit-task:a*",
            "type": "rate_limit",
            "params": {"rate": "10/m", "capacity": 2},
            **limit,
        },
    }
    for arguments in (
        ("resume",),
        ("clear", "task:a*"),
        ("clear", "run:9a81", "cancel"),
        ("resume", "press 3"),
    ):
        assert plant.cascade(*arguments).returncode == 0
    assert registers(plant.broker) == {}


@pytest.mark.full
def test_the_store_is_written_once(plant: Plant) -> None:
    """The first tool gives the broker's store its identity; the next one leaves it."""
    assert plant.cascade("resume").returncode == 0
    assert retained(plant.broker) == {}  # only a tool that publishes a constraint writes it
    assert plant.cascade("pause").returncode == 0
    first = retained(plant.broker)[STORE]
    assert plant.cascade("pause", "press-1").returncode == 0
    assert retained(plant.broker)[STORE] == first


def test_resume_clears_the_short_form_only_if_it_holds_a_pause(plant: Plant) -> None:
    """Another tool may have written it; a limit there stays."""
    publish = (
        "import asyncio, json, sys; from cascade.connectors.mqtt import MqttConnector\n"
        "async def main():\n"
        "    link = {'presence': False, 'required': True, 'connect_timeout': 50}\n"
        "    async with MqttConnector('127.0.0.1', int(sys.argv[1]), **link) as connector:\n"
        "        for topic, kind in json.loads(sys.argv[2]).items():\n"
        "            params = {'limit': 1} if kind == 'concurrency' else {}\n"
        "            message = {'type': kind, 'params': params}\n"
        "            await connector.publish(f'cascade/constraints/{topic}', message, 1, retain=True)\n"
        "asyncio.run(main())"
    )
    written = {"global": "pause", "source/a": "concurrency", "source/a/@pause": "pause"}
    arguments = [sys.executable, "-c", publish, str(plant.broker.port), json.dumps(written)]
    subprocess.run(arguments, check=True, timeout=30 * busyness())
    assert plant.cascade("resume").stdout == "cascade/constraints/global/@pause\ncascade/constraints/global\n"
    assert plant.cascade("resume", "a").stdout == "cascade/constraints/source/a/@pause\n"
    assert [row["topic"] for row in plant.json("constraints")] == ["cascade/constraints/source/a"]
    done = plant.cascade("resume", "a", "--id", "another")
    assert (done.returncode, done.stdout) == (0, "")
    assert "no such constraint on source:a; cascade constraints lists them" in done.stderr


@pytest.mark.parametrize("arguments", [("resume",), ("clear", "global"), ("clear", "global", "pause")])
def test_a_clear_takes_the_options_of_a_constraint(plant: Plant, arguments: tuple[str, ...]) -> None:
    """A script may pass the same options to every command; a cleared topic holds no message that could keep them."""
    assert plant.cascade("pause", "--ttl", "1h", "--by", "olaf").returncode == 0
    done = plant.cascade(*arguments, "--ttl", "10m", "--by", "eva", "--id", "pause-global")
    assert (done.returncode, done.stdout) == (0, "cascade/constraints/global/@pause\n")
    assert done.stderr.splitlines() == [
        "--ttl has no effect: a cleared topic holds no message that expires",
        "--by has no effect: a cleared topic holds no message that names an author",
    ]
    assert registers(plant.broker) == {}
    done = plant.cascade(*arguments, "--ttl", "10")
    assert (done.returncode, "did you mean 10s" in done.stderr) == (2, True)


@pytest.mark.full
def test_wait_lists_every_engine_exactly(plant: Plant) -> None:
    """Eight engines: one frozen is silent, two killed while the command waits are lost, five obey."""
    processes = {f"press-{number}": plant.start(f"press-{number}") for number in range(8)}
    plant.wait_for_runs(*processes)
    plant.freeze(processes["press-0"])
    with Recorder(plant.broker.host, plant.broker.port, PAUSE) as recorder:
        # The frozen one has the command wait to the end; on a busy machine the others need more of it.
        command = plant.begin("pause", "--wait", "--timeout", f"{4 * busyness():.0f}s", "--json")
        eventually(lambda: recorder.messages, "the pause is on the broker")
    for name in ("press-1", "press-2"):
        processes[name].kill()
    found = json.loads(command.communicate(timeout=30 * busyness())[0])
    assert command.returncode == 1
    assert found.pop("running") >= 0
    assert found == {
        "topic": "cascade/constraints/global/@pause",
        "applied": [f"press-{number}" for number in range(3, 8)],
        "refused": [],
        "unknown": [
            {"source": "press-0", "why": "silent"},
            {"source": "press-1", "why": "lost"},
            {"source": "press-2", "why": "lost"},
        ],
        "no_match": [],
    }


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_wait_lists_fifty_engines_exactly(plant: Plant) -> None:
    """Fifty engines in sixteen processes: ten killed while the command waits, five frozen, thirty-five obey."""
    killed, frozen = [f"kill-{number}" for number in range(10)], [f"freeze-{number}" for number in range(5)]
    steady = [f"run-{number:02}" for number in range(35)]
    alone = {name: plant.start(name, seconds=0.5) for name in (*killed, *frozen)}
    plant.start(*steady, tasks=1_000, seconds=0.5)
    plant.wait_for_runs(*alone, *steady)
    done = plant.cascade("pause", "--wait", "--json")
    assert (done.returncode, json.loads(done.stdout)["applied"]) == (0, sorted([*alone, *steady]))
    assert plant.cascade("resume", "--wait").returncode == 0
    for name in frozen:
        plant.freeze(alone[name])
    command = plant.begin("pause", "--wait", "--timeout", "10s", "--json")
    eventually(lambda: plant.json("constraints"), "the pause is on the broker")
    for name in killed:
        alone[name].kill()
    found = json.loads(command.communicate(timeout=60 * busyness())[0])
    assert command.returncode == 1
    assert (found["applied"], found["refused"], found["no_match"]) == (steady, [], [])
    assert {each["source"]: each["why"] for each in found["unknown"]} == {
        **dict.fromkeys(killed, "lost"),
        **dict.fromkeys(frozen, "silent"),
    }


@pytest.mark.full
@pytest.mark.timeout(120)
def test_wait_returns_when_all_obey_and_drained_when_nothing_runs(plant: Plant) -> None:
    """Engines of three processes, one of them without a name; then nothing starts until resume."""
    with Recorder(plant.broker.host, plant.broker.port, "cascade/state/+/runs") as recorder:
        plant.start("a", "b", seconds=1.0)
        plant.start("c", seconds=1.0)
        unnamed = plant.start("-", seconds=0.3)
        plant.wait_for_runs("a", "b", "c")
        # No command can know of it before it reports; it does so while the others finish their tasks.
        own = f"-{unnamed.pid}/runs"
        eventually(
            lambda: any(each.topic.endswith(own) and each.json()["runs"] for each in recorder.messages),
            "the engine without a name runs",
        )
    done = plant.cascade("pause", "--wait", "--drained", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert {"a", "b", "c"} < set(found["applied"])  # among them a name that begins with that of the host
    assert (len(found["applied"]), found["running"]) == (4, 0)
    assert all(row["paused"] for row in plant.json("ps"))
    assert [row["applied"] for row in plant.json("constraints")] == [["a", "b", "c"]]
    done = plant.cascade("resume", "--wait")
    assert done.returncode == 0
    assert {f"applied\t{each}" for each in "abc"} <= set(done.stdout.splitlines()[1:])
    plant.wait_for_runs("a", "b", "c")
    done = plant.cascade("cancel", "run:run-a", "--wait", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["applied"]) == (0, ["a"])
    assert {"b", "c"} <= set(found["no_match"])
    done = plant.cascade("cancel", "run:nothing", "--wait", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["applied"] == []


@pytest.mark.full
def test_the_commands_work_on_nats_server() -> None:
    """It speaks MQTT 3.1.1 only, and sends what it retains in another order than mosquitto."""
    with NatsServer() as broker, Plant(broker) as plant:
        plant.start("press-1")
        plant.start("press-2")
        plant.wait_for_runs("press-1", "press-2")
        for arguments in (
            ("pause",),
            ("resume",),
            ("limit", "task:a*", "--rate", "5/s"),
            ("clear", "task:a*"),
        ):
            done = plant.cascade(*arguments, "--wait", "--json")
            assert (done.returncode, json.loads(done.stdout)["applied"]) == (0, ["press-1", "press-2"])
        found = plant.json("cancel", "run:run-press-1", "--wait")
        assert (found["applied"], found["no_match"]) == (["press-1"], ["press-2"])
        eventually(
            lambda: {row["status"] for row in plant.json("ps")} == {"online", "ended"}, "one has ended"
        )
        assert plant.cascade("prune", "--yes").returncode == 0
        assert [row["source"] for row in plant.json("ps")] == ["press-2"]


@pytest.mark.full
def test_wait_without_a_live_engine_says_so(plant: Plant) -> None:
    """The register is written, and the exit code is 1; a name that is nearly right is proposed."""
    plant.start("press-1")
    plant.wait_for_runs("press-1")
    done = plant.cascade("pause", "prss-1", "--wait", "--timeout", "5s")
    assert (done.returncode, done.stdout) == (1, "cascade/constraints/source/prss-1/@pause\n")
    assert "did you mean press-1?" in done.stderr
    assert "no live engine is in the scope source:prss-1; cascade ps lists the engines" in done.stderr


def put(plant: Plant, topic: str, payload: str) -> None:
    """Retain a message, as any client may do where no rules are."""
    publish.single(topic, payload, 1, retain=True, hostname=plant.broker.host, port=plant.broker.port)


@pytest.mark.wrong_messages(
    "what another tool may write", "cascade/state/false/constraints", "cascade/status/false"
)
def test_ps_names_a_report_whose_session_has_no_birth(plant: Plant) -> None:
    """Any client may have written it; with its birth it is an engine as any other."""
    report = {"v": "1.0", "source": "false", "session": "e", "presence": "made up", "sync": "synced",
              "applied": {}, "effective": [], "in_scope_running": 0, "ts": "2026-11-23T00:00:00+00:00"}  # fmt: skip
    put(plant, "cascade/state/false/constraints", json.dumps(report))
    found = plant.cascade("ps", "--json")
    assert [row["source"] for row in json.loads(found.stdout)] == ["false"]
    assert found.stderr.startswith("the session of false has no birth on the broker")
    birth = {"status": "online", "session": "made up", "ts": "2026-11-23T00:00:00+00:00"}
    put(plant, "cascade/status/false", json.dumps(birth))
    assert plant.cascade("ps").stderr == ""


@pytest.mark.full
@pytest.mark.parametrize("name", ["olaf", "eva"])
def test_a_user_without_the_right_is_answered_with_the_rule(name: str) -> None:
    """Brokers of MQTT 3.1.1 drop what they do not permit without a word."""
    require_mosquitto()
    acl = [
        "user eva",
        "topic read cascade/#",
        "topic readwrite cascade/sync/#",
        "user olaf",
        "topic readwrite cascade/sync/#",
    ]
    with Mosquitto(users={"olaf": "pw", "eva": "pw"}, acl=acl) as broker, Plant(broker) as plant:
        url = broker.url.replace("://", f"://{name}@")
        done = plant.cascade("pause", environment={"CASCADE_BROKER": url, "CASCADE_MQTT_PASSWORD": "pw"})
        assert (done.returncode, done.stdout) == (3, "")
        assert "topic readwrite cascade/constraints/#" in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("pause", "tsk:x"), "did you mean task:"),
        (("pause", "--ttl", "90"), "did you mean 90s"),
        (("pause", "--drained"), "write --wait --drained"),
        (("limit", "global", "--rate", "fast"), "write 10/s, 10/m or 10/h"),
        (("limit", "global"), "pass --concurrency N or --rate 10/m"),
        (("limit", "global", "--rate", "1/s", "--concurrency", "1"), "pass --concurrency N or --rate 10/m"),
        (("limit", "global", "--concurrency", "1", "--capacity", "1"), "it belongs to --rate"),
        (("limit", "global", "--concurrency", "-1"), "-1 is not in the range"),
        (("cancel", "global"), "write run:ID, task:PATTERN or source:ID"),
        (("cancel",), "Missing argument 'SCOPE'"),
        (("pause", "--tll", "10m"), "No such option '--tll'"),
    ],
)
def test_bad_input_is_answered_before_a_broker_is_asked(
    arguments: tuple[str, ...],
    problem: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line with cause and remedy, and exit code 2."""
    from cascade.cli import main

    monkeypatch.setenv("CASCADE_BROKER", "mqtt://127.0.0.1:9")
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert problem in err
