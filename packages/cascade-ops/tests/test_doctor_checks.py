"""What ``cascade doctor`` makes of facts, and what it prints: without a network."""

from __future__ import annotations

import ast
import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from doctor_facts import CONFIGURED, FAR, NOW, good, right
from ops_modules import (
    EVENTS,
    OWN_SYNC,
    PRESENCE,
    PROGRESS,
    STEERING,
    SYNC,
    Certificate,
    Configuration,
    Facts,
    Files,
    Finding,
    Login,
    Reachability,
    Retained,
    Right,
    Target,
    examination,
    findings,
    lines_of,
    parted,
    plan_of,
)

from cascade.interfaces.abilities import Lacking, Limitation
from cascade.interfaces.topics import constraint_topic
from cascade.wire import View


def lacks(what: Lacking) -> Limitation:
    """A guarantee that a connector misses."""
    return Limitation(what, "it has none", "get one")


def contested(source: str) -> View:
    """A view in which an engine reports that another process has its name."""
    view = View()
    report = {"v": "1.0", "source": source, "session": "x", "sync": "synced", "applied": {}, "effective": []}
    more = {"in_scope_running": 0, "ts": datetime.fromtimestamp(NOW, UTC).isoformat(), "contested": True}
    topic = f"cascade/state/{source}/constraints"
    view.fold(topic, json.dumps({**report, **more}).encode(), now=1.0, retained=True)
    return view


def names(facts: Facts) -> list[str]:
    """Problems by name, and warnings in brackets."""
    return [f"({each.name})" if each.warning else each.name for each in findings(facts, now=NOW)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"reachability": Reachability("dns", "Name or service not known")}, ["dns"]),
        ({"reachability": Reachability("refused")}, ["refused"]),
        ({"reachability": Reachability("silent")}, ["silent"]),
        ({"reachability": Reachability("unreachable", "No route to host")}, ["unreachable"]),
        ({"certificate": Certificate(10, "certificate has expired")}, ["certificate_expired"]),
        ({"certificate": Certificate(9, "not yet valid")}, ["clock"]),
        ({"certificate": Certificate(62, "hostname mismatch")}, ["certificate_name"]),
        ({"certificate": Certificate(19, "self-signed")}, ["certificate_authority"]),
        ({"certificate": Certificate(detail="WRONG_VERSION_NUMBER")}, ["tls"]),
        ({"certificate": Certificate(ends=NOW + 86_400)}, ["(certificate_end)"]),
        ({"certificate": Certificate(ends=None)}, []),
        ({"login": Login(kind="credentials", cause="wrong password; check it")}, ["login"]),
        ({"login": Login(kind="certificate", cause="it wants another one; x")}, ["client_certificate"]),
        ({"login": Login(kind="silent", cause="the connection was not answered")}, ["silent"]),
        ({"login": Login(kind="closed", cause="closed; is this TLS?")}, ["not_a_broker"]),
        ({"login": Login(kind="closed", cause="the broker is not available yet")}, ["broker_refuses"]),
        ({"login": Login(linked=True, mqtt5=True, anonymous=True)}, ["anonymous"]),
        ({"target": replace(FAR, scheme="mqtt")}, ["(plain_password)"]),
        ({"target": replace(FAR, scheme="mqtt", host="127.0.0.1")}, []),
        ({"target": replace(FAR, source_id="line-3")}, ["name_is_not_user"]),
        ({"target": replace(FAR, source_id="")}, ["engine_without_name"]),
        ({"cut": True}, ["denial_cuts_link"]),
        ({"size": 65_536}, ["size"]),
        ({"refused": "the broker is not available yet; try again"}, ["links_refused"]),
        ({"refused": "closed", "rights": {}, "unread": ("cascade/constraints/#",)}, ["links_refused", "read_denied"]),
        ({"untried": "press-3", "retained": None}, ["(not_tried)"]),
        ({"over_nats": True}, ["(two_networks)"]),
        ({"keeps_none": True, "retained": None}, ["(not_tried)"]),
        ({"unread": ("cascade/constraints/#",)}, ["read_denied"]),
        ({"unread": ("cascade/status/+",)}, ["(read_denied)"]),
        ({"retained": Retained(100, exact=False, received=0)}, ["not_retained"]),
        ({"retained": Retained(100, exact=True, received=0)}, ["no_wildcards"]),
        ({"inflight": 19}, ["(inflight)"]),
        ({"inflight": 20}, []),
        ({"retained": Retained(100, exact=True, received=20)}, ["set_cut"]),
        ({"retained": Retained(100, exact=True, received=100, late=3)}, ["(order)"]),
        ({"retained": Retained(1200, exact=True, received=1200, queued=1020), "configuration": None},
         ["(queue)", "(persistence_unknown)"]),
        ({"late_by": {"press-4": 60.0}}, ["clock"]),
        ({"late_by": {"press-4": -60.0}}, ["clock"]),
        ({"late_by": {"press-4": 1.0}}, []),
        ({"births": {"press-4": {"s1", "s2", "s3"}}}, ["collision"]),
        ({"births": {"press-4": {"s1", "s2"}}}, []),
        ({"view": contested("press-4")}, ["collision"]),
        ({"leftovers": 4}, ["(ghosts)"]),
        ({"configuration": None}, ["(persistence_unknown)"]),
        ({"configuration": Configuration("docker-proxy")}, ["(persistence_unknown)"]),
        ({"configuration": Configuration("nats-server")}, []),
        ({"configuration": Configuration("mosquitto")}, ["persistence", "(queue)", "(sessions)"]),
        ({"stored_sessions": 49}, []),
        ({"stored_sessions": 50}, ["sessions_stored"]),
        ({"stored_sessions": 50, "configuration": None}, ["(persistence_unknown)", "sessions_stored"]),
        ({"configuration": Configuration("mosquitto", {**CONFIGURED.settings, "max_queued_messages": "0"})},
         ["queue_unlimited"]),
        ({"configuration": Configuration("mosquitto", {**CONFIGURED.settings, "autosave_interval": "1800"})},
         ["(autosave)"]),
        ({"configuration": Configuration("mosquitto", {**CONFIGURED.settings, "autosave_interval": "0"})},
         ["(autosave)"]),
        ({"configuration": Configuration(
            "mosquitto", {**CONFIGURED.settings, "autosave_on_changes": "true", "autosave_interval": "1000"})},
         ["(autosave)"]),
        ({"configuration": Configuration("mosquitto", {**CONFIGURED.settings, "persistence": "0"})}, ["persistence"]),
        ({"configuration": Configuration(
            "mosquitto", {**CONFIGURED.settings, "persistence": "1", "autosave_on_changes": "1", "autosave_interval": "1"})}, []),
        ({"limitations": (lacks(Lacking.STORE), lacks(Lacking.TELEMETRY))}, ["no_jetstream"]),
        ({"limitations": (lacks(Lacking.STORE_RIGHTS),)}, ["jetstream_denied"]),
        ({"limitations": (lacks(Lacking.STORE_SETTINGS),)}, ["foreign_bucket"]),
        ({"limitations": (lacks(Lacking.STORE_ANSWER),)}, ["jetstream_fails"]),
        ({"limitations": (lacks(Lacking.PRESENCE), lacks(Lacking.TELEMETRY))},
         ["no_presence", "telemetry_not_kept"]),
        ({"limitations": (lacks(Lacking.ONE_SET),)}, ["(two_networks)"]),
        ({"target": replace(FAR, scheme="nats"), "login": Login(kind="certificate", cause="TLS failed")}, ["tls_wanted"]),
        ({"websocket": False}, ["(websocket)"]),
        ({"sqlite": "3.40.1"}, ["(sqlite)"]),
        ({"files": Files(exposed=("CASCADE_MQTT_PASSWORD_FILE",))}, ["exposed_file"]),
        ({"files": Files(end="the certificate c.pem expired on 2026-01-01; renew it")}, ["client_certificate_end"]),
        ({"files": Files(end="the certificate c.pem expires in 4 days, on 2026-01-01; renew it")},
         ["(client_certificate_end)"]),
    ],
)  # fmt: skip
def test_each_fault_is_named_and_nothing_else(change: dict[str, object], expected: list[str]) -> None:
    """One fault at a time, in a broker that is in order otherwise."""
    facts = replace(good(), **change)  # type: ignore[arg-type]
    if facts.reachability is not None and facts.reachability.fault:
        facts = Facts(FAR, reachability=facts.reachability)
    elif facts.certificate is not None and (facts.certificate.code or facts.certificate.detail):
        facts = Facts(FAR, reachability=Reachability(), certificate=facts.certificate)
    assert names(facts) == expected
    for each in findings(facts, now=NOW):
        assert each.found
        assert each.means
        assert each.remedy


@pytest.mark.parametrize(
    ("rights", "user", "local", "expected"),
    [
        ({PRESENCE: right("p", returned=True)}, "", False, ["no_rules"]),
        ({PRESENCE: right("p", returned=True)}, "", True, ["(no_rules)"]),
        ({PRESENCE: right("p", returned=True)}, "ann", False, ["(no_rules)"]),
        ({SYNC: right("cascade/sync/doctor-1/doctor-1", refused=True)}, "press-3", False, ["sync_denied"]),
        ({PROGRESS: right("cascade/telemetry/local/default/d/progress", refused=True)}, "press-3", False,
         ["progress_denied"]),
        ({EVENTS: right("cascade/telemetry/local/default/d/events", refused=True),
          PROGRESS: right("cascade/telemetry/local/default/d/progress", refused=True)}, "press-3", False,
         ["telemetry_denied"]),
        ({"steering": right("cascade/constraints/source/d/@pause", refused=True)}, "press-3", False,
         ["steering_denied"]),
    ],
)  # fmt: skip
def test_each_missing_right_is_named(
    rights: dict[str, Right], user: str, local: bool, expected: list[str]
) -> None:
    """With the rule that is missing; an open broker on this machine only is a warning."""
    facts = good()
    facts.rights |= rights
    facts.target = Target("mqtts", "127.0.0.1" if local else "broker.example", 8883, user, user)
    assert names(facts) == expected
    for each in findings(facts, now=NOW):
        assert "rule" in each.remedy


def test_an_engine_whose_reports_do_not_arrive_is_a_warning_with_both_rules() -> None:
    """Every engine with a birth retains them: its own rules may be missing, or those of this user."""
    view = View()
    birth = {"status": "online", "session": "s1", "ts": datetime.fromtimestamp(NOW, UTC).isoformat()}
    view.fold("cascade/status/a", json.dumps(birth).encode(), now=1.0, retained=True)
    (found,) = findings(replace(good(), view=view), now=NOW)
    assert (found.name, found.warning) == ("no_reports", True)
    assert found.steps == ("topic write cascade/state/a/+", "topic read cascade/state/+/+")


def test_engines_that_a_broker_has_lost_are_named() -> None:
    """A clock that is ahead, a store that was lost, reports without a birth."""
    view = View()
    birth = {"status": "online", "session": "s1", "ts": datetime.fromtimestamp(NOW + 3600, UTC).isoformat()}
    report = {"v": "1.0", "source": "b", "session": "x", "sync": "stale", "applied": {}, "presence": "gone"}
    view.fold("cascade/status/a", json.dumps(birth).encode(), now=1.0, retained=True)
    view.fold("cascade/state/b/constraints", json.dumps(report).encode(), now=1.0, retained=True)
    facts = replace(good(), view=view)
    assert names(facts) == ["clock", "store_lost", "(no_reports)", "(no_birth)"]
    assert "a differs from this machine's: a by +3600 s" in findings(facts, now=NOW)[0].text


def test_the_page_names_every_finding() -> None:
    """And no other one."""
    package = Path(examination.__file__).parent
    calls = [
        node
        for path in package.glob("*_checks.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding"
    ]
    names = {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}
    names |= {"dns", "refused", "silent", "unreachable"}
    page = (Path(__file__).parents[1] / "docs" / "doctor.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page.partition("## What it finds")[2], re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == names


def printed(facts: Facts) -> list[str]:
    """What a person reads on a wide terminal."""
    return list(lines_of(facts, *parted(findings(facts, now=NOW)), 200))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {},
            [
                "broker.example:8883 accepts connections",
                "TLS: the certificate is valid",
                "linked as press-3: MQTT 3.1.1 and 5",
                "may write and read: any sync topic",
                "retained messages: 100 of 100, in order",
                "a message of 64 KiB arrives",
                "engines: 0, constraints: 0",
            ],
        ),
        (
            {
                "target": replace(FAR, user=""),
                "login": Login(linked=True),
                "version": "mosquitto 2.0.22",
                "inflight": 1000,
                "rights": {PRESENCE: right("p", refused=True)},
                "retained": Retained(100, exact=True, received=100, late=1),
                "size": 65_536,
                "view": None,
            },
            [
                "broker.example:8883 accepts connections",
                "TLS: the certificate is valid",
                "linked: MQTT 3.1.1; it does not speak MQTT 5",
                "the broker identifies itself as mosquitto 2.0.22",
                "messages in flight at a time: 1,000",
            ],
        ),
        (
            {"certificate": None, "rights": {}, "retained": None, "untried": "press-4", "view": None},
            [
                "broker.example:8883 accepts connections",
                "linked as press-3: MQTT 3.1.1 and 5",
                "a message of 64 KiB arrives",
            ],
        ),
        (
            {"reachability": None, "certificate": None, "target": replace(FAR, scheme="tls"), "rights": {},
             "retained": None, "view": None},
            ["linked as press-3: NATS"],
        ),
        ({"certificate": Certificate(10), "login": Login()}, ["broker.example:8883 accepts connections"]),
        ({"certificate": Certificate(detail="WRONG_VERSION"), "login": None, "reachability": Reachability("silent")}, []),
    ],
)  # fmt: skip
def test_what_is_in_order_is_listed_first(change: dict[str, object], expected: list[str]) -> None:
    """Only what was tried and went well; a person sees how far the examination has come."""
    lines = printed(replace(good(), **change))  # type: ignore[arg-type]
    assert [line.removeprefix("ok       ") for line in lines if line.startswith("ok ")] == expected
    assert lines[: len(expected)] == [f"ok       {each}" for each in expected]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            {"late_by": {"press-4": 60.0}},
            "the clock of press-4 differs from this machine's: press-4 by -60 s",
        ),
        (
            {"late_by": {"a": 6.0, "b": 7.0, "c": 90.0, "d": 8.0, "e": 9.0, "f": 5.0}},
            "the clock of a, b, c and 2 more differs from this machine's: c by -90 s",
        ),
        (
            {"certificate": Certificate(ends=NOW + 3.5 * 86_400)},
            "the broker's certificate expires in 3 days, on 2027-01-18",
        ),
        ({"inflight": 19}, "the broker takes 19 unacknowledged messages at a time"),
        ({"retained": Retained(1000, exact=True, received=20)}, "got 20 of 1,000 retained messages"),
        (
            {"retained": Retained(1000, exact=True, received=1000, late=3)},
            "3 of 1,000 retained messages came",
        ),
    ],
)
def test_a_finding_has_the_figures_that_were_measured(change: dict[str, object], text: str) -> None:
    """With their sign and unit: a clock whose messages come late is behind."""
    (found,) = findings(replace(good(), **change), now=NOW)  # type: ignore[arg-type]
    assert text in found.text


def test_an_engine_that_could_not_confirm_its_constraints_is_a_warning() -> None:
    """It may obey an old set; one that is in sync is none."""
    view = View()
    for source, sync in (("a", "degraded"), ("b", "synced")):
        birth = {"status": "online", "session": "s1", "ts": datetime.fromtimestamp(NOW, UTC).isoformat()}
        report = {"v": "1.0", "source": source, "session": "x", "sync": sync, "applied": {}, "presence": "s1"}
        view.fold(f"cascade/status/{source}", json.dumps(birth).encode(), now=1.0, retained=True)
        view.fold(f"cascade/state/{source}/constraints", json.dumps(report).encode(), now=1.0, retained=True)
    (found,) = findings(replace(good(), view=view), now=NOW)
    assert (found.name, found.warning) == ("degraded", True)
    assert found.text.startswith("a could not confirm")


@pytest.mark.parametrize(
    ("scope", "change", "found"),
    [
        ("global", {}, True),
        ("task:audit", {}, True),
        ("source:a", {}, True),
        ("project:default", {}, True),
        ("source:b", {}, False),
        ("project:other", {}, False),
        (
            "global",
            {"applied": {"cascade/constraints/global/@pause": {"id": "", "status": "applied"}}},
            False,
        ),
        (
            "global",
            {"applied": {"cascade/constraints/global/@pause": {"id": "", "status": "rejected"}}},
            False,
        ),
        ("global", {"sync": "syncing"}, False),
        ("global", {"sync": "degraded"}, True),
        ("global", {"more": 1}, False),
        ("global", {"presence": "another"}, False),
    ],
)
def test_a_constraint_that_rules_hide_from_an_engine_is_a_problem(
    scope: str, change: dict[str, Any], found: bool
) -> None:
    """Row 51: the engine says that it is in sync, and starts what a pause on the broker should hold."""
    view, topic = View(), constraint_topic(scope, "pause")
    birth = {"status": "online", "session": "s1", "ts": datetime.fromtimestamp(NOW, UTC).isoformat()}
    report = {"v": "1.0", "source": "a", "session": "x", "sync": "synced", "applied": {}, "presence": "s1"}
    runs = {"v": "1.0", "source": "a", "session": "x", "presence": "s1", "project_id": "default", "runs": []}
    for each, content in (
        ("cascade/status/a", birth),
        ("cascade/state/a/constraints", {**report, "effective": [], **change}),
        ("cascade/state/a/runs", runs),
        (topic, {"type": "pause"}),
    ):
        view.fold(each, json.dumps(content).encode(), now=time.monotonic(), retained=True)
    hidden = [
        each for each in findings(replace(good(), view=view), now=NOW) if each.name == "hidden_constraints"
    ]
    assert [(each.found, each.warning) for each in hidden] == (
        [(f"a does not report constraints that the broker holds: {topic}", False)] if found else []
    )


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
        ("broker_refuses", {"login": Login(kind="closed", cause="the broker is full")}, 'the broker is full', 'check its log', ()),
        ("not_a_broker", {"login": Login(kind="closed", cause="closed; hm")}, 'broker.example:8883 accepts the connection and does not speak MQTT: closed', 'check host, port and scheme: mqtt://host:1883, mqtts://host:8883, ws://host:8080', ()),
        ("not_a_broker", {"target": NATS, "login": Login(kind="closed", cause="closed; hm")}, 'broker.example:4222 accepts the connection and does not speak NATS: closed', 'check host, port and scheme: nats://host:4222, or tls:// with TLS', ()),
        ("size", {"size": 65_536, "target": NATS}, 'a message of 65,536 bytes does not come back', 'permit packets of at least 128 KiB', ('max_payload: 1048576',)),
        ("size", {"size": 65_536}, 'a message of 65,536 bytes does not come back', 'permit packets of at least 128 KiB', ('max_packet_size 4194304',)),
        ("not_tried", {"untried": "press-3", "retained": None}, 'retained messages were not tried: press-3 is online', 'run this while the engine is stopped, or as another user', ()),
        ("not_tried", {"keeps_none": True, "retained": None}, 'retained messages were not tried: press-3 may keep none', "run this as an engine's user or an operator; the rules of cascade acl give both topics for test messages", ()),
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
        ("autosave", {"configuration": Configuration("mosquitto", {"persistence": "true", "max_queued_messages": "65000"})}, 'the broker writes its store every 1800 s only', 'have it write every second, and restart it', ('autosave_on_changes false', 'autosave_interval 1')),
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
        ({"configuration": Configuration("mosquitto", {"persistence": "1", "autosave_interval": "10", "max_queued_messages": "odd", "persistent_client_expiration": "1m"})}, []),
        ({"configuration": None, "target": NATS, "files": Files()}, ["plain_password"]),
        ({"certificate": Certificate(ends=NOW - 10)}, ["certificate_end"]),
    ],
)  # fmt: skip
def test_what_cannot_be_known_or_follows_from_something_else_is_not_named(
    change: dict[str, Any], expected: list[str]
) -> None:
    """One cause is one finding; MQTT 3.1.1 does not say what it denies."""
    assert [each.name for each in findings(replace(good(), **change), now=NOW)] == expected


LOST = Finding("lost", "a thing that was there has gone", "work stops", "bring it back again", ("mv a b",))
SLOW = Finding("slow", "it is slow", "one waits", "wait", warning=True)


def test_a_line_that_is_too_long_goes_on_below_its_text() -> None:
    """The continuation stands in the column of the text, so that the words on the left can be found."""
    assert list(plan_of([LOST, SLOW], 24)) == [
        "1. bring it back again",
        "  (lost)",
        "     mv a b",
        "2. wait (slow)",
    ]
    long = replace(LOST, remedy="bring it back again from the place where it is now")
    assert list(plan_of([long], 50)) == [
        "1. bring it back again from the place where it is",
        "   now (lost)",
        "     mv a b",
    ]
    facts = Facts(FAR, reachability=Reachability("refused"))
    assert list(lines_of(facts, [LOST], [SLOW], 50)) == [
        "problem  lost: a thing that was there has gone",
        "         It means: work stops.",
        "         To do: bring it back again.",
        "",
        "warning  slow: it is slow",
        "         It means: one waits.",
        "         To do: wait.",
        "",
        "1 problem, 1 warning; cascade doctor --fix-plan",
        "lists what to do",
    ]
    assert list(lines_of(facts, [LOST], [], 49))[:4] == [
        "problem  lost: a thing that was there has gone",
        "It means: work stops.",
        "To do: bring it back again.",
        "",
    ]
    far = replace(LOST, found="a thing that was there has gone to another place")
    assert list(lines_of(facts, [far], [], 50))[:2] == [
        "problem  lost: a thing that was there has gone to",
        "         another place",
    ]
    assert list(lines_of(facts, [far], [], 49))[1] == "  to another place"
    assert list(lines_of(facts, [far], [], 40))[:2] == [
        "problem  lost: a thing that was there",
        "  has gone to another place",
    ]


def test_everything_that_may_be_written_is_named() -> None:
    """In words, in this order, whatever the order of the trials."""
    topics = (STEERING, OWN_SYNC, SYNC, PROGRESS, EVENTS, PRESENCE)
    facts = replace(good(), rights={name: Right(name, returned=True) for name in topics})
    (line,) = [each for each in lines_of(facts, [], [], 200) if "may write" in each]
    expected = "any presence, telemetry, any sync topic, its own sync topic, constraints"
    assert line == f"ok       may write and read: {expected}"


def test_the_clock_and_the_certificate_count_in_days_and_seconds() -> None:
    """A certificate is named 21 days before its end, a clock from 5 seconds on."""
    day = 86_400

    def named(**change: Any) -> list[str]:
        return [each.name for each in findings(replace(good(), **change), now=NOW)]

    assert named(certificate=Certificate(ends=NOW + 21 * day)) == []
    assert named(certificate=Certificate(ends=NOW + 21 * day - 1)) == ["certificate_end"]
    (found,) = findings(replace(good(), certificate=Certificate(ends=NOW + 2.5 * day)), now=NOW)
    assert found.found == "the broker's certificate expires in 2 days, on 2027-01-17"
    assert named(late_by={"a": 5.0}) == []
    assert named(late_by={"a": -5.1}) == ["clock"]
    (found,) = findings(replace(good(), late_by={"a": 9.0, "b": 8.0, "c": 7.0}), now=NOW)
    assert found.found == "the clock of a, b, c differs from this machine's: a by -9 s"
    (found,) = findings(
        replace(good(), late_by={"a": 9.0, "b": -60.0, "c": 7.0, "d": 8.0, "e": 1.0}), now=NOW
    )
    assert found.found == "the clock of a, b, c and 1 more differs from this machine's: b by +60 s"


def test_words_are_broken_nowhere() -> None:
    """Neither at a hyphen nor where a command is longer than the line."""
    copied = replace(SLOW, remedy="mosquitto_passwd --some-long-option-name value")
    assert list(plan_of([copied], 20)) == [
        "1. mosquitto_passwd",
        "  --some-long-option-name",
        "  value (slow)",
    ]
    assert all(len(line) <= 20 for line in plan_of([replace(SLOW, remedy="one two three " * 9)], 1))
