"""``cascade acl --for nats``: the rules of each role for MQTT clients, on a real nats-server."""

import json
import re
import stat
from pathlib import Path

import pytest
from roles import MATRIX, PASSWORD, USERS, Client, nats_rules

from cascade.cli import main
from cascade.interfaces.access import Roles
from cascade.interfaces.broker_programs import Child
from cascade.testkit.brokers import NatsServer
from testing_tools.engines import eventually


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.wrong_messages("each user tries each topic, in each way", "cascade/#")
def test_each_role_may_do_what_the_table_says_and_nothing_else(guarded: NatsServer) -> None:
    """Every user, topic, QoS 0 and 1, retained or not, as MQTT 3.1.1; a denied message never cuts the link."""
    ways = [(qos, retain) for qos in (0, 1) for retain in (False, True)]
    with Client(guarded, "witness") as witness:
        witness.subscribe("#")
        for user in USERS:
            with Client(guarded, user) as client:
                client.subscribe(*MATRIX)
                readable = {topic for topic, (_, readers) in MATRIX.items() if user in readers}
                assert client.readable == readable, user
                for topic in MATRIX:
                    for qos, retain in ways:
                        client.publish(topic, f"{user} {qos} {retain}", qos, retain=retain)
                client.settle()
                for topic in MATRIX:
                    witness.publish(topic, f"to read {user}", 1, retain=False)
                witness.settle()
                wanted = {(topic, f"to read {user}".encode()) for topic in readable}
                eventually(lambda: wanted <= client.received, f"{user} reads what it may")  # noqa: B023
                assert {topic for topic, _ in client.received} == readable
                assert client.cuts == 0, user
        witness.publish("end", "", 1, retain=False)
        eventually(lambda: ("end", b"") in witness.received, "the witness has everything")
        expected = {
            (topic, f"{user} {qos} {retain}".encode())
            for topic, (writers, _) in MATRIX.items()
            for user in writers
            for qos, retain in ways
        }
        found = {each for each in witness.received if each[0] != "end" and not each[1].startswith(b"to read")}
        assert found == expected


@pytest.mark.broker
@pytest.mark.process
@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("printed", [True, False])
def test_the_configuration_starts_and_each_user_logs_in(
    printed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole one, and the printed rules, which take passwords from the environment."""
    arguments = ["acl", "--for", "nats", "--engine", "press-3", "--operator", "ann"]
    assert main([*arguments, *([] if printed else ["--config", str(tmp_path), "--json"])]) == 0
    out, _ = capsys.readouterr()
    path = tmp_path / "test.conf"
    if printed:
        store = tmp_path / "store"
        head = f'server_name: "x"\nlisten: "127.0.0.1:-1"\njetstream {{ store_dir: "{store}" }}\nmqtt {{ host: "127.0.0.1", port: -1 }}\n'
        path.write_text(head + out)
        monkeypatch.setenv("PASSWORD_press_3", PASSWORD)
        monkeypatch.setenv("PASSWORD_ann", PASSWORD)
    else:
        written = json.loads(out)
        assert written["configuration"] == str(tmp_path / "nats-server.conf")
        text = Path(written["configuration"]).read_text()
        assert not stat.S_IMODE(Path(written["configuration"]).stat().st_mode) & 0o077
        text = (
            text.replace(":4222", ":-1").replace("port: 1883", "port: -1").replace("port: 8080", "port: -1")
        )
        path.write_text(text)
        monkeypatch.setenv("CASCADE_MQTT_PASSWORD_FILE", str(tmp_path / "secrets" / "ann"))
    program = NatsServer.find()
    assert program is not None
    child = Child([program, "-c", str(path)], log=tmp_path / "log")
    try:
        eventually(lambda: "Server is ready" in (tmp_path / "log").read_text(), "nats-server runs")
        (port,) = re.findall(r"MQTT clients on mqtt://[\d.]+:(\d+)", (tmp_path / "log").read_text())
        if printed:
            monkeypatch.setenv("CASCADE_MQTT_PASSWORD", PASSWORD)
        assert main(["ps", "--broker", f"mqtt://ann@127.0.0.1:{port}"]) == 0
        assert main(["ps", "--broker", f"mqtt://127.0.0.1:{port}"]) == 3
    finally:
        child.terminate()


def test_two_users_never_share_a_password(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One variable would hold both; in a whole configuration each has a password of its own."""
    arguments = ["acl", "--for", "nats", "--engine", "press-1", "--operator", "press_1"]
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1)
    assert (
        "'press-1' and 'press_1' would share the password in PASSWORD_press_1; rename one, or pass --config FOLDER"
        in err
    )
    assert main([*arguments, "--config", str(tmp_path)]) == 0
    assert (tmp_path / "secrets" / "press-1").read_text() != (tmp_path / "secrets" / "press_1").read_text()


def test_a_name_adds_no_wildcard_and_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What nats-server would read as a dot or the end of a text stays one level of a subject; a wildcard is refused."""
    usual = nats_rules(Roles(leads={"bob": "x.y"}))
    for project in ("a.b", 'x" ] }', "a b", "a\nb", "+", "#", "a*"):
        lines = nats_rules(Roles(leads={"bob": project}))
        assert len(lines) == len(usual), project
        (subject, *_) = (line for line in lines if "cascade.constraints.project." in line)
        steered = subject.strip().replace("//", "")
        assert re.fullmatch(r'"cascade\.constraints\.project\.[^.>\s]{2,}\.\*"', steered), project
    for project in ("*", ">"):
        assert main(["acl", "--for", "nats", "--lead", f"bob={project}"]) == 2
        out, err = capsys.readouterr()
        assert (out, len(err.splitlines())) == ("", 1)
        assert "nats-server takes for a wildcard" in err


def test_only_who_gets_requests_may_answer_them() -> None:
    """A requester writes to no inbox, whatever message it has received."""
    text = "\n".join(nats_rules(Roles(engines={"press": "etl"}, requesters={"hmi": ("audit",)})))
    users = re.split(r"user: ", text)[1:]
    assert [each.partition("\n")[0] for each in users if "allow_responses" in each] == ['"press"']


def test_a_topic_with_a_space_is_for_the_server_s_own_clients_only() -> None:
    """nats-server refuses it over MQTT, and as a subject of its configuration."""
    lines = nats_rules(Roles(engines={"press": "etl"}, gates=("hall 2/power",)))
    assert [line.strip() for line in lines if "hall" in line] == ['"hall=202.power"']
