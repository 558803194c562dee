"""The files and rules that ``cascade acl`` writes, line by line: a wrong port or limit starts and fails later."""

from __future__ import annotations

import getpass
import json
import os
import stat
import sys
from pathlib import Path

import pytest
from roles import nats_rules, printed_rules

from cascade.cli import main
from cascade.interfaces.access import Roles
from testing_tools.certificates import make_certificates

HEAD = """\
# Written by cascade acl, which replaces this file.
allow_anonymous false
password_file /etc/plant/passwords
acl_file /etc/plant/acl

# Constraints are retained messages: saved every two seconds, they outlive a kill of the broker.
persistence true
autosave_on_changes false
autosave_interval 1
persistence_location /etc/plant/store/

# With a limit of 0, mosquitto 2.0.11 cuts the link of a client whose message the rules deny.
max_queued_messages 65000
max_inflight_messages 400
max_queued_bytes 67108864
max_packet_size 4194304

# Every user may leave sessions behind, and each message is queued for all of them.
persistent_client_expiration 14d
set_tcp_nodelay true
"""
OWNER = """
# Started by root, mosquitto becomes the user who owns these files.
user {}
"""
LOCAL = """
# For this machine only: MQTT, and MQTT over WebSocket.
listener 1883 127.0.0.1
listener 8080 127.0.0.1
protocol websockets
socket_domain ipv4
"""
TLS = """
# For every machine, with TLS.
listener 8883
certfile /etc/plant/tls/server.pem
keyfile /etc/plant/tls/server.key
tls_version tlsv1.2
listener 8443
protocol websockets
certfile /etc/plant/tls/server.pem
keyfile /etc/plant/tls/server.key
tls_version tlsv1.2
"""
NATS_HEAD = """\
# Written by cascade acl, which replaces this file.
server_name: "cascade"
listen: "127.0.0.1:4222"

# Constraints are retained messages; JetStream writes each one to disk.
jetstream { store_dir: "/etc/plant/store" }
"""
PLAIN = """\
mqtt { host: "127.0.0.1", port: 1883, consumer_inactive_threshold: "336h" }
websocket { host: "127.0.0.1", port: 8080, no_tls: true }
"""
CERTIFICATE = 'tls { cert_file: "/etc/plant/tls/server.pem", key_file: "/etc/plant/tls/server.key" }'
SECURED = f"""\
mqtt {{ host: "0.0.0.0", port: 8883, {CERTIFICATE}, consumer_inactive_threshold: "336h" }}
websocket {{ host: "0.0.0.0", port: 8443, {CERTIFICATE} }}
"""
ROLES = Roles(
    engines={"press": "etl"},
    operators=("ann",),
    leads={"bob": "etl.v2"},
    observers=("wall",),
    collectors=("vault",),
)


@pytest.mark.skipif(sys.platform == "win32", reason="the paths are those of POSIX")
@pytest.mark.parametrize("tls", [False, True])
def test_a_broker_reads_this_file(tls: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ports, limits and the store; it listens for others only with TLS. What comes next can be copied."""
    folder = tmp_path / "plant b"
    if tls:
        made = make_certificates(tmp_path / "made")
        (folder / "tls").mkdir(parents=True)
        (folder / "tls" / "server.pem").write_bytes(made.cert.read_bytes())
        (folder / "tls" / "server.key").write_bytes(made.key.read_bytes())
        (folder / "tls" / "server.key").chmod(0o600)
    owner = OWNER.format(getpass.getuser()) if os.geteuid() == 0 else ""
    texts = {
        "mosquitto": HEAD + owner + LOCAL + (TLS if tls else ""),
        "nats-server": f"{NATS_HEAD}{SECURED if tls else PLAIN}\nauthorization {{\n  users = [\n",
    }
    for program, text in texts.items():
        options = ["--for", program.removesuffix("-server"), "--operator", "ann", "--config", str(folder)]
        assert main(["acl", *options]) == 0
        written = (folder / f"{program}.conf").read_text()
        assert written.replace(str(folder), "/etc/plant").startswith(text)
        assert program == "nats-server" or len(written.splitlines()) == len(text.splitlines())
        out, err = capsys.readouterr()
        assert out.splitlines() == [
            f"start the broker:  {program} -c '{folder}/{program}.conf'",
            f"passwords:         {folder}/secrets",
        ]
        missing = f"{folder}/tls/server.pem and server.key"
        told = f"only this machine can connect; for others put {missing} there and run this again\n"
        assert err == ("" if tls else told)


def test_mosquitto_reads_these_rules() -> None:
    """A topic that a user reads and writes has one line; an empty line stands between two users only."""
    text = """\
user press
topic readwrite cascade/sync/press/+
topic readwrite cascade/status/press
topic readwrite cascade/state/press/+
topic write cascade/telemetry/local/etl/+/+
topic read cascade/constraints/#
topic read cascade/ack/press
topic read cascade/requests/press/+
topic write cascade/responses/press/#
topic read cascade/requests/@all/+
topic write cascade/responses/@all/#
topic readwrite cascade/leases/+

user ann
topic readwrite cascade/sync/ann/+
topic read cascade/#
topic write cascade/constraints/#
topic read $SYS/broker/clients/disconnected"""
    assert printed_rules(Roles(engines={"press": "etl"}, operators=("ann",))) == text.split("\n")


def allowed(user: str) -> dict[str, list[str]]:
    """What the rules for a nats-server permit to a user, by verb."""
    lines = iter(nats_rules(ROLES))
    found: dict[str, list[str]] = {}
    while next(lines) != f"      user: {json.dumps(user)}":
        pass
    for line in lines:
        word = line.strip()
        if word == "}":
            break
        if word.endswith("{ allow: ["):
            found[word.partition(":")[0]] = subjects = []
        elif word.startswith('"'):
            subjects.append(json.loads(word))
    return found


LOOKS = {
    *(f"$JS.API.STREAM.INFO.{name}" for name in ("KV_cascade", "cascade", "$MQTT_rmsgs")),
    "$JS.API.CONSUMER.CREATE.KV_cascade.*",
    "$JS.FC.KV_cascade.>",
}
MAKES = {"$JS.API.STREAM.CREATE.KV_cascade", "$JS.API.STREAM.CREATE.cascade"}
TAKES = {
    "$JS.API.CONSUMER.CREATE.cascade.*",
    "$JS.API.CONSUMER.MSG.NEXT.cascade.*",
    "$JS.ACK.cascade.>",
}


@pytest.mark.parametrize(
    ("user", "requests", "keys"),
    [
        ("press", LOOKS | MAKES, ["status.press", "sync.press.*", "state.press.*"]),
        ("ann", LOOKS | MAKES, ["constraints.>", "constraints", "sync.ann.*"]),
        ("bob", LOOKS, ["constraints.project.etl=2Ev2.*", "sync.bob.*"]),
        ("wall", LOOKS, []),
        ("vault", LOOKS | TAKES, ["ack.*", "sync.vault.*"]),
    ],
)
def test_each_role_asks_jetstream_for_what_it_needs_and_keeps_its_own_keys(
    user: str, requests: set[str], keys: list[str]
) -> None:
    """Only a user who retains messages makes the bucket, only a collector takes from the stream, and telemetry is never a key."""
    found = allowed(user)
    assert found.keys() == {"publish", "subscribe"}
    assert {each for each in found["publish"] if each.startswith("$JS.")} == requests
    kept = {each for each in found["publish"] if each.startswith("$KV.")}
    assert kept == {f"$KV.cascade.cascade.{key}" for key in keys}
    assert [each for each in found["subscribe"] if each.startswith("_INBOX")] == [f"_INBOX.{user}.>"]
    for subjects in found.values():
        assert len(subjects) == len(set(subjects))


def test_a_project_with_a_dot_has_a_subject_for_each_kind_of_client() -> None:
    """MQTT clients and the server's own ones write a dot differently; only a filter that is read covers the level above."""
    found = allowed("bob")
    below = "cascade.telemetry.local.etl"
    read = [f"{below}//v2.>", f"{below}//v2", f"{below}=2Ev2", f"{below}=2Ev2.>"]
    assert [each for each in found["subscribe"] if each.startswith(below)] == read
    steered = "cascade.constraints.project.etl"
    written = [f"{steered}//v2.*", f"{steered}=2Ev2.*", f"$KV.cascade.{steered}=2Ev2.*"]
    assert [each for each in found["publish"] if "constraints" in each] == written


@pytest.mark.parametrize("broker", ["mosquitto", "nats"])
def test_a_folder_is_created_and_its_passwords_stay(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One password for each user, none twice and for the owner alone; a second call adds that of the new user."""
    monkeypatch.chdir(tmp_path)
    folder, arguments = tmp_path / "plant" / "broker", ["acl", "--for", broker, "--operator", "ann"]
    assert main([*arguments, "--config", "plant/broker"]) == 0
    secret = folder / "secrets" / "ann"
    before = secret.read_text()
    assert main([*arguments, "bob", "--config", "plant/broker"]) == 0
    found = {each.name: each.read_text() for each in (folder / "secrets").iterdir()}
    assert found.keys() == {"ann", "bob"}
    assert found["ann"] == before != found["bob"]
    assert all(len(each) == 33 and each.endswith("\n") for each in found.values()), "24 bytes, and a line end"
    written = [folder, *folder.rglob("*")]
    assert [path for path in written if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    assert [path for path in written if path.suffix == ".part"] == []
    text = next(folder.glob("*.conf")).read_text()
    assert str(folder / "store") in text
    for password in found.values():
        assert (json.dumps(password.strip()) in text) == (broker == "nats")
    if broker == "mosquitto":
        hashes = (folder / "passwords").read_text().splitlines()
        assert [line.partition(":")[0] for line in hashes] == ["ann", "bob"]
        assert (folder / "acl").read_text().splitlines() == printed_rules(Roles(operators=("ann", "bob")))
    secret.chmod(0o644)
    capsys.readouterr()
    assert main([*arguments, "--config", "plant/broker"]) == 2
    assert capsys.readouterr().err == f"cascade: {secret} can be read by others; chmod 600 {secret}\n"
    assert secret.read_text() == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file stands in its place."""
    file = tmp_path / "plant"
    file.touch()
    assert main(["acl", "--operator", "ann", "--config", str(file / "x")]) == 2
    line = f"cascade: {file / 'x'} cannot be written: Not a directory; choose another folder for --config\n"
    assert capsys.readouterr().err == line
