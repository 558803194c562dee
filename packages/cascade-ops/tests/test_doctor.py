"""``cascade doctor`` on real brokers, on odd ones, and on servers that are not brokers: it names each problem and invents none."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from ops_modules import broker_probes
from paho.mqtt import publish
from paho.mqtt.enums import CallbackAPIVersion
from roles import printed_rules

import cascade as cs
from cascade.cli import main
from cascade.interfaces.access import Roles
from cascade.interfaces.broker_programs import DURABLE
from cascade.testkit.brokers import Broker, Mosquitto, NatsServer
from cascade.testkit.fixtures import require_mosquitto
from testing_tools import patient
from testing_tools.certificates import make_certificates
from testing_tools.engines import PASSWORD, eventually
from testing_tools.odd_broker import OddBroker

pytestmark = [pytest.mark.broker, pytest.mark.process, pytest.mark.usefixtures("quick_doctor")]

ROLES = Roles(engines={"press-3": "default"}, operators=("ann",), observers=("wall",))
SAFE = DURABLE[1:]


@contextmanager
def guarded(**settings: Any) -> Iterator[Mosquitto]:
    """A mosquitto with the generated rules, and a user who may read everything."""
    require_mosquitto()
    acl = [*printed_rules(ROLES), "user witness", "topic readwrite #"]
    users = dict.fromkeys((*ROLES.users, "eve", "witness"), PASSWORD)
    with Mosquitto(
        users=users, **{"acl": acl, "max_queued_messages": 65_000, "lines": SAFE, **settings}
    ) as broker:
        yield broker


def as_user(broker: Broker, user: str) -> str:
    """The URL with which a user logs in."""
    return broker.url.replace("://", f"://{user}@")


def retained_topics(broker: Broker, user: str = "") -> set[str]:
    """Every topic that holds a message."""
    found: set[str] = set()
    done = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    if user:
        client.username_pw_set(user, PASSWORD)

    def take(_: object, __: object, message: paho.MQTTMessage) -> None:
        done.set() if message.topic == "end" else found.add(message.topic)

    def subscribed(*_: object) -> None:
        client.publish("end", "", 0)

    client.on_message = take
    client.on_subscribe = subscribed
    client.connect(broker.host, broker.port)
    client.subscribe("#")
    client.loop_start()
    try:
        eventually(done.is_set, "the retained messages have arrived")
    finally:
        client.disconnect()
        client.loop_stop()
    return found


@pytest.mark.full
def test_nothing_is_wrong_with_a_broker_under_the_rules(
    doctor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For each role; nothing stays behind. What a role may not do is not reported; a wrong name is."""
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD", PASSWORD)
    with guarded() as broker:
        engine = as_user(broker, "press-3")
        assert doctor(f"{engine}?source_id=press-3") == (0, set(), set())
        assert doctor(as_user(broker, "ann"), "--probe-write") == (0, set(), set())
        assert doctor(as_user(broker, "wall"), "--probe-write") == (1, {"steering_denied"}, set())
        assert doctor(f"{engine}?source_id=line-3") == (1, {"name_is_not_user"}, set())
        assert doctor(engine) == (1, {"engine_without_name"}, set())
        assert retained_topics(broker, "witness") == set()
        assert main(["doctor", "--broker", as_user(broker, "eve"), "--fix-plan"]) == 1
        out = capsys.readouterr().out
        assert "     user eve\n     topic readwrite cascade/sync/eve/+\n" in out
        monkeypatch.setenv("CASCADE_MQTT_PASSWORD", "wrong")
        assert doctor(as_user(broker, "ann")) == (3, {"login"}, set())
        monkeypatch.delenv("CASCADE_MQTT_PASSWORD")
        assert doctor(as_user(broker, "ann")) == (3, {"login"}, set())
        assert doctor(broker.url) == (3, {"login"}, set())


@pytest.mark.full
def test_an_open_broker_without_a_store_is_named(
    doctor: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """On this machine its configuration shows the cause; registers of the probe are gone afterwards."""
    require_mosquitto()
    with Mosquitto(lines=["persistence false"]) as broker:
        assert doctor(broker.url, "--probe-write") == (1, {"persistence", "queue_unlimited"}, {"no_rules"})
        assert retained_topics(broker) == set()
        assert main(["doctor", "--broker", broker.url]) == 1
        out, _ = capsys.readouterr()
        assert "problem  persistence: the broker keeps retained messages in memory only" in out
        assert "It means: a restart of the broker lifts every constraint" in out
        assert "To do: switch persistence on, and restart the broker." in out


@pytest.mark.full
def test_tls_is_examined(doctor: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the authority's file nothing is wrong; without it the certificate is not trusted; MQTT without TLS fails."""
    require_mosquitto()
    made = make_certificates(tmp_path)
    with Mosquitto(tls=made, max_queued_messages=65_000, lines=SAFE) as broker:
        assert doctor(broker.url, "--ca", str(made.ca)) == (0, set(), {"no_rules"})
        monkeypatch.delenv("CASCADE_MQTT_CA")
        assert doctor(broker.url) == (3, {"certificate_authority"}, set())
        assert doctor(broker.url.replace("mqtts", "mqtt")) == (3, {"not_a_broker"}, set())
    with Mosquitto(tls=made, require_certificate=True, lines=SAFE) as broker:
        assert doctor(broker.url, "--ca", str(made.ca)) == (3, {"client_certificate"}, set())


@pytest.mark.full
def test_nats_server_has_no_problem(doctor: Callable[..., Any]) -> None:
    """By MQTT; ``test_doctor_nats.py`` has its own protocol."""
    with NatsServer() as broker:
        assert doctor(broker.url) == (0, set(), {"no_rules"})


@pytest.mark.parametrize(
    ("switches", "code", "problems"),
    [({}, 0, set()), ({"refused_filters": frozenset({"cascade/constraints/#"})}, 1, {"read_denied"})],
)
def test_an_odd_broker_is_named(
    switches: dict[str, Any], code: int, problems: set[str], doctor: Callable[..., Any]
) -> None:
    """The exit code is 1 only if something is a problem; warnings alone are none."""
    with OddBroker(**switches) as broker:
        found = doctor(f"mqtt://{broker.host}:{broker.port}")
    assert found == (code, problems, {"no_rules", "persistence_unknown"})


@pytest.mark.full
@pytest.mark.parametrize(
    ("switches", "found"),
    [
        ({}, r"rumqttd \u001b[2J\u000a1"),
        ({"refused_filters": frozenset({broker_probes.VERSION})}, ""),
        ({"retained_for_wildcards": False}, r"rumqttd \u001b[2J\u000a1"),
    ],
)
def test_a_version_is_shown_where_it_may_be_read(
    switches: dict[str, Any], found: str, capsys: pytest.CaptureFixture[str], quick_doctor: None
) -> None:
    """Control characters in it reach no terminal, and a broker that refuses the topic is examined as any other."""
    with OddBroker(**switches) as broker:
        broker.publish(broker_probes.VERSION, b"rumqttd \x1b[2J\n1", retain=True)
        main(["doctor", "--broker", f"mqtt://{broker.host}:{broker.port}"])
        out, _ = capsys.readouterr()
        lines = [line for line in out.splitlines() if "the broker identifies" in line]
        assert lines == ([f"ok       the broker identifies itself as {found}"] if found else [])
        assert "a message of 64 KiB arrives" in out


@pytest.mark.parametrize(
    ("answer", "problem"), [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "not_a_broker"), (b"", "silent")]
)
def test_what_is_no_broker_is_named(
    answer: bytes, problem: str, doctor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A web server, and a port that accepts and stays silent: exit code 3."""
    if not answer:
        monkeypatch.setattr(patient, "SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = server.accept()
                    kept.append(client)
                    if answer:
                        client.recv(1 << 12)
                        client.sendall(answer)
                        client.close()

        threading.Thread(target=serve, daemon=True).start()
        assert doctor(f"mqtt://127.0.0.1:{server.getsockname()[1]}") == (3, {problem}, set())
        server.shutdown(socket.SHUT_RDWR)
        for each in kept:
            each.close()


def test_a_port_that_refuses_is_named(doctor: Callable[..., Any]) -> None:
    """Nothing listens on it: it is bound, and stays closed."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert doctor(f"mqtt://127.0.0.1:{bound.getsockname()[1]}") == (3, {"refused"}, set())


def test_a_command_line_that_cannot_work_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2."""
    for arguments in (["mqtt://"], ["http://h"], ["mqtt://h:x"], [""], ["mqtt://h", "--json", "--fix-plan"]):
        assert main(["doctor", "--broker", *arguments]) == 2
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)


def test_a_pause_that_the_rules_hide_from_an_engine_is_found(
    doctor: Callable[..., tuple[int, set[str], set[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row 51: its canary arrives, so it says that it is in sync; only the broker's set shows what it does not know."""
    rules = [line for line in printed_rules(ROLES) if line != "topic read cascade/constraints/#"]
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD", PASSWORD)

    async def follow_and_examine(broker: Mosquitto) -> tuple[int, set[str], set[str]]:
        connector = cs.connector(as_user(broker, "press-3"), source_id="press-3", required=True)
        await connector.connect()
        gate = asyncio.Event()

        @cs.task
        async def held() -> None:
            await gate.wait()

        running = asyncio.create_task(cs.arun(held(), connector=connector))
        login: Any = {"username": "witness", "password": PASSWORD}
        where = {"hostname": broker.host, "port": broker.port, "auth": login}
        publish.single("cascade/constraints/global/@pause", '{"type": "pause"}', 1, retain=True, **where)
        try:
            return await asyncio.to_thread(doctor, as_user(broker, "witness"))
        finally:
            gate.set()
            await running
            await connector.disconnect()

    with guarded(acl=[*rules, "user witness", "topic readwrite #"]) as broker:
        code, problems, _ = asyncio.run(follow_and_examine(broker))
    assert (code, problems) == (1, {"hidden_constraints"})
