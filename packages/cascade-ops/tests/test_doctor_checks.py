"""What ``cascade doctor`` makes of facts, and what it prints: without a network."""

import ast
import asyncio
import errno
import json
import os
import re
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
import trustme
from doctor_facts import CONFIGURED, FAR, NOW, good, right
from hypothesis import given
from hypothesis import strategies as st

from cascade.interfaces.limitation import Lacking, Limitation
from cascade.interfaces.wire.write import encode_payload
from cascade.ops._commands.doctor import findings
from cascade.ops._doctor import examination, network_probes
from cascade.ops._doctor.broker_probes import Examined, try_size
from cascade.ops._doctor.examination import files_of, target_of
from cascade.ops._doctor.facts import (
    Certificate,
    Configuration,
    Facts,
    Files,
    Login,
    Reachability,
    Retained,
    Right,
    Target,
)
from cascade.ops._doctor.finding import parted
from cascade.ops._doctor.local_server import local_configuration, parse_mosquitto
from cascade.ops._doctor.network_probes import try_port, try_tls
from cascade.ops._doctor.report import lines_of, plan_of
from cascade.ops._doctor.rights_checks import EVENTS, PRESENCE, PROGRESS, SYNC
from cascade.wire import View


def lacks(what: Lacking) -> Limitation:
    """A guarantee that a connector misses."""
    return Limitation(what, "it has none", "get one")


def names(facts: Facts) -> list[str]:
    """Problems by name, and warnings in brackets."""
    return [f"({each.name})" if each.warning else each.name for each in findings(facts, now=NOW)]


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    """Not even a warning."""
    assert names(good()) == []


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
        ({"retained": Retained(100, exact=True, received=20)}, ["set_cut"]),
        ({"retained": Retained(100, exact=True, received=100, late=3)}, ["(order)"]),
        ({"retained": Retained(1200, exact=True, received=1200, queued=1020), "configuration": None},
         ["(queue)", "(persistence_unknown)"]),
        ({"late_by": {"press-4": 60.0}}, ["clock"]),
        ({"late_by": {"press-4": -60.0}}, ["clock"]),
        ({"late_by": {"press-4": 1.0}}, []),
        ({"births": {"press-4": {"s1", "s2", "s3"}}}, ["collision"]),
        ({"births": {"press-4": {"s1", "s2"}}}, []),
        ({"leftovers": 4}, ["(ghosts)"]),
        ({"configuration": None}, ["(persistence_unknown)"]),
        ({"configuration": Configuration("docker-proxy")}, ["(persistence_unknown)"]),
        ({"configuration": Configuration("nats-server")}, []),
        ({"configuration": Configuration("mosquitto")}, ["persistence", "(queue)"]),
        ({"configuration": Configuration("mosquitto", {**CONFIGURED.settings, "max_queued_messages": "0"})},
         ["queue_unlimited"]),
        ({"configuration": Configuration("mosquitto", {**CONFIGURED.settings, "autosave_on_changes": "false"})},
         ["(autosave)"]),
        ({"configuration": Configuration("mosquitto", {**CONFIGURED.settings, "persistence": "0"})}, ["persistence"]),
        ({"configuration": Configuration(
            "mosquitto", {**CONFIGURED.settings, "persistence": "1", "autosave_on_changes": "1"})}, []),
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
    ("cause", "remedy"),
    [
        ("wrong password; renew the token", "renew the token"),
        ("wrong password", "check the user, and the password in CASCADE_MQTT_PASSWORD or CASCADE_MQTT_PASSWORD_FILE"),
    ],
)  # fmt: skip
def test_what_the_connector_knows_of_a_refused_login_is_the_remedy(cause: str, remedy: str) -> None:
    """It has seen the settings; otherwise the variables are named that can be wrong."""
    facts = replace(good(), login=Login(kind="credentials", cause=cause))
    (found,) = findings(facts, now=NOW)
    assert (found.found, found.remedy) == ("wrong password", remedy)


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


def test_engines_that_a_broker_has_lost_are_named() -> None:
    """A clock that is ahead, a store that was lost, reports without a birth."""
    view = View()
    birth = {"status": "online", "session": "s1", "ts": datetime.fromtimestamp(NOW + 3600, UTC).isoformat()}
    report = {"v": "1.0", "source": "b", "session": "x", "sync": "stale", "applied": {}, "presence": "gone"}
    view.fold("cascade/status/a", json.dumps(birth).encode(), now=1.0, retained=True)
    view.fold("cascade/state/b/constraints", json.dumps(report).encode(), now=1.0, retained=True)
    facts = replace(good(), view=view)
    assert names(facts) == ["clock", "store_lost", "(no_birth)"]
    assert "a differs from this machine's: a by +3600 s" in findings(facts, now=NOW)[0].text


@given(st.integers(1, 200), st.booleans())
def test_no_line_is_wider_than_the_terminal(width: int, wide: bool) -> None:
    """But for words and commands that have no place to break."""
    facts = (
        Facts(FAR, reachability=Reachability("refused"), login=None)
        if wide
        else replace(good(), cut=True, size=65_536)
    )
    problems, warnings = parted(findings(facts, now=NOW))
    lines = list(lines_of(facts, problems, warnings, width))
    assert all(len(line) <= max(width, 20) or " " not in line.strip() for line in lines)
    assert any("problem" in line for line in lines)
    assert list(plan_of([], width)) == ["nothing to do"]


def test_a_plan_holds_the_lines_to_copy() -> None:
    """Each step with its commands, which are not wrapped."""
    facts = replace(good(), configuration=Configuration("mosquitto"))
    problems, warnings = parted(findings(facts, now=NOW))
    assert list(plan_of([*problems, *warnings], 100)) == [
        "1. switch persistence on, and restart the broker (persistence)",
        "     persistence true",
        "     autosave_on_changes true",
        "     autosave_interval 1000",
        "2. raise the limit, and restart the broker (queue)",
        "     max_queued_messages 65000",
    ]


def test_a_configuration_is_read_as_mosquitto_reads_it() -> None:
    """The last value counts; a listener with websockets is known by its port."""
    text = "#x y\npersistence false\nlistener 1883 127.0.0.1\n\nlistener 9001\nprotocol websockets\npersistence true\n"
    found = parse_mosquitto(tuple(text.splitlines()))
    settings = {"persistence": "true", "listener": "9001", "protocol": "websockets"}
    assert (found.settings, found.websockets) == (settings, (9001,))
    lines = ("listener 9002 0.0.0.0", "protocol websockets", "listener /run/m.sock", "protocol websockets")
    assert parse_mosquitto(lines).websockets == (9002,)


def test_a_server_of_this_machine_is_found_by_its_port(tmp_path: Path) -> None:
    """Its file is read, and those in a folder that it includes, from where it runs; other processes are not looked at further."""
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(
        "sl\n0: 0100007F:075B 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n1: 0100007F:075C 0:0 01 0:0 0:0 0 0 0 9 1\n"
    )
    folder = tmp_path / "conf.d"
    folder.mkdir()
    (folder / "a.conf").write_text("persistence true\n")
    (tmp_path / "m.conf").write_text("include_dir conf.d\n")
    for number, command in (("12", "sshd"), ("13", f"/usr/sbin/mosquitto\0-c\0{tmp_path}/m.conf\0")):
        process = tmp_path / number
        (process / "fd").mkdir(parents=True)
        (process / "cmdline").write_text(command)
        (process / "fd" / "3").symlink_to(f"socket:[{4711 if number == '13' else 1}]")
        (process / "cwd").symlink_to(tmp_path)
    assert local_configuration(1883, proc=tmp_path) == Configuration(
        "mosquitto", {"include_dir": "conf.d", "persistence": "true"}, ()
    )
    assert local_configuration(1884, proc=tmp_path) is None


def test_a_url_is_read_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of an engine is in the URL, or in the environment."""
    assert target_of("mqtts://a%20b:pw@h?source_id=x") == Target("mqtts", "h", 8883, "a b", "x")
    monkeypatch.setenv("CASCADE_SOURCE_ID", "y")
    assert target_of("mqtt://h:1") == Target("mqtt", "h", 1, "", "y")
    assert "pw" not in repr(target_of("mqtts://a:pw@h"))


def test_files_with_secrets_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their mode, and the end of a client's certificate."""
    path = tmp_path / "password"
    path.write_text("pw")
    path.chmod(0o644)
    leaf = trustme.CA().issue_cert("c", not_after=datetime.now(UTC) - timedelta(1))
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "c.pem"))
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD_FILE", str(path))
    monkeypatch.setenv("CASCADE_MQTT_CERT", str(tmp_path / "c.pem"))
    found = files_of(os.environ)
    assert found.exposed == ("CASCADE_MQTT_PASSWORD_FILE",)
    assert "expired on" in found.end


@asynccontextmanager
async def answering(leaf: trustme.LeafCert | None) -> AsyncIterator[int]:
    """A port that speaks TLS to one client, or answers like a web server."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            client, _ = server.accept()
            client.settimeout(20)
            with client, suppress(OSError):
                if leaf is None:
                    client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    client.recv(1 << 16)
                    return
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                leaf.configure_cert(context)
                with context.wrap_socket(client, server_side=True) as secured:
                    secured.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        await asyncio.to_thread(thread.join)  # the loop closes its end meanwhile


async def test_tls_faults_are_told_apart(tmp_path: Path) -> None:
    """Expired, not yet valid, another name, an unknown authority, no TLS at all."""
    now = datetime.now(UTC)
    authority, other = trustme.CA(), trustme.CA()
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    issued = {
        "good": authority.issue_cert("127.0.0.1", not_after=now + timedelta(5)),
        "expired": authority.issue_cert(
            "127.0.0.1", not_before=now - timedelta(9), not_after=now - timedelta(1)
        ),
        "early": authority.issue_cert(
            "127.0.0.1", not_before=now + timedelta(1), not_after=now + timedelta(9)
        ),
        "name": authority.issue_cert("elsewhere.example"),
        "authority": other.issue_cert("127.0.0.1"),
        "plain": None,
    }
    found: dict[str, list[str]] = {}
    for name, leaf in issued.items():
        async with answering(leaf) as port:
            target = Target("mqtts", "127.0.0.1", port)
            seen = await try_tls(target, trusted)
        facts = Facts(target, reachability=Reachability(), certificate=seen)
        found[name] = [each.name for each in findings(facts, now=now.timestamp())]
    assert found == {
        "good": ["certificate_end"],
        "expired": ["certificate_expired"],
        "early": ["clock"],
        "name": ["certificate_name"],
        "authority": ["certificate_authority"],
        "plain": ["tls"],
    }


async def test_faults_of_the_way_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that the DNS does not know, a port that refuses, one that does not answer, a network that is down."""
    faults: list[tuple[BaseException, str]] = [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "dns"),
        (ConnectionRefusedError(), "refused"),
        (TimeoutError(), "silent"),
        (OSError(errno.EHOSTUNREACH, "no route"), "unreachable"),
        (UnicodeError(), "dns"),
    ]
    for error, expected in faults:

        async def fail(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(asyncio, "open_connection", fail)
        assert (await try_port(Target("mqtt", "127.0.0.1", 1))).fault == expected


async def test_a_dns_that_does_not_answer_is_told_from_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lookup has a time limit of its own."""

    async def wait(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(network_probes, "LOOKUP_SECONDS", 0.0)
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", wait)
    assert await try_port(Target("mqtt", "broker.example", 1)) == Reachability(
        "dns", "the DNS does not answer"
    )


async def test_a_large_message_has_64_kib() -> None:
    """As many as a report may have: the payload is counted, not the text in it."""
    sent: list[str] = []

    class Once:
        async def subscribe(self, topic: str, callback: Callable[..., Awaitable[None]]) -> "Once":
            self.callback = callback
            return self

        async def publish(self, topic: str, payload: dict[str, object], qos: int) -> None:
            sent.append(encode_payload(payload)[0])
            await self.callback(topic, payload)

        async def unsubscribe(self) -> None:
            pass

    assert await try_size(cast(Examined, Once()), "cascade/sync/x/x") is None
    assert [len(each) for each in sent] == [64 * 1024]


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
    page = (Path(__file__).parents[1] / "README.md").read_text("utf-8").partition("## Examine a broker")[2]
    rows = re.findall(r"^\| (`.*?) \|", page.partition("\n## ")[0], re.MULTILINE)
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
                "the broker says that it is mosquitto 2.0.22",
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


def test_the_last_line_counts_the_findings_and_names_the_plan() -> None:
    """Where there is something to do; an empty line stands before each finding but the first on the page."""
    assert printed(good())[-2:] == ["", "no problems, no warnings"]
    lines = printed(replace(good(), cut=True, size=65_536, leftovers=4))
    assert lines[-1] == "2 problems, 1 warning; cascade doctor --fix-plan lists what to do"
    heads = [number for number, line in enumerate(lines) if line.startswith(("problem", "warning"))]
    assert [lines[number - 1] for number in heads] == ["", "", ""]
    soon = Files(end="the certificate c.pem expires in 4 days; renew it")
    lines = printed(Facts(FAR, files=soon, reachability=Reachability("refused")))
    assert lines[0].startswith("problem  refused: ")
    assert lines[lines.index("") + 1].startswith("warning  client_certificate_end: ")
    plan = "no problems, 1 warning; cascade doctor --fix-plan lists what to do"
    assert printed(replace(good(), leftovers=4))[-1] == plan


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


def test_twenty_messages_in_flight_are_enough() -> None:
    """A broker allows so many as it is installed."""
    assert names(replace(good(), inflight=20)) == []


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
