"""The commands that steer: the real command, engines in processes, a real broker."""

import asyncio
import json

import pytest
from paho.mqtt import publish

from cascade.cli import main
from cascade.connectors.mqtt import MqttConnector
from cascade.testkit.brokers import Mosquitto, NatsServer
from cascade.testkit.fixtures import require_mosquitto
from cascade.testkit.waiting import busyness
from testing_tools.engines import PASSWORD, Plant, eventually
from testing_tools.recorder import Recorder

pytestmark = [pytest.mark.broker, pytest.mark.process]

PAUSE = "cascade/constraints/global/@pause"


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
    assert plant.json("constraints") == []
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
    unknown = "no run has a task audti now, and a later one obeys; did you mean task:audit?\n"
    for pattern, is_known in (("audti", False), ("aud*", True)):
        done = plant.cascade("limit", f"task:{pattern}", "--concurrency", "9", "--wait")
        assert (done.returncode, unknown in done.stderr) == (0, not is_known)
        assert "no run has" not in plant.cascade("clear", f"task:{pattern}", "--wait").stderr
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
        assert done.stderr.endswith(
            "this user needs the rule: topic readwrite cascade/constraints/global/#\n"
        )
        assert len(done.stderr.splitlines()) == 1


UNREPORTED = (
    "no report of press has come, so it is not known what runs there, and what holds it: "
    "this user may need the rule topic read cascade/state/+/+, or its engine topic write cascade/state/NAME/+\n"
)


@pytest.mark.full
async def test_what_the_rules_hide_is_not_taken_for_what_is_not_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads births only knows neither runs nor pauses; who may steer one engine by type clears it as a whole."""
    require_mosquitto()
    acl = ["user press", "topic readwrite #", "user eva", "topic read cascade/status/+"]
    acl += ["topic readwrite cascade/sync/eva/+", "user olaf", "topic read cascade/#"]
    acl += ["topic readwrite cascade/sync/olaf/+", "topic write cascade/constraints/source/press/+"]
    users = dict.fromkeys(("press", "eva", "olaf"), PASSWORD)
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD", PASSWORD)

    async def say(user: str, *arguments: str) -> tuple[int, str, str]:
        url = broker.url.replace("://", f"://{user}@")
        code = await asyncio.to_thread(main, [*arguments, "--broker", url])
        return code, *capsys.readouterr()

    with Mosquitto(users=users, acl=acl, max_queued_messages=65_000) as broker:
        own = broker.url.replace("://", "://press@")
        async with MqttConnector.from_url(own, source_id="press") as press:
            assert await press.flush(30.0)
            assert await say("eva", "runs") == await say("eva", "constraints") == (0, "", UNREPORTED)
            code, out, err = await say("eva", "ps", "--json")
            assert (code, err) == (0, UNREPORTED)
            assert [(row["status"], row["runs"], row["paused"]) for row in json.loads(out)] == [
                ("online", None, None)
            ]
            topic = "cascade/constraints/source/press/@pause\n"
            assert (
                await say("olaf", "pause", "press") == await say("olaf", "clear", "press") == (0, topic, "")
            )
            nothing = (
                "the broker holds no constraint on source:press; cascade constraints lists what is in force\n"
            )
            assert await say("olaf", "clear", "press") == (0, "", nothing)
            code, out, err = await say("olaf", "clear", "global")
            assert (code, out) == (3, "")
            assert err.endswith("topic readwrite cascade/constraints/global/#\n")


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
        (("cancel", "global"), "write run:ID, task:PATTERN, workflow:NAME or source:ID"),
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
