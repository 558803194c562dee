"""What a user with the rights of one role can do to the engines and watchers of others, on real brokers with the access rules."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import paho.mqtt.client as paho
import pytest
from ops_modules import MANY_SESSIONS
from paho.mqtt.enums import CallbackAPIVersion
from roles import NOTHING, PASSWORD, RUN, Client, nats_rules, printed_rules

import cascade as cs
from cascade.cli.errors import FAILED, USAGE
from cascade.interfaces.access import Roles
from cascade.interfaces.topics import state_topic, status_topic, telemetry_topic
from cascade.interfaces.watch import Complete, Message
from cascade.testkit.brokers import Broker, Mosquitto, NatsServer
from cascade.testkit.fixtures import require_mosquitto
from cascade.wire import View
from testing_tools.engines import eventually
from testing_tools.patient import PATIENT

ROLES = Roles(
    engines={"press-3": "default", "evil": "etl"},
    operators=("ann",),
    observers=("wall",),
    leads={"bob": "etl"},
)
STARTED = "2026-11-21T03:00:20+00:00"
ROW = {"run_id": "night", "target": "report", "started": STARTED, "counts": {"RUNNING": 1}, "known": 4}
pytestmark = [
    pytest.mark.full,
    pytest.mark.broker,
    pytest.mark.process,
    pytest.mark.wrong_messages("the attacker writes what no engine would", "cascade/#"),
]


@pytest.fixture(params=["mosquitto", "nats-server"])
def guarded(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """A broker with the rules of these roles."""
    broker: Broker
    if request.param == "mosquitto":
        require_mosquitto()
        users = dict.fromkeys(ROLES.users, PASSWORD)
        broker = Mosquitto(users=users, acl=printed_rules(ROLES), max_queued_messages=65_000)
    else:
        lines = nats_rules(ROLES)
        lines[2:2] = [f'    {{ user: "stranger", password: "{PASSWORD}", {NOTHING} }}']
        broker = NatsServer(lines=lines)
    with broker:
        yield broker


@pytest.fixture
def cascade(guarded: Broker) -> Callable[..., list[str]]:
    """Makes the command line of ``cascade`` as one user."""

    def made(user: str, *arguments: str) -> list[str]:
        return [*PATIENT, *arguments, "--json", "--broker", guarded.url.replace("://", f"://{user}@")]

    return made


ENVIRONMENT = {**os.environ, "CASCADE_MQTT_PASSWORD": PASSWORD}


def runs_of(
    client: Client, *runs: dict[str, Any], recent: tuple[dict[str, Any], ...] = (), project: str = "default"
) -> None:
    """An engine's report of its runs, as its connector would send it."""
    report = {"v": "1.0", "source": client.user, "session": "s", "org_id": "local", "project_id": project}
    client.publish(
        state_topic(client.user, "runs"),
        json.dumps({**report, "runs": runs, "recent": recent}),
        1,
        retain=True,
    )


def event(seq: int, **body: Any) -> str:
    """An event that claims to be of the run of press-3."""
    message = {
        "v": "1.0",
        "ts": STARTED,
        "run_id": "night",
        "source": "press-3",
        "seq": seq,
        "token": "bad00bad",
    }
    return json.dumps({**message, "attempt": 99, "body": {"type": "LifecycleEvent", **body}})


def test_an_engine_of_another_project_ends_no_run(guarded: Broker, cascade: Callable[..., list[str]]) -> None:
    """Row 52: it publishes the run's end on its own topics, and lists the run's id in its own report as succeeded.

    A watcher that waits for the run keeps waiting until the engine itself reports the end; who names an id that two
    engines have is asked which of them.
    """
    until = subprocess.Popen(
        cascade("wall", "watch", "--until-done", "night"), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    try:
        with Client(guarded, "press-3") as victim, Client(guarded, "evil") as attacker:
            victim.publish(
                status_topic("press-3"), json.dumps({"status": "online", "session": "p"}), 1, retain=True
            )
            runs_of(victim, {**ROW, "token": "600d600d"})
            lines = iter(until.stdout or ())
            next(line for line in lines if '"night"' in line)
            topic = telemetry_topic("local", "etl", "night")
            attacker.publish(topic, event(0, event="ENGINE_STARTED"), 1, retain=False)
            attacker.publish(
                topic, event(1, event="ENGINE_STOPPED", status="Succeeded", error=""), 1, retain=False
            )
            forged = {**ROW, "status": "Succeeded", "started": "2099-01-01T00:00:00+00:00", "ended": STARTED}
            runs_of(attacker, recent=(forged,), project="etl")
            attacker.settle()
            seen = next(line for line in lines if '"evil"' in line)
            found = subprocess.run(
                cascade("wall", "runs"),
                env=ENVIRONMENT,
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            )
            status = {row["source"]: row["status"] for row in json.loads(found.stdout)}
            assert status == {"press-3": "Running", "evil": "Succeeded"}, seen
            asked = subprocess.run(
                cascade("wall", "watch", "--until-done", "night"),
                env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60,
            )  # fmt: skip
            assert asked.returncode == USAGE
            assert "several engines have a run night: write night@evil, night@press-3" in asked.stderr
            assert until.poll() is None
            ended = {**ROW, "token": "600d600d", "status": "Failed", "error": "E: x", "ended": STARTED}
            runs_of(victim, recent=(ended,))
            victim.settle()
            assert until.wait(60) == FAILED
        done = subprocess.run(
            cascade("wall", "watch", "--until-done", "night@press-3"),
            env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (FAILED, "run night failed: E: x\n")
    finally:
        until.kill()
        until.communicate()


def test_another_spelling_of_a_scope_pauses_nothing(
    guarded: Broker, cascade: Callable[..., list[str]]
) -> None:
    """Row 53: a deny rule on `cascade/constraints/global/#` would let it pass; the tools show it, and clear it with the scope."""
    with Client(guarded, "ann") as ann, Client(guarded, "bob") as bob:
        ann.publish("cascade/constraints/glob%61l", '{"type": "pause"}', 1, retain=True)
        bob.publish("cascade/constraints/project/etl/@p%61use", '{"type": "pause"}', 1, retain=True)
        ann.settle()
        bob.settle()
    script = RUN if isinstance(guarded, Mosquitto) else RUN.replace(', protocol="5"', "")
    url = guarded.url.replace("://", "://press-3@")
    done = subprocess.run(
        [sys.executable, "-c", script, url],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(done.stdout)["value"] == [1, 2, 3]
    refused = (
        "cascade/constraints/glob%61l is refused: spelling; only cascade/constraints/global is a register"
    )
    assert refused in done.stderr

    def listed() -> list[str]:
        found = subprocess.run(
            cascade("wall", "constraints"),
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return [row["topic"] for row in json.loads(found.stdout)]

    assert listed() == ["cascade/constraints/glob%61l", "cascade/constraints/project/etl/@p%61use"]
    for words in (("resume",), ("clear", "project:etl")):
        subprocess.run(
            cascade("ann", *words), env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=60
        )
    assert listed() == []


def test_stored_sessions_of_an_observer_are_counted(
    guarded: Broker, cascade: Callable[..., list[str]]
) -> None:
    """Row 55: they make mosquitto slow. No rule prevents them; the written configuration ends them after 14 days, and doctor names them."""
    if not isinstance(guarded, Mosquitto):
        pytest.skip("nats-server publishes no count; its written configuration ends them, too")
    for number in range(MANY_SESSIONS):
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"stored-{number}", clean_session=False)
        client.username_pw_set("wall", PASSWORD)
        client.connect(guarded.host, guarded.port)
        client.loop_start()
        eventually(client.is_connected, "the client is connected")
        client.disconnect()
        client.loop_stop()

    def problems() -> list[str]:
        found = subprocess.run(
            cascade("ann", "doctor"),
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return [each["text"] for each in json.loads(found.stdout)["problems"]]

    expected = (
        f"the broker keeps {MANY_SESSIONS} sessions of clients that are away (persistent_client_expiration: "
    )
    eventually(
        lambda: any(each.startswith(expected) for each in problems()), "mosquitto publishes its counts"
    )


async def test_invented_engines_push_no_other_one_off_a_screen(guarded: Broker) -> None:
    """Row 52: an engine publishes events of 1,100 invented ones; a watcher still has the lost engine, and last night's failure."""
    topic = telemetry_topic("local", "etl", "night")
    with Client(guarded, "press-3") as victim, Client(guarded, "evil") as attacker:
        victim.publish(status_topic("press-3"), '{"status": "offline", "session": "p"}', 1, retain=True)
        runs_of(victim, recent=({**ROW, "status": "Failed", "error": "E: x", "ended": STARTED},))
        victim.settle()
        view = View()
        url = guarded.url.replace("://", "://wall@")
        connector: Any = cs.connector(url, presence=False, required=True, password=PASSWORD)
        async with connector as wall:
            stream = wall.watch("cascade/status/+", "cascade/state/+/+", "cascade/telemetry/#")
            async for item in stream:
                if isinstance(item, Complete):
                    for number in range(1_100):
                        invented = json.loads(event(0, event="ENGINE_STARTED")) | {"source": f"n{number}"}
                        attacker.publish(topic, json.dumps(invented), 1, retain=False)
                if isinstance(item, Message):
                    view.fold(item.topic, item.payload, now=0.0, retained=item.retain)
                if "n1099" in view.engines:
                    break
            await stream.aclose()
    assert (len(view.engines), view.engines["press-3"].status(0.0)) == (1_000, "lost")
    assert view.runs["press-3", "night"].status == "Failed"
