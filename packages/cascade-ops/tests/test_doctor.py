"""``cascade doctor`` on real brokers, on odd ones, and on servers that are not brokers: it names each problem and invents none."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from doctor_facts import broker_probes, examination
from paho.mqtt import publish
from paho.mqtt.enums import CallbackAPIVersion
from roles import nats_rules, printed_rules

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
        users=users, acl=acl, **{"max_queued_messages": 65_000, "lines": SAFE, **settings}
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
@pytest.mark.parametrize("server", ["mosquitto", "nats-server"])
def test_an_engine_that_is_online_gets_no_trial_messages(
    server: str, doctor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its user, the probe topics would be its own: they are not tried while it is online."""
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD", PASSWORD)
    lines = nats_rules(ROLES)
    with guarded() if server == "mosquitto" else NatsServer(lines=lines) as broker:
        url = f"{as_user(broker, 'press-3')}?source_id=press-3"
        for status, expected in (("online", {"not_tried"}), ("offline", set())):
            about = (
                {"v": "1.0", "ts": "2026-11-22T10:00:00+00:00", "pid": 1, "host": "box", "version": "1"}
                if status == "online"
                else {}
            )
            text = json.dumps({"status": status, "session": "s1", **about})
            publish.single(
                "cascade/status/press-3",
                text,
                1,
                retain=True,
                hostname=broker.host,
                port=broker.port,
                auth={"username": "press-3", "password": PASSWORD},
            )
            _, problems, warnings = doctor(url)
            assert problems == set()
            assert warnings & {"not_tried"} == expected


def test_a_broker_that_refuses_a_further_link_is_named(
    doctor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found before stays."""
    tried = examination.Examination._try_rights

    async def then_full(self: examination.Examination) -> None:
        await tried(self)
        broker.connect_code = 3

    monkeypatch.setattr(examination.Examination, "_try_rights", then_full)
    with OddBroker() as broker:
        found = doctor(f"mqtt://{broker.host}:{broker.port}")
    assert found == (1, {"links_refused"}, {"no_rules", "persistence_unknown"})


@pytest.mark.full
def test_a_denial_that_cuts_the_link_is_named(
    doctor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """mosquitto 2.0.11 with max_queued_messages 0; later versions keep the link, and the setting is named there, too."""
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD", PASSWORD)
    monkeypatch.setattr(broker_probes, "ANSWER_SECONDS", 1.0)
    with guarded(max_queued_messages=0) as broker:
        code, problems, warnings = doctor(as_user(broker, "wall"))
    assert (code, warnings) == (1, set())
    assert "queue_unlimited" in problems
    assert problems <= {"queue_unlimited", "denial_cuts_link"}


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
def test_a_user_does_not_protect_a_broker_that_accepts_anyone(
    doctor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client without a user has no password to give."""
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD", PASSWORD)
    with guarded(allow_anonymous=True) as broker:
        assert doctor(as_user(broker, "ann")) == (1, {"anonymous"}, set())


@pytest.mark.full
def test_a_short_queue_is_seen_from_outside(
    doctor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the configuration cannot be read, a burst of retained messages shows the limit."""
    require_mosquitto()
    monkeypatch.setattr(examination, "MESSAGES", 150)
    monkeypatch.setattr(examination, "local_configuration", lambda _: None)
    with Mosquitto(max_queued_messages=50, lines=SAFE) as broker:
        assert doctor(broker.url) == (0, set(), {"no_rules", "queue", "persistence_unknown"})


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


@pytest.mark.full
@pytest.mark.parametrize(
    ("switches", "code", "problems", "warnings"),
    [
        ({}, 0, set(), set()),
        ({"copies": True}, 0, set(), set()),
        ({"ack_delay": 0.02}, 0, set(), set()),
        ({"retained_for_wildcards": False}, 1, {"no_wildcards"}, set()),
        ({"retained_order": "late", "late_seconds": 60.0}, 0, set(), {"order"}),  # only an echo ends its wait
        ({"retained_limit": 20}, 1, {"set_cut"}, set()),
        ({"refused_filters": frozenset({"cascade/constraints/#"})}, 1, {"read_denied"}, set()),
        ({"connect_code": 3}, 3, {"broker_refuses"}, set()),
        ({"connect_code": 5}, 3, {"login"}, set()),
    ],
)
def test_an_odd_broker_is_named(
    switches: dict[str, Any],
    code: int,
    problems: set[str],
    warnings: set[str],
    doctor: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each mode by its name, and nothing else."""
    if "retained_order" in switches:  # on a busy machine what comes late comes later still
        monkeypatch.setattr(broker_probes, "QUIET_SECONDS", 2.5)
    with OddBroker(**switches) as broker:
        usual = {"no_rules", "persistence_unknown"} if code != 3 else set()
        assert doctor(f"mqtt://{broker.host}:{broker.port}") == (code, problems, warnings | usual)


@pytest.mark.full
def test_version_and_messages_in_flight_are_shown(
    doctor: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """As the broker states them; fewer messages in flight than mosquitto allows as it is installed are a warning."""
    require_mosquitto()
    with Mosquitto(max_queued_messages=65_000, lines=(*SAFE, "max_inflight_messages 5")) as broker:
        assert main(["doctor", "--broker", broker.url]) == 0
        out, _ = capsys.readouterr()
        assert "ok       the broker identifies itself as mosquitto version 2." in out
        assert "ok       messages in flight at a time: 5\n" in out
        assert doctor(broker.url) == (0, set(), {"no_rules", "inflight"})


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


@pytest.mark.full
def test_a_limit_of_packets_is_named(doctor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A report of 64 KiB breaks the link there."""
    monkeypatch.setattr(broker_probes, "ANSWER_SECONDS", 1.0)
    with OddBroker(max_packet=10_000) as broker:
        code, problems, _ = doctor(f"mqtt://{broker.host}:{broker.port}")
    assert (code, problems) == (1, {"size"})


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


@pytest.mark.full
@pytest.mark.wrong_messages("a presence that no engine has", "cascade/status/+")
def test_engines_that_collide_and_ghosts_are_named(doctor: Callable[..., Any], broker: Broker) -> None:
    """Births of several sessions while it looks; a retained presence of a dead engine."""
    stop = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect(broker.host, broker.port)
    client.loop_start()

    def birth(name: str, session: int, status: str = "online") -> None:
        text = json.dumps({"status": status, "session": f"s{session}"})
        client.publish(f"cascade/status/{name}", text, 1, retain=True).wait_for_publish(20)

    def collide() -> None:
        session = 0
        while not stop.wait(0.02):
            session += 1
            birth("press-3", session)

    birth("dead", 0, "offline")
    thread = threading.Thread(target=collide)
    thread.start()
    try:
        _, problems, warnings = doctor(broker.url)
    finally:
        stop.set()
        thread.join()
        for name in ("press-3", "dead"):
            client.publish(f"cascade/status/{name}", None, 1, retain=True).wait_for_publish(20)
        client.disconnect()
        client.loop_stop()
    assert "collision" in problems
    assert "ghosts" in warnings


def test_a_command_line_that_cannot_work_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2."""
    for arguments in (["mqtt://"], ["http://h"], ["mqtt://h:x"], [""], ["mqtt://h", "--json", "--fix-plan"]):
        assert main(["doctor", "--broker", *arguments]) == 2
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
