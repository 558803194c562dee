"""``cascade acl``: the rules of each role on a real mosquitto, and a configuration with them that starts."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from paho.mqtt.enums import MQTTProtocolVersion
from roles import MATRIX, PASSWORD, ROLES, USERS, Client, printed_rules

from cascade.cli import main
from cascade.interfaces.access import permits, rules
from cascade.interfaces.broker_programs import Child
from cascade.testkit.brokers import Mosquitto
from cascade.testkit.fixtures import require_mosquitto
from cascade.testkit.ports import free_port
from testing_tools.certificates import make_certificates
from testing_tools.engines import eventually


def test_the_rules_are_those_of_the_table() -> None:
    """Pure: the same table that the broker is tested with."""
    found = rules(ROLES)
    for topic, (writers, readers) in MATRIX.items():
        assert {user for user in USERS if permits(found, user, "write", topic)} == writers, topic
        assert {user for user in USERS if permits(found, user, "read", topic)} == readers, topic


@pytest.fixture
def guarded() -> Iterator[Mosquitto]:
    """A broker with the rules, and one user more who may do everything."""
    require_mosquitto()
    acl = [*printed_rules(ROLES), "user witness", "topic readwrite #"]
    users = dict.fromkeys((*USERS, "witness"), PASSWORD)
    with Mosquitto(users=users, acl=acl, max_queued_messages=65_000) as broker:
        yield broker


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5])
@pytest.mark.wrong_messages("each user tries each topic, in each way", "cascade/#")
def test_each_role_may_do_what_the_table_says_and_nothing_else(
    guarded: Mosquitto, version: MQTTProtocolVersion
) -> None:
    """Every user, topic, QoS 0 and 1, retained or not; a denied message never cuts the link (K4)."""
    ways = [(qos, retain) for qos in (0, 1) for retain in (False, True)]
    with ExitStack() as stack:
        witness = stack.enter_context(Client(guarded, "witness", version))
        witness.subscribe("#")
        clients = [stack.enter_context(Client(guarded, user, version)) for user in USERS]
        for client in clients:
            client.subscribe("#")
            for topic in MATRIX:
                for qos, retain in ways:
                    client.publish(topic, f"{client.user} {qos} {retain}", qos, retain=retain)
            client.publish(
                "elsewhere", "the last one, which is answered behind those of QoS 0", 1, retain=False
            )
        for client in clients:
            client.settle()
        witness.publish("end", "", 1, retain=False)
        eventually(lambda: ("end", b"") in witness.received, "the witness has everything")
        expected = {
            (topic, f"{user} {qos} {retain}".encode())
            for topic, (writers, _) in MATRIX.items()
            for user in writers
            for qos, retain in ways
        }
        assert witness.received == expected | {("end", b"")}
        for topic in MATRIX:
            witness.publish(topic, "to read", 1, retain=False)
        witness.settle()
        for client in clients:
            readable = {topic for topic, (_, readers) in MATRIX.items() if client.user in readers}
            eventually(
                lambda client=client, readable=readable: (
                    readable  # type: ignore[misc]
                    <= {topic for topic, payload in client.received.copy() if payload == b"to read"}
                ),
                f"{client.user} reads what it may",
            )
            assert {topic for topic, _ in client.received.copy()} == readable
        assert [client.user for client in clients if client.cuts] == []


def test_the_page_on_security_names_every_role() -> None:
    """And the two settings that it compares."""
    page = (Path(__file__).parents[3] / ".github" / "SECURITY.md").read_text("utf-8")
    for words in ("| engine |", "| operator |", "| project lead |", "| observer |", "| collector |"):
        assert words in page
    assert "`cascade acl`" in page
    assert "allow_anonymous true" in page


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.usefixtures("patient")
def test_the_configuration_starts_and_each_user_logs_in_with_its_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the command has written it, but for the ports; secrets can be read by their owner only, and stay."""
    require_mosquitto()
    folder = tmp_path / "broker files"
    arguments = ["acl", "--engine", "press-3", "--operator", "ann", "--config", str(folder), "--json"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    written = json.loads(out)
    assert written == {
        "configuration": str(folder / "mosquitto.conf"),
        "rules": str(folder / "acl"),
        "passwords": str(folder / "secrets"),
        "tls": False,
    }
    assert err == ""
    for path in folder.rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    text = (folder / "mosquitto.conf").read_text()
    port = free_port()
    changed = text.replace("listener 1883 ", f"listener {port} ").replace(
        "listener 8080 ", f"listener {free_port()} "
    )
    (folder / "test.conf").write_text(changed)
    program = Mosquitto.find()
    assert program is not None
    child = Child([program, "-c", str(folder / "test.conf")], log=tmp_path / "log")
    try:
        eventually(lambda: " running" in (tmp_path / "log").read_text(), "mosquitto runs")
        for user in ("press-3", "ann"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("CASCADE_MQTT_PASSWORD_FILE", str(folder / "secrets" / user))
                assert main(["ps", "--broker", f"mqtt://{user}@127.0.0.1:{port}"]) == 0
        assert main(["ps", "--broker", f"mqtt://127.0.0.1:{port}"]) == 3
    finally:
        child.terminate()
    before = (folder / "secrets" / "ann").read_text()
    assert main([*arguments, "--observer", "wall"]) == 0
    assert (folder / "secrets" / "ann").read_text() == before
    assert "user wall" in (folder / "acl").read_text()


def test_tls_is_used_when_its_files_are_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without them only this machine can connect, and a note says so; a key that others can read is refused."""
    arguments = ["acl", "--operator", "ann", "--config", str(tmp_path)]
    assert main(arguments) == 0
    assert "only this machine can connect" in capsys.readouterr().err
    assert "8883" not in (tmp_path / "mosquitto.conf").read_text()
    made = make_certificates(tmp_path / "made")
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "server.pem").write_bytes(made.cert.read_bytes())
    assert main(arguments) == 2
    assert "server.key is missing; TLS needs both" in capsys.readouterr().err
    key = tmp_path / "tls" / "server.key"
    key.write_bytes(made.key.read_bytes())
    key.chmod(0o644)
    assert main(arguments) == 2
    assert f"{key} can be read by others; chmod 600 {key}" in capsys.readouterr().err
    key.chmod(0o600)
    certificate = tmp_path / "tls" / "server.pem"
    for days, code, problem in ((-1, 2, "expired on"), (5, 0, "expires in 4 days"), (90, 0, "")):
        now = datetime.now(UTC)
        leaf = trustme.CA().issue_cert("b", not_before=now - timedelta(9), not_after=now + timedelta(days))
        leaf.cert_chain_pems[0].write_to_path(str(certificate))
        assert main(arguments) == 2
        assert f"{certificate} and server.key cannot be used" in capsys.readouterr().err
        leaf.private_key_pem.write_to_path(str(key))
        assert main(arguments) == code
        assert problem in capsys.readouterr().err
    certificate.write_bytes(made.cert.read_bytes())
    key.write_bytes(made.key.read_bytes())
    assert main(arguments) == 0
    assert capsys.readouterr().err == ""
    text = (tmp_path / "mosquitto.conf").read_text()
    assert ["listener 8883", f"certfile {tmp_path}/tls/server.pem"] == text.splitlines()[-9:-7]


def test_an_option_takes_several_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one go or one by one; an engine has a project of its own, or that of the environment."""
    monkeypatch.setenv("CASCADE_ORG_ID", "acme 1")
    monkeypatch.setenv("CASCADE_PROJECT_ID", "press")
    assert main(["acl", "--engine", "a", "b=etl", "--observer", "c", "--engine=d", "--observer", "e"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("user ")] == [f"user {name}" for name in "abdce"]
    assert [line.split(" ", 2)[2] for line in lines if "telemetry" in line and "write" in line] == [
        f"cascade/telemetry/acme%201/{project}/+/+" for project in ("press", "etl", "press")
    ]
    assert main(["acl", "--observer", "wall", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert first == {"user": "wall", "verb": "read", "topic_filter": "cascade/sync/wall/+"}


def test_an_engine_without_a_project_has_the_default_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an engine has them without these variables: other topics would be denied."""
    for name in ("CASCADE_ORG_ID", "CASCADE_PROJECT_ID"):
        monkeypatch.delenv(name, raising=False)
    assert main(["acl", "--engine", "a"]) == 0
    assert "topic write cascade/telemetry/local/default/+/+" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "no user is named; pass --engine NAME"),
        (["--engine", "a/b"], "'a/b' is not a user name; write 1 to 64 of the characters"),
        (["--observer", "+"], "'+' is not a user name"),
        (["--observer", "ann\ntopic readwrite #"], "is not a user name"),
        (["--engine", "x" * 65], "is not a user name"),
        (["--lead", "bob"], "'bob' names no project; write --lead NAME=PROJECT"),
        (["--engine", "a", "--for", "emqx"], "'emqx' is not"),
        (["--engine", "a", "--config", "/dev/null/x"], "choose another folder for --config"),
        (["ann"], "unexpected extra argument"),
        (
            ["--operator", "ann", "--gate", "site/power"],
            "no engine reads site/power; pass --engine NAME, too",
        ),
        (["--engine", "a", "--gate", "site/#"], "the topic of a gate 'site/#' has a wildcard"),
        (
            ["--engine", "a", "--gate", "cascade/ack/b"],
            "topics that begin with '$' or 'cascade/' are not the plant's",
        ),
        (["--engine", "a", "--gate", "t\nuser eve"], "has a control character"),
        (
            ["--engine", "a", "--gate", " t"],
            "begins or ends with a space, which mosquitto's access list cannot",
        ),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing invalid is accepted: a name or a project can add no rule of its own."""
    assert main(["acl", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert problem in err


def test_a_project_adds_no_wildcard_and_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    """It is encoded as in every topic."""
    assert main(["acl", "--lead", "bob=#\nuser eve", "--engine", "a=+/x"]) == 0
    out = capsys.readouterr().out
    assert "topic write cascade/constraints/project/%23%0Auser%20eve/+" in out.splitlines()
    assert "topic write cascade/telemetry/local/%2B%2Fx/+/+" in out.splitlines()
