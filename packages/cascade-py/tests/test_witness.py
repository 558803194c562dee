"""The witness of this suite: it hears every broker that a test starts, and finds a wrong message of any publisher."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cascade.testkit import eventually
from cascade.testkit.brokers import Broker, Mosquitto, NatsServer
from cascade.testkit.fixtures import require_mosquitto
from testing_tools.aedes import Aedes
from testing_tools.heard_brokers import nats_lines, nats_login
from testing_tools.iotcore import IotCore
from testing_tools.odd_broker import OddBroker
from testing_tools.rabbitmq import RabbitMq
from testing_tools.suite_witness import UNHEARD, SuiteWitness
from testing_tools.wire_links import Heard, MqttLink, NatsLink, RefusedError
from testing_tools.wire_rules import Deliveries

CONFTEST = Path(__file__).parents[2] / "conftest.py"
BIRTH = {"status": "online", "session": "1f", "ts": "t", "pid": 1, "host": "h", "version": "0.1.0"}
STATUS = "cascade/status/press"

PUBLISH = """
import json, os, sys
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

address, will, *messages = map(json.loads, sys.argv[1:])
client = paho.Client(CallbackAPIVersion.VERSION2)
if will:
    client.will_set(*will)
client.connect(*address)
client.loop_start()
for message in messages:
    client.publish(*message).wait_for_publish()
if will:
    os._exit(0)  # the link breaks
client.disconnect()
client.loop_stop()
"""


def publish(broker: Broker | OddBroker, *messages: tuple[str, str, int, bool], will: Any = None) -> None:
    """Publish in another process, whose link then breaks if it has a will."""
    arguments = [json.dumps(each) for each in ((broker.host, broker.port), will, *messages)]
    subprocess.run([sys.executable, "-c", PUBLISH, *arguments], check=True, timeout=120)


def birth(**changes: Any) -> tuple[str, str, int, bool]:
    return STATUS, json.dumps(BIRTH | changes), 1, True


@pytest.fixture(params=[Mosquitto, NatsServer, OddBroker], ids=["mosquitto", "nats-server", "odd-broker"])
def heard_broker(request: pytest.FixtureRequest) -> Iterator[Broker | OddBroker]:
    if request.param is Mosquitto:
        require_mosquitto()
    with request.param() as broker:
        yield broker


@pytest.mark.broker
@pytest.mark.process
def test_what_another_process_publishes_is_checked(
    heard_broker: Broker | OddBroker, witness: SuiteWitness
) -> None:
    """A right birth, then a wrong one, an echo that is not an object, and a message on an unknown topic."""
    publish(heard_broker, birth())
    assert witness.collect() == []
    echo = ("cascade/sync/press/1f", "[]", 0, False)
    publish(heard_broker, birth(pid="1"), echo, ("cascade/status/press/later", "{}", 0, False))
    found = dict(witness.collect())
    assert found.keys() == {STATUS, "cascade/sync/press/1f", "cascade/status/press/later"}
    assert "channels []" in found["cascade/status/press/later"]
    assert "is not of type 'object'" in found["cascade/sync/press/1f"]


@pytest.mark.broker
@pytest.mark.nightly
@pytest.mark.parametrize("kind", [Aedes, IotCore, RabbitMq], ids=lambda kind: kind.name)
def test_a_wrong_birth_at_a_further_broker_is_found(kind: type[Broker], witness: SuiteWitness) -> None:
    """Each time, as soon as the broker has acknowledged it; and also over a restart."""
    if kind.find() is None:
        pytest.skip(f"{kind.name} is not installed: {kind.remedy()}")
    with kind() as broker:
        publish(broker, birth())
        assert witness.collect() == []
        for _ in range(5):
            publish(broker, birth(pid="1"))
            assert {topic for topic, _ in witness.collect()} == {STATUS}
        broker.restart(keep_store=False)
        publish(broker, birth(host=None))
        assert {topic for topic, _ in witness.collect()} == {STATUS}


@pytest.mark.broker
@pytest.mark.process
async def test_a_wrong_will_is_found(heard_broker: Broker | OddBroker, witness: SuiteWitness) -> None:
    """The broker itself publishes it: of a named process, and of one without a name, for which another one is right."""
    publish(heard_broker, will=(STATUS, '{"status": "offline", "session": "1f"}', 1, True))
    publish(heard_broker, will=("cascade/status/vm-1", '{"status": "offline"}', 0, False))
    found: dict[str, str] = {}

    def gone() -> bool:
        found.update(witness.collect())
        return "cascade/status/line" in found

    publish(heard_broker, will=("cascade/status/line", '{"status": "lost"}', 1, True))
    await eventually(gone)
    assert found.keys() == {"cascade/status/line"}


@pytest.mark.broker
@pytest.mark.process
def test_a_wrong_flag_is_found(witness: SuiteWitness) -> None:
    """mosquitto shows how a message was published: a retained echo, a register that is not, a report at QoS 0."""
    require_mosquitto()
    summary = {
        "up": 1,
        "runs": 0,
        "running": 0,
        "waiting": 0,
        "completed": 0,
        "failed": 0,
        "paused": False,
        "ts": "t",
    }
    text = json.dumps(summary)
    with Mosquitto() as broker:
        publish(
            broker,
            ("cascade/sync/press/1f", "{}", 0, True),
            ("cascade/constraints/global/@pause", '{"type": "pause"}', 1, False),
            ("cascade/state/vm-1/summary", text, 1, False),
        )
        unnamed = witness.collect()
        publish(broker, birth(), ("cascade/state/press/summary", text, 0, False))
        named = witness.collect()
    assert [each for each in unnamed if "last_status" not in each[1]] == [
        ("cascade/sync/press/1f", "retain is True, not False"),
        ("cascade/constraints/global/@pause", "retain is False, not True"),
    ]
    assert ("cascade/state/press/summary", "retain is False, not True") in named
    assert ("cascade/state/press/summary", "QoS 0, not 1") in named


@pytest.mark.broker
@pytest.mark.process
def test_keys_of_a_nats_server_are_checked(witness: SuiteWitness) -> None:
    """What native clients retain is a key of a bucket; a deleted key clears, and other buckets are not Cascade's."""
    program = """
import asyncio, sys, nats
async def main():
    link = await nats.connect(sys.argv[1])
    js = link.jetstream()
    kv = await js.create_key_value(bucket="cascade")
    await kv.put("cascade.status.pi=2Elocal", b'{"status": "odd"}')
    await kv.put("cascade.sync.press.1f", b"{}")
    await kv.delete("cascade.sync.press.1f")
    other = await js.create_key_value(bucket="mine")
    await other.put("any.key", b"text")
    await link.publish("cascade.telemetry.o.p.r.later", b"{}")
    await link.drain()
asyncio.run(main())
"""
    with NatsServer() as server:
        subprocess.run([sys.executable, "-c", program, server.nats_url], check=True, timeout=120)
        found = witness.collect()
    assert {topic for topic, _ in found} == {
        "cascade/status/pi.local",
        "cascade/sync/press/1f",
        "cascade/telemetry/o/p/r/later",
    }
    assert ("cascade/sync/press/1f", "retain is True, not False") in found


@pytest.mark.broker
@pytest.mark.process
def test_a_broker_that_is_frozen_or_killed_is_not_waited_for(witness: SuiteWitness) -> None:
    """What it had delivered before counts; after a restart it is heard again, on the same port."""
    with NatsServer() as broker:
        publish(broker, birth())
        broker.freeze()
        assert witness.collect() == []
        broker.thaw()
        publish(broker, birth(pid="1"))
        broker.kill()
        assert {topic for topic, _ in witness.collect()} == {STATUS}
        broker.start()
        publish(broker, birth(host=None))
        assert {topic for topic, _ in witness.collect()} == {STATUS}


@pytest.mark.broker
@pytest.mark.process
def test_a_broker_with_rules_is_heard_and_keeps_them(witness: SuiteWitness) -> None:
    """Users, an access list and TLS: the witness has a login of its own, on a socket of its own."""
    require_mosquitto()
    lines = ['authorization { users: [ { user: "ann", password: "pw", permissions: { publish: "x" } } ] }']
    with Mosquitto(users={"ann": "pw"}, acl=["user ann", "topic write cascade/#"]), NatsServer(lines=lines):
        assert witness.collect() == []
    with NatsServer(lines=['authorization { token: "secret" }']):
        assert witness.collect() == []
    with NatsServer(lines=["authorization { user: ann, password: pw }"]):  # the witness finds no login here
        ((topic, problem),) = witness.collect()
    assert topic == UNHEARD
    assert "is not heard" in problem


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.parametrize("words", [("-n", "0"), ("-n", "1")], ids=["plain", "xdist"])
def test_the_test_that_made_a_wrong_message_fails(tmp_path: Path, words: tuple[str, str]) -> None:
    """With the topic; a test that names the topic as wrong on purpose does not, nor do its neighbours."""
    made = tmp_path / "test_made.py"
    made.write_text(
        "import pytest\n"
        "from paho.mqtt import publish\n"
        "def send(broker):\n"
        '    publish.single("cascade/status/a", "{}", 1, True, broker.host, broker.port)\n'
        "@pytest.mark.broker\n"
        "def test_right(broker): ...\n"
        "@pytest.mark.broker\n"
        "def test_wrong(broker): send(broker)\n"
        "@pytest.mark.broker\n"
        '@pytest.mark.wrong_messages("to see it", "cascade/status/+")\n'
        "def test_exempt(broker): send(broker)\n",
        "utf-8",
    )
    (tmp_path / "conftest.py").write_text(
        "import importlib.util\n"
        f'spec = importlib.util.spec_from_file_location("house", {str(CONFTEST)!r})\n'
        "house = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(house)\n"
        "globals().update({name: each for name, each in vars(house).items() if name[0] != '_'})\n",
        "utf-8",
    )
    settings = str(CONFTEST.parents[1] / "pyproject.toml")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", settings, *words, str(made)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert "3 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert re.search(r"^ERROR .*::test_wrong", done.stdout, re.MULTILINE), done.stdout
    assert "cascade/status/a: []: 'status' is a required property" in done.stdout


HEARD = [
    Heard("cascade/a", b"{}", 0, False),
    Heard("cascade/b", b"x" * 300, 1, True),
    Heard("cascade/" + "c" * 200, b"", 2, False),
]


def mqtt_bytes(*, five: bool) -> bytes:
    """What a broker sends: CONNACK, SUBACK, messages, PUBREL, PINGRESP."""
    properties = b"\x03\x21\x00\x14" if five else b""
    more = b"\x00" if five else b""

    def packet(head: int, body: bytes) -> bytes:
        size = len(body)
        return bytes((head, size) if size < 128 else (head, size & 127 | 128, size >> 7)) + body

    def message(heard: Heard, number: int) -> bytes:
        topic = heard.topic.encode()
        body = len(topic).to_bytes(2, "big") + topic + (number.to_bytes(2, "big") if heard.qos else b"")
        return packet(0x30 | (heard.qos or 0) << 1 | bool(heard.retain), body + more + heard.payload)

    begin = packet(0x20, b"\x00\x00" + (properties or b"")) + packet(0x90, b"\x00\x01" + more + b"\x02")
    return begin + b"".join(map(message, HEARD, (7, 8, 9))) + packet(0x62, b"\x00\x09") + packet(0xD0, b"")


@pytest.mark.parametrize("version", [4, 5])
def test_bytes_of_mqtt_become_messages_wherever_they_are_cut(version: int) -> None:
    """Each is acknowledged as its QoS asks for; MQTT 3.1.1 shows no flag of a message that is not a retained one."""
    data = mqtt_bytes(five=version == 5)
    for at in range(len(data)):
        link, heard = MqttLink(("ann", "pw"), version=version), []
        assert link.replies()[:1] == b"\x10"
        for part in (data[:at], data[at:]):
            heard += link.feed(part)
        shown = [each.retain if version == 5 or each.retain else None for each in HEARD]
        assert [each.retain for each in heard] == shown
        assert [(each.topic, each.payload, each.qos) for each in heard] == [
            (e.topic, e.payload, e.qos) for e in HEARD
        ]
        replies = link.replies()
        assert replies.startswith(b"\x82")
        assert b"cascade/#" in replies
        assert replies.endswith(b"\x40\x02\x00\x08\x50\x02\x00\x09\x70\x02\x00\x09")
        assert (link.listening, link.answers) == (True, 1)


@pytest.mark.parametrize("version", [4, 5])
def test_a_message_to_itself_is_the_answer_where_a_ping_proves_nothing(version: int) -> None:
    """It does not count as traffic, and the other messages have no QoS if the broker does not show it."""
    link = MqttLink(None, version=version, echo="witness/1", shows_qos=False)
    link.feed(b"\x20\x03\x00\x00\x00" if version == 5 else b"\x20\x02\x00\x00")
    assert b"cascade/#" in (subscribe := link.replies())
    assert b"witness/1" in subscribe
    calls = [link.call() for _ in range(2)]
    assert [call[13:15] for call in calls] == [b"\x00\x01", b"\x00\x02"]
    assert link.feed(mqtt_bytes(five=version == 5)) == [
        Heard(each.topic, each.payload, None, each.retain if version == 5 or each.retain else None)
        for each in HEARD
    ]
    assert (link.listening, link.answers) == (True, 0)
    assert link.feed(calls[0]) == []
    assert (link.answers, link.replies()[-4:]) == (1, b"\x40\x02\x00\x01")


@pytest.mark.parametrize("data", [b"\x20\x02\x00\x05", b"\x20\x02\x00\x00\x90\x03\x00\x01\x80"])
def test_a_refusal_of_mqtt_is_an_error(data: bytes) -> None:
    with pytest.raises(RefusedError, match="code"):
        MqttLink(None, version=4).feed(data)


def nats_bytes() -> bytes:
    """What a server sends, for native clients and for those of MQTT."""

    def message(subject: str, payload: bytes, *lines: str) -> bytes:
        if not lines:
            return f"MSG {subject} 0 {len(payload)}\r\n".encode() + payload + b"\r\n"
        head = "".join(f"{each}\r\n" for each in ("NATS/1.0", *lines, "")).encode()
        return (
            f"HMSG {subject} 0 reply {len(head)} {len(head) + len(payload)}\r\n".encode()
            + head
            + payload
            + b"\r\n"
        )

    return b"".join(
        (
            b"INFO {}\r\nPONG\r\nPING\r\n",
            message("cascade.a=2Eb", b"1\r\n2"),
            message("cascade.status.pi//local", b"{}", "Nmqtt-Pub:1"),
            message("$MQTT.rmsgs.x", b"{}", "Nmqtt-RTopic:cascade/status/pi.local", "Nmqtt-RFlags:3"),
            message("$MQTT.rmsgs.x", b"", "Nmqtt-RTopic:cascade/status/pi.local", "Nmqtt-RFlags:-3"),
            message("$KV.cascade.cascade.status.a", b"{}", "Nats-TTL: 3s"),
            message("$KV.cascade.cascade.status.a", b"x", "KV-Operation: PURGE"),
            message("$KV.cascade.cascade.status.vm.=will", b"{}"),
            message("$KV.mine.status", b"{}"),
            message("cascade.=FF", b""),
            b"PONG\r\n",
        )
    )


def test_bytes_of_nats_become_messages_wherever_they_are_cut() -> None:
    """Of a subject without a topic, the subject; nothing of the key of an unnamed process or of another bucket."""
    data = nats_bytes()
    for at in range(len(data)):
        link = NatsLink({"user": "ann"})
        link.begin()
        heard = [each for part in (data[:at], data[at:]) for each in link.feed(part)]
        assert heard == [
            Heard("cascade/a.b", b"1\r\n2"),
            Heard("cascade/status/pi.local", b"{}", 1),
            Heard("cascade/status/pi.local", b"{}", 1, retain=True),
            Heard("cascade/status/pi.local", b"", 1, retain=True),
            Heard("cascade/status/a", b"{}", None, retain=True),
            Heard("cascade/status/a", b"", None, retain=True),
            Heard("cascade.=FF", b""),
        ]
        assert link.replies().endswith(b"PONG\r\n")
        assert (link.listening, link.answers) == (True, 1)
    with pytest.raises(RefusedError, match="Authorization"):
        NatsLink({}).feed(b"-ERR 'Authorization Violation'\r\n")


PAUSE = "cascade/constraints/global/@pause"


@pytest.mark.parametrize(
    ("heard", "wrong"),
    [
        (Heard(PAUSE, b'{"type": "pause"}', 0, True), ""),
        (Heard(PAUSE, b"", 1, True), ""),
        (Heard(PAUSE, b"{}", 1, True), ""),
        (Heard(PAUSE, b"", 1, False), "retain is False, not True"),
        (Heard(PAUSE, b"", 2, True), "QoS 2, not 1"),
        (Heard("cascade/sync/a/@canary", b"", 1, True), ""),
        (Heard("cascade/sync/a/@canary", b"{}", 1, True), "QoS 1, not 0"),
        (Heard(PAUSE, b"oops", 1, True), "no JSON: b'oops'"),
        (Heard("cascade/sync/a/1f", b"", 0, False), "an empty message"),
        (Heard("cascade/sync/a/1f", b"{}", 1, False), "QoS 1, not 0"),
        (Heard("cascade/sync/a/1f", b"{}"), ""),
        (Heard("cascade/status/a", b'{"status": "offline"}', 0, False), ""),
        (Heard("cascade/status/a", b'{"status": "offline", "session": "1"}', 1, False), "retain is False, not True"),
        (Heard("cascade/later", b"{}", 0, False), "channels []"),
        (Heard("cascade/sync/ann/doctor-0123abcd-7", b"", 1, True), ""),
        (Heard("cascade/telemetry/o/p/doctor-0123abcd/later", b"", 1, True), "channels []"),
    ],
)  # fmt: skip
def test_a_message_is_what_the_document_says(heard: Heard, wrong: str) -> None:
    assert Deliveries().problems(heard) == ([wrong] if wrong else [])


def test_a_wrong_message_is_found_each_time_and_topics_in_every_message() -> None:
    """The schemas see the first hundred of a kind and every fiftieth, anew in every test."""
    rules, wrong = Deliveries(), Heard("cascade/status/a", b'{"status": 1}', 1, True)
    assert [bool(rules.problems(wrong)) for _ in range(151)] == [*[True] * 100, *[False] * 49, True, False]
    rules.begin_test()
    assert rules.problems(wrong) != []
    assert all(rules.problems(Heard("cascade/a/b", b"", 0, False)) for _ in range(500))


def test_a_server_of_nats_gives_the_witness_a_login_if_it_has_users() -> None:
    """In each list of users; else the only login there is."""
    (line,) = nats_lines(["authorization { users: [ { user: a } ] }"])
    assert line.startswith('authorization { users: [ { user: "suite-witness"')
    assert line.endswith("{ user: a } ] }")
    assert nats_login([line])["user"] == "suite-witness"
    assert nats_lines(["max_payload: 4"]) == ["max_payload: 4"]
    assert nats_login(["max_payload: 4"]) == {}
    assert nats_login(['authorization { token: "t" }']) == {"auth_token": "t"}
    assert nats_login(['authorization { user: "a", password: "p q" }']) == {"user": "a", "pass": "p q"}
