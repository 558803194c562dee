"""The files that ``cascade acl --config`` writes, line by line: a wrong port or limit starts and fails later."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from cascade.cli import CommandError, main
from cascade.interfaces.access import Roles, Rule, rules
from cascade.interfaces.errors import ConfigurationError
from cascade.ops._access import nats
from cascade.ops._access.folder import write_folder
from cascade.ops._access.mosquitto import Files, access_list, configuration
from cascade.ops._access.nats import NatsFiles, password_variables

HEAD = """\
# Written by cascade acl, which replaces this file.
allow_anonymous false
password_file /etc/plant/passwords
acl_file /etc/plant/acl

# Constraints are retained messages: they outlive a kill of the broker.
persistence true
persistence_location /etc/plant/store/
autosave_on_changes true
autosave_interval 1000

# With a limit of 0, mosquitto 2.0.11 cuts the link of a client whose message the rules deny.
max_queued_messages 65000
max_queued_bytes 67108864
max_packet_size 4194304
set_tcp_nodelay true
"""
OWNER = """
# Started by root, mosquitto becomes the user who owns these files.
user eva
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


@pytest.mark.skipif(sys.platform == "win32", reason="the paths are those of POSIX")
@pytest.mark.parametrize(
    ("tls", "owner", "text"),
    [(False, "", HEAD + LOCAL), (False, "eva", HEAD + OWNER + LOCAL), (True, "eva", HEAD + OWNER + LOCAL + TLS)],
)  # fmt: skip
def test_mosquitto_reads_this_file(tls: bool, owner: str, text: str) -> None:
    """Ports, limits and the store; it listens for others only with TLS."""
    lines = configuration(Files(Path("/etc/plant")), tls=tls, owner=owner)
    assert "\n".join([*lines, ""]) == text


NATS_HEAD = """\
# Written by cascade acl, which replaces this file.
server_name: "cascade"
listen: "127.0.0.1:4222"

# Constraints are retained messages; JetStream writes each one to disk.
jetstream { store_dir: "/etc/plant/store" }
"""
PLAIN = """\
mqtt { host: "127.0.0.1", port: 1883 }
websocket { host: "127.0.0.1", port: 8080, no_tls: true }
"""
CERTIFICATE = 'tls { cert_file: "/etc/plant/tls/server.pem", key_file: "/etc/plant/tls/server.key" }'
SECURED = f"""\
mqtt {{ host: "0.0.0.0", port: 8883, {CERTIFICATE} }}
websocket {{ host: "0.0.0.0", port: 8443, {CERTIFICATE} }}
"""
USERS = """
authorization {
  users = [
    {
      user: "wall"
      password: "s3cret"
      permissions: {
        publish: { allow: [
          "$JS.API.STREAM.INFO.KV_cascade"
          "$JS.API.STREAM.INFO.cascade"
          "$JS.API.STREAM.INFO.$MQTT_rmsgs"
          "$JS.API.CONSUMER.CREATE.KV_cascade.*"
          "$JS.API.CONSUMER.DELETE.KV_cascade.*"
          "$JS.FC.KV_cascade.>"
        ] }
        subscribe: { allow: [
          "cascade.constraints.>"
          "cascade.constraints"
          "_INBOX.wall.>"
        ] }
      }
    }
  ]
}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the paths are those of POSIX")
@pytest.mark.parametrize(("tls", "listeners"), [(False, PLAIN), (True, SECURED)])
def test_nats_server_reads_this_file(tls: bool, listeners: str) -> None:
    """Its own protocol is for this machine only; a rule for all levels below covers the level itself."""
    given = [Rule("wall", "read", "cascade/constraints/#")]
    lines = nats.configuration(NatsFiles(Path("/etc/plant")), given, {"wall": "s3cret"}, tls=tls)
    assert "\n".join([*lines, ""]) == NATS_HEAD + listeners + USERS


def allowed(user: str, roles: Roles) -> dict[str, list[str]]:
    """What the configuration of nats-server permits to a user, by verb, without the subjects that MQTT clients use."""
    lines = iter(nats.authorization(rules(roles), dict.fromkeys(roles.users, "x")))
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
    *(f"$JS.API.CONSUMER.{verb}.KV_cascade.*" for verb in ("CREATE", "DELETE")),
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
        ("press", LOOKS | MAKES, {"$KV.cascade.cascade.status.press", "$KV.cascade.cascade.sync.press.*",
                                  "$KV.cascade.cascade.state.press.*"}),
        ("ann", LOOKS | MAKES, {"$KV.cascade.cascade.constraints.>", "$KV.cascade.cascade.constraints",
                               "$KV.cascade.cascade.sync.ann.*"}),
        ("bob", LOOKS, {"$KV.cascade.cascade.constraints.project.etl.*", "$KV.cascade.cascade.sync.bob.*"}),
        ("wall", LOOKS, set()),
        ("vault", LOOKS | TAKES, {"$KV.cascade.cascade.ack.*", "$KV.cascade.cascade.sync.vault.*"}),
    ],
)  # fmt: skip
def test_each_role_asks_jetstream_for_what_it_needs_and_keeps_its_own_keys(
    user: str, requests: set[str], keys: set[str]
) -> None:
    """Only a user who retains messages makes the bucket, only a collector takes from the stream, and telemetry is never a key."""
    roles = Roles(
        engines={"press": "etl"},
        operators=("ann",),
        leads={"bob": "etl"},
        observers=("wall",),
        collectors=("vault",),
    )
    found = allowed(user, roles)
    assert found.keys() == {"publish", "subscribe"}
    assert {each for each in found["publish"] if each.startswith("$JS.")} == requests
    assert {each for each in found["publish"] if each.startswith("$KV.")} == keys
    inboxes = [each for each in found["subscribe"] if each.startswith("_INBOX")]
    assert inboxes == [f"_INBOX.{user}.>"]
    for subjects in found.values():
        assert len(subjects) == len(set(subjects))


def test_a_user_who_reads_and_writes_a_topic_has_one_line_for_it() -> None:
    """In the order of the rules; an empty line stands between two users only."""
    given = [
        Rule("a", "read", "x"),
        Rule("a", "write", "y"),
        Rule("a", "write", "x"),
        Rule("b", "read", "x"),
    ]
    assert access_list(given) == [
        "user a",
        "topic readwrite x",
        "topic write y",
        "",
        "user b",
        "topic read x",
    ]
    assert access_list([]) == []


def test_each_user_has_a_variable_for_its_password_and_none_shares_it() -> None:
    """A dash cannot stand in the name of a variable; the error names both users and what to do."""
    assert password_variables(["press-3", "ann"]) == {"press-3": "PASSWORD_press_3", "ann": "PASSWORD_ann"}
    with pytest.raises(ConfigurationError) as caught:
        password_variables(["a-b", "c", "a_b"])
    problem = "'a-b' and 'a_b' would share the password in PASSWORD_a_b; rename one, or pass --config FOLDER"
    assert problem in str(caught.value)


@pytest.mark.parametrize("broker", ["mosquitto", "nats"])
def test_the_passwords_of_the_folder_are_those_of_the_configuration(broker: str, tmp_path: Path) -> None:
    """One for each user and none twice; a folder that is relative stands in the configuration as a whole path."""
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path)
        files = write_folder(Path("plant"), rules(Roles(operators=("ann", "bob"))), broker=broker)
    assert files.folder == tmp_path / "plant"
    found = {each.name: each.read_text("utf-8") for each in files.secrets.iterdir()}
    assert found.keys() == {"ann", "bob"}
    assert len(set(found.values())) == 2
    assert all(len(each) == 33 and each.endswith("\n") for each in found.values()), "24 bytes, and a line end"
    text = files.configuration.read_text("utf-8")
    assert str(tmp_path / "plant" / "store") in text
    for password in found.values():
        assert (json.dumps(password.strip()) in text) == (broker == "nats")
    assert list(files.folder.rglob("*.part")) == []
    if broker == "mosquitto":
        hashes = files.hashes.read_text("utf-8").splitlines()
        assert [line.partition(":")[0] for line in hashes] == ["ann", "bob"]
        assert files.rules.read_text("utf-8").splitlines() == access_list(
            rules(Roles(operators=("ann", "bob")))
        )


def test_a_password_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """With the command that changes it; the password itself stays."""
    folder, given = tmp_path / "plant", rules(Roles(operators=("ann",)))
    secret = write_folder(folder, given, broker="mosquitto").secrets / "ann"
    before = secret.read_text("utf-8")
    secret.chmod(0o644)
    with pytest.raises(CommandError) as caught:
        write_folder(folder, given, broker="mosquitto")
    assert str(caught.value) == f"{secret} can be read by others; chmod 600 {secret}"
    assert (caught.value.code, secret.read_text("utf-8")) == (2, before)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file stands in its place."""
    file = tmp_path / "plant"
    file.touch()
    assert main(["acl", "--operator", "ann", "--config", str(file / "x")]) == 2
    line = f"cascade: {file / 'x'} cannot be written: Not a directory; choose another folder for --config\n"
    assert capsys.readouterr().err == line


def test_what_comes_next_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line that starts the broker can be copied, whatever the folder's name."""
    folder = tmp_path / "a b"
    for broker, program, file in (
        ("mosquitto", "mosquitto", "mosquitto"),
        ("nats", "nats-server", "nats-server"),
    ):
        assert main(["acl", "--for", broker, "--operator", "ann", "--config", str(folder)]) == 0
        out, err = capsys.readouterr()
        assert out.splitlines() == [
            f"start the broker:  {program} -c '{folder}/{file}.conf'",
            f"passwords:         {folder}/secrets",
        ]
        missing = f"{folder}/tls/server.pem and server.key"
        assert err == f"only this machine can connect; for others put {missing} there and run this again\n"


def test_a_project_with_a_dot_has_a_subject_for_each_kind_of_client() -> None:
    """MQTT clients and the server's own ones write a dot differently; only a filter that is read covers the level above."""
    found = allowed("bob", Roles(leads={"bob": "etl.v2"}))
    below = "cascade.telemetry.local.etl"
    assert [each for each in found["subscribe"] if each.startswith(below)] == [
        f"{below}//v2.>",
        f"{below}//v2",
        f"{below}=2Ev2",
        f"{below}=2Ev2.>",
    ]
    steered = "cascade.constraints.project.etl"
    assert [each for each in found["publish"] if "constraints" in each] == [
        f"{steered}//v2.*",
        f"{steered}=2Ev2.*",
        f"$KV.cascade.{steered}=2Ev2.*",
    ]
    lines = nats.authorization([Rule("ann", "write", "a.b/#")], {"ann": "x"})
    assert '          "a//b.>"' in lines
    assert '          "a//b"' not in lines
