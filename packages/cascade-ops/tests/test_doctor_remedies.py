"""What ``cascade doctor`` says and advises: the words depend on the protocol, the user and where the broker is."""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
from doctor_facts import FAR, NOW, good, right

from cascade.interfaces.limitation import Lacking, Limitation
from cascade.ops._commands.doctor import findings
from cascade.ops._doctor import broker_probes
from cascade.ops._doctor.broker_probes import Examined, RightsProbe
from cascade.ops._doctor.examination import target_of
from cascade.ops._doctor.facts import (
    Certificate,
    Configuration,
    Files,
    Login,
    Reachability,
    Retained,
    Right,
    Target,
)
from cascade.ops._doctor.finding import Finding
from cascade.ops._doctor.local_server import local_configuration
from cascade.ops._doctor.network_probes import try_port
from cascade.ops._doctor.rights_checks import OWN_SYNC

NATS = replace(FAR, scheme="nats", port=4222)
HERE = Target("mqtt", "localhost", 1883)
EVENT = "cascade/telemetry/local/default/d/events"
SPOKEN = "cascade/telemetry/local/default/d/progress"


def only(name: str, **change: Any) -> Finding:
    """The finding of this name."""
    (found,) = [each for each in findings(replace(good(), **change), now=NOW) if each.name == name]
    return found


def rights(**change: Any) -> dict[str, Any]:
    return {**good().rights, **change}


@pytest.mark.parametrize(
    ("name", "change", "found", "remedy", "steps"),
    [
        ("refused", {"reachability": Reachability("refused"), "target": HERE}, 'localhost:1883 refuses connections', 'start the broker, or correct the port; usual: 1883, with TLS 8883', ('cascade broker',)),
        ("refused", {"reachability": Reachability("refused"), "target": replace(HERE, scheme="nats")}, 'localhost:1883 refuses connections', 'start the broker, or correct the port; usual: 4222', ()),
        ("refused", {"reachability": Reachability("refused")}, 'broker.example:8883 refuses connections', 'start the broker, or correct the port; usual: 1883, with TLS 8883', ()),
        ("certificate_authority", {"certificate": Certificate(19, "self-signed"), "target": replace(NATS, scheme="tls")}, "nothing that this machine trusts has signed the broker's certificate: self-signed", 'name the file of your authority: --ca FILE or CASCADE_NATS_CA', ()),
        ("tls", {"certificate": Certificate(detail="odd"), "target": replace(FAR, scheme="wss")}, 'broker.example:8883 does not speak TLS: odd', 'use the port for TLS (usual: 1883, with TLS 8883), or ws:// for a network that you trust', ()),
        ("tls", {"certificate": Certificate(detail="odd"), "target": replace(NATS, scheme="tls")}, 'broker.example:4222 does not speak TLS: odd', 'use the port for TLS (usual: 4222), or nats:// for a network that you trust', ()),
        ("tls", {"certificate": Certificate(detail="odd")}, 'broker.example:8883 does not speak TLS: odd', 'use the port for TLS (usual: 1883, with TLS 8883), or mqtt:// for a network that you trust', ()),
        ("links_refused", {"refused": "too many; try again", "target": NATS}, 'the broker refuses a further connection of this user: too many', 'raise the limit of connections (max_connections), and run this again', ('max_connections: 65536',)),
        ("links_refused", {"refused": "too many; try again"}, 'the broker refuses a further connection of this user: too many', 'raise the limit of connections (max_connections), and run this again', ('max_connections -1',)),
        ("client_certificate_end", {"files": Files(end="c.pem expired; renew it")}, 'c.pem expired', 'renew the certificate of CASCADE_MQTT_CERT', ()),
        ("exposed_file", {"files": Files(exposed=("CASCADE_MQTT_PASSWORD_FILE",))}, 'other users of this machine can read the file of CASCADE_MQTT_PASSWORD_FILE', 'allow only its owner to read it', ('chmod 600 "$CASCADE_MQTT_PASSWORD_FILE"',)),
        ("plain_password", {"target": replace(FAR, scheme="ws")}, 'the password crosses the network without TLS', 'use TLS: mqtts:// with a certificate for the broker; cascade acl --config writes such a configuration', ()),
        ("plain_password", {"target": NATS}, 'the password crosses the network without TLS', 'use TLS: tls:// with a certificate for the broker; cascade acl --config writes such a configuration', ()),
        ("tls_wanted", {"target": NATS, "login": Login(kind="certificate", cause="x")}, 'broker.example:4222 requires TLS', 'write tls:// instead of nats://, and name your authority: CASCADE_NATS_CA', ()),
        ("client_certificate", {"login": Login(kind="certificate", cause="it wants one; pass --cert")}, 'it wants one', 'pass --cert', ()),
        ("client_certificate", {"target": replace(NATS, scheme="tls"), "login": Login(kind="closed", cause="gone; pass a client certificate")}, 'gone', 'pass a client certificate', ()),
        ("silent", {"target": NATS, "login": Login(kind="silent", cause="x")}, 'broker.example:4222 accepts the connection, then does not answer', 'check the port; usual: 4222', ()),
        ("broker_refuses", {"login": Login(kind="closed", cause="the server is full; wait")}, 'the server is full', 'wait', ()),
        ("broker_refuses", {"login": Login(kind="closed", cause="the broker is full")}, 'the broker is full', 'look into its log', ()),
        ("not_a_broker", {"login": Login(kind="closed", cause="closed; hm")}, 'broker.example:8883 accepts the connection and does not speak MQTT: closed', 'check host, port and scheme: mqtt://host:1883, mqtts://host:8883, ws://host:8080', ()),
        ("not_a_broker", {"target": NATS, "login": Login(kind="closed", cause="closed; hm")}, 'broker.example:4222 accepts the connection and does not speak NATS: closed', 'check host, port and scheme: nats://host:4222, or tls:// with TLS', ()),
        ("size", {"size": 65_536, "target": NATS}, 'a message of 65,536 bytes does not come back', 'permit packets of at least 128 KiB', ('max_payload: 1048576',)),
        ("size", {"size": 65_536}, 'a message of 65,536 bytes does not come back', 'permit packets of at least 128 KiB', ('max_packet_size 4194304',)),
        ("not_tried", {"untried": "press-3", "retained": None}, 'retained messages were not tried: press-3 is online', 'run this while the engine is stopped, or as another user', ()),
        ("not_tried", {"keeps_none": True, "retained": None}, 'retained messages were not tried: press-3 may keep none', "run this as an engine's user or an operator; the rules of cascade acl give both a place for the trial", ()),
        ("no_rules", {"rights": rights(presence=right("p", returned=True)), "target": replace(NATS, user="")}, 'a client without a user may publish under the name of any engine', 'write access rules: cascade acl prints them, and with --config a whole configuration', ('cascade acl --engine NAME --operator NAME --config FOLDER --for nats',)),
        ("no_rules", {"rights": rights(presence=right("p", returned=True))}, "the user 'press-3' may publish under the name of any engine", 'write access rules: cascade acl prints them, and with --config a whole configuration', ('cascade acl --engine NAME --operator NAME --config FOLDER',)),
        ("sync_denied", {"rights": rights(sync=right("s"))}, "a message on this user's sync topic does not come back", 'add the rule: topic readwrite cascade/sync/press-3/+', ('user press-3', 'topic readwrite cascade/sync/press-3/+')),
        ("sync_denied", {"rights": rights(sync=right("s")), "target": replace(FAR, user="", source_id="")}, "a message on this user's sync topic does not come back", 'add the rule: topic readwrite cascade/sync/+/+', ('topic readwrite cascade/sync/+/+',)),
        ("progress_denied", {"rights": rights(progress=right(SPOKEN, refused=True), events=right(EVENT))}, 'this user may publish events, but not progress', 'add the rule: topic write cascade/telemetry/local/default/+/+', ('topic write cascade/telemetry/local/default/+/+',)),
        ("progress_denied", {"rights": rights(progress=right(SPOKEN, refused=True), events=right(EVENT)), "target": replace(NATS, source_id="press-3")}, 'this user may publish events, but not progress', 'add the rule: publish: "cascade.telemetry.local.default.*.*"', ('publish: "cascade.telemetry.local.default.*.*"',)),
        ("telemetry_denied", {"rights": rights(events=right(EVENT, refused=True))}, 'the broker denies telemetry of this project', 'add the rule: topic write cascade/telemetry/local/default/+/+', ('topic write cascade/telemetry/local/default/+/+',)),
        ("steering_denied", {"rights": rights(steering=right("c", refused=True))}, 'the broker denies a constraint of this user', 'for an operator, add the rules: topic write cascade/constraints/#, and topic read cascade/#', ('topic write cascade/constraints/#', 'topic read cascade/#')),
        ("steering_denied", {"rights": rights(steering=right("c")), "target": NATS}, 'a constraint does not come back', 'for an operator, add the rules: publish: "cascade.constraints.>", and subscribe: "cascade.>"', ('publish: "cascade.constraints.>"', 'subscribe: "cascade.>"')),
        ("read_denied", {"unread": ("cascade/status/+",)}, 'the broker refuses a subscription to cascade/status/+', 'add the rule: topic read cascade/status/+', ('topic read cascade/status/+',)),
        ("read_denied", {"unread": ("cascade/constraints/#",), "target": NATS}, 'the broker refuses a subscription to cascade/constraints/#', 'add the rule: subscribe: "cascade.constraints.>"', ('subscribe: "cascade.constraints.>"',)),
        ("name_is_not_user", {"target": replace(FAR, source_id="line-3")}, "the engine's name is 'line-3', its user 'press-3'", "use one name: ?source_id=press-3, or log in as 'line-3'", ()),
        ("engine_without_name", {"target": replace(FAR, source_id="")}, "'press-3' is the user of an engine, and no name is set", 'pass ?source_id=press-3, or set CASCADE_SOURCE_ID', ('export CASCADE_SOURCE_ID=press-3',)),
        ("autosave", {"configuration": Configuration("mosquitto", {"persistence": "true", "max_queued_messages": "65000"})}, 'the broker writes its store every 1800 s only', 'have it write after changes, and restart it', ('autosave_on_changes true', 'autosave_interval 1000')),
        ("queue", {"configuration": Configuration("mosquitto", {"persistence": "true", "max_queued_messages": "9999"})}, 'the broker keeps at most 9999 messages for a client that is slow (max_queued_messages)', 'raise the limit, and restart the broker', ('max_queued_messages 65000',)),
        ("telemetry_not_kept", {"limitations": (Limitation(Lacking.TELEMETRY, "no stream", "make one"),)}, 'telemetry is not kept: no stream', 'make one', ()),
        ("no_jetstream", {"limitations": (Limitation(Lacking.STORE, "it is off", "switch it on"),)}, 'the server keeps nothing: it is off', 'switch it on', ('jetstream { store_dir: "/var/lib/nats" }',)),
    ],
)  # fmt: skip
def test_each_remedy_is_that_of_the_protocol_the_user_and_the_place(
    name: str, change: dict[str, Any], found: str, remedy: str, steps: tuple[str, ...]
) -> None:
    """A person copies rules, variables and settings from here: those of another broker would have no effect."""
    seen = only(name, **change)
    assert (seen.found, seen.remedy, seen.steps) == (found, remedy, steps)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"rights": rights(presence=right("p", returned=True)), "target": replace(FAR, source_id="x")}, ["no_rules"]),
        ({"target": replace(FAR, user="", source_id="")}, []),
        ({"target": replace(FAR, source_id=""), "login": Login(linked=True)}, []),
        ({"target": replace(FAR, source_id=""), "login": Login(linked=True), "rights": rights(events=right(EVENT, returned=True))},
         ["engine_without_name"]),
        ({"target": replace(FAR, source_id=""), "rights": rights(events=right(EVENT, refused=True))}, []),
        ({"rights": rights(sync=right("s"), **{OWN_SYNC: right("o", returned=True)})}, []),
        ({"rights": rights(sync=right("s")), "cut": True}, ["denial_cuts_link"]),
        ({"rights": rights(sync=right("s")), "target": replace(NATS, scheme="tls")}, []),
        ({"rights": rights(progress=right(SPOKEN, refused=True), events=right(EVENT, refused=True))}, ["telemetry_denied"]),
        ({"rights": rights(steering=right("c")), "limitations": (Limitation(Lacking.STORE, "off", "on"),)}, ["no_jetstream"]),
        ({"rights": {}, "target": replace(FAR, source_id="x")}, []),
        ({"retained": Retained(100, exact=False, received=3)}, ["set_cut"]),
        ({"retained": Retained(100, exact=True, received=100, late=1, queued=20), "configuration": None},
         ["order", "queue", "persistence_unknown"]),
        ({"retained": Retained(100, exact=True, received=90, queued=20), "configuration": None},
         ["set_cut", "persistence_unknown"]),
        ({"configuration": Configuration("mosquitto", {"persistence": "1", "autosave_on_changes": "1", "max_queued_messages": "odd"})}, []),
        ({"configuration": None, "target": NATS, "files": Files()}, ["plain_password"]),
        ({"certificate": Certificate(ends=NOW - 10)}, ["certificate_end"]),
    ],
)  # fmt: skip
def test_what_cannot_be_known_or_follows_from_something_else_is_not_named(
    change: dict[str, Any], expected: list[str]
) -> None:
    """One cause is one finding; MQTT 3.1.1 does not say what it denies."""
    assert [each.name for each in findings(replace(good(), **change), now=NOW)] == expected


@pytest.mark.parametrize(
    ("url", "environment", "target"),
    [
        ("mqtt://a@h", {}, Target("mqtt", "h", 1883, "a")),
        ("ws://h", {}, Target("ws", "h", 80)),
        ("wss://h/mqtt?source_id=x", {"CASCADE_SOURCE_ID": "y"}, Target("wss", "h", 443, "", "x")),
        ("nats://token@h", {}, Target("nats", "h", 4222)),
        ("tls://token@h", {}, Target("tls", "h", 4222)),
        ("nats://a:pw@h:9", {}, Target("nats", "h", 9, "a")),
        ("nats://a@h", {"CASCADE_NATS_PASSWORD": "pw"}, Target("nats", "h", 4222, "a")),
        ("nats://a@h", {"CASCADE_NATS_PASSWORD_FILE": "/f"}, Target("nats", "h", 4222, "a")),
    ],
)
def test_a_url_names_the_user_but_never_a_token(
    url: str, environment: dict[str, str], target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user of NATS without a password is a token; ports are the usual ones."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert target_of(url) == target


@pytest.mark.parametrize(
    ("host", "local"),
    [("localhost", True), ("127.0.0.9", True), ("::1", True), ("10.0.0.1", False), ("pi", False)],
)
def test_only_a_loopback_address_is_local(host: str, local: bool) -> None:
    """Any other one may be reached from another machine."""
    assert Target("mqtt", host, 1).local == local


def test_a_way_that_is_open_has_no_fault_and_an_unknown_error_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the system's words where it has some."""

    async def tried(error: Exception | None) -> Reachability:
        async def opened(*_: object) -> tuple[None, Any]:
            if error is not None:
                raise error
            return None, Mock()

        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "open_connection", opened)
            return await try_port(Target("mqtt", "127.0.0.1", 1))

    assert asyncio.run(tried(None)) == Reachability()
    assert asyncio.run(tried(OSError(errno.EHOSTUNREACH, "no route"))) == Reachability(
        "unreachable", "no route"
    )
    assert asyncio.run(tried(OSError("odd"))) == Reachability("unreachable", "odd")
    assert asyncio.run(tried(socket.gaierror(socket.EAI_NONAME, "unknown"))) == Reachability("dns", "unknown")
    assert asyncio.run(tried(socket.gaierror("odd"))) == Reachability("dns", "odd")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ("/usr/sbin/mosquitto\0-v\0--config-file\0m.conf\0", {"persistence": "true", "listener": "1884"}),
        ("mosquitto\0-p\x001883\0", {}),
        ("nats-server\0-c\0m.conf\0", None),
    ],
)
def test_a_configuration_file_is_the_one_that_the_process_was_given(
    arguments: str, found: dict[str, str] | None, tmp_path: Path
) -> None:
    """By either option, relative to its folder; without one it has none, and another program's is not read."""
    for name, lines in (("tcp", ""), ("tcp6", "0: 00000000:075B 0:0 0A 0:0 0:0 0 0 0 77 1\n")):
        (tmp_path / "net").mkdir(exist_ok=True)
        (tmp_path / "net" / name).write_text(f"sl\n{lines}")
    (tmp_path / "m.conf").write_text("listener 1884\nprotocol websockets\n  persistence true\n")
    for number in (14, 15):
        (tmp_path / str(number) / "fd").mkdir(parents=True)
    (tmp_path / "15" / "fd" / "3").symlink_to("socket:[77]")
    (tmp_path / "15" / "cwd").symlink_to(tmp_path)
    (tmp_path / "15" / "cmdline").write_text(arguments)
    seen = local_configuration(1883, proc=tmp_path)
    assert seen is not None
    settings = dict(seen.settings)
    if found:
        assert (settings.pop("protocol"), seen.websockets) == ("websockets", (1884,))
    assert (seen.program, settings) == ("nats-server" if found is None else "mosquitto", found or {})


class Answering:
    """A link whose broker returns, refuses or drops messages by topic."""

    def __init__(self, **fate: str) -> None:
        self.sent: list[tuple[str, object, bool]] = []
        self._fate = fate
        self._callbacks: dict[str, Any] = {}
        self._dropped = {"denied": 1}
        self.refused: frozenset[str] = frozenset()
        self.connections = 1

    async def subscribe(self, topic: str, callback: Any) -> None:
        self._callbacks[topic] = callback

    async def publish(self, topic: str, payload: object, qos: int, *, retain: bool) -> None:
        assert qos == 1
        self.sent.append((topic, payload, retain))
        fate = self._fate.get(topic)
        if fate == "returned":
            await self._callbacks[topic](topic, payload)
        elif fate == "refused":
            self._dropped["denied"] += 1
        elif fate == "unreadable":
            self.refused |= {topic}

    async def flush(self, timeout: float) -> bool:
        return True

    def statistics(self) -> Any:
        return SimpleNamespace(
            dropped=self._dropped, refused=self.refused, linked=True, connections=self.connections
        )


def test_what_becomes_of_each_message_is_known_by_its_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is sent as what belongs there is: retained or not; a second link shows that the first one was cut."""
    monkeypatch.setattr(broker_probes, "RETURN_SECONDS", 0.05)

    async def tried() -> tuple[dict[str, Right], Answering, tuple[bool, bool]]:
        link = Answering(a="returned", b="refused", c="unreadable")
        probe = RightsProbe(cast(Examined, link))
        for topic, retain in (("a", True), ("b", False), ("c", True), ("d", True)):
            await probe.send(topic, {"n": 1} if topic == "d" else None, retain=retain)
        found = await probe.outcome()
        await probe.clear("d")
        cut = probe.cut
        link.connections = 2
        return found, link, (cut, probe.cut)

    found, link, cut = asyncio.run(tried())
    assert found == {
        "a": Right("a", returned=True),
        "b": Right("b", returned=False, refused=True),
        "c": Right("c", returned=False, unreadable=True),
        "d": Right("d", returned=False),
    }
    assert [each.written for each in found.values()] == [True, False, False, True]
    assert link.sent == [
        ("a", None, True),
        ("b", None, False),
        ("c", None, True),
        ("d", {"n": 1}, True),
        ("d", None, True),
    ]
    assert cut == (False, True)
