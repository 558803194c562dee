"""Where a command listens, what it says of that, and why it cannot: with a broker that the test stands for."""

from __future__ import annotations

import errno
import json
import platform
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cli_modules import Server, broker_command, broker_server

from cascade.cli import CommandError, main
from cascade.cli.listening import in_use, refused
from cascade.interfaces.broker_programs import NATS_SERVER as NATS
from cascade.interfaces.broker_programs import Child, Listener
from testing_tools.memory_broker import Screen

HERE = "this machine only"
OPEN = "every program that reaches this address may steer"


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (errno.EADDRINUSE, 1, "the port 80 of 10.0.0.1 is in use; choose another port, such as --port 81"),
        (errno.EADDRNOTAVAIL, 2, "this machine does not have the address 10.0.0.1; pass an address of one of"),
        (errno.EACCES, 2, "the port 80 needs the rights of an administrator; choose one from 1024, such as 1883"),
        (errno.EAFNOSUPPORT, 1, "the port 80 of 10.0.0.1 cannot be used: odd"),
    ],
)  # fmt: skip
def test_why_a_port_cannot_be_used(number: int, code: int, line: str) -> None:
    """Each cause with its remedy."""
    error = refused(OSError(number, "odd"), "10.0.0.1", 80, usual=1883)
    assert error.code == code
    assert str(error).startswith(line)


def test_the_port_after_the_last_one_is_the_usual_one() -> None:
    """A remedy names a port that exists."""
    assert str(in_use("::1", 65_535, usual=1883)).endswith("such as --port 1883")
    assert str(in_use("::1", 65_534, usual=1883)).endswith("such as --port 65535")


class OddBroker:
    """Stands for the broker that the command starts: it ends after so many looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, log: Path, *, looks: int = 2) -> None:
        self.asked: list[tuple[Listener, Path | None]] = []
        self.ended = 0
        self._looks, self._log = looks, log
        self.pid = 4711
        monkeypatch.setattr(broker_command, "served", self._served)
        monkeypatch.setattr(broker_command, "_POLL", 0.0)

    @property
    def running(self) -> bool:
        self._looks -= 1
        return self._looks >= 0

    @contextmanager
    def _served(self, listen: Listener, keep: Path | None) -> Iterator[Server]:
        self.asked.append((listen, keep))
        try:
            yield Server(NATS, cast(Child, self), self._log)
        finally:
            self.ended += 1


@pytest.mark.parametrize(
    ("bind", "host", "shown", "who"),
    [
        ("", "127.0.0.1", "127.0.0.1", HERE),
        ("localhost", "127.0.0.1", "127.0.0.1", HERE),
        ("::1", "::1", "[::1]", HERE),
        ("10.1.2.3", "10.1.2.3", "10.1.2.3", OPEN),
        ("0.0.0.0", "0.0.0.0", "box", OPEN),
        ("::", "::", "box", OPEN),
    ],
)
def test_others_read_how_they_reach_the_broker(
    bind: str, host: str, shown: str, who: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every line and the JSON have one URL; a warning says that all who reach it may steer, unless it is this machine's own."""
    monkeypatch.setattr(platform, "node", lambda: "box")
    options = ["--bind", bind] if bind else []
    screen = Screen()
    monkeypatch.setattr("sys.stdout", screen)
    made = OddBroker(monkeypatch, tmp_path / "log")
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)]
    assert main(["broker", "--port", "7", "--websockets", "8", *options]) == 1
    keep = tmp_path / "kept"
    OddBroker(monkeypatch, tmp_path / "log")
    assert main(["broker", *options, "--keep", str(keep)]) == 1
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)] == before
    assert (made.asked, made.ended) == ([(Listener(host, 7, 8), None)], 1)
    commands = ["In other terminals:", "  cascade run FILE.py --name my-machine", "  cascade watch"]
    page = f"for programs; cascade web --broker mqtt://{shown}:7 shows a page"
    assert screen.getvalue().splitlines() == [
        f"nats-server listens on mqtt://{shown}:7 ({who})",
        f"MQTT over WebSocket: ws://{shown}:8 ({page})",
        commands[0],
        f"  export CASCADE_BROKER=mqtt://{shown}:7",
        *commands[1:],
        "Ctrl-C ends it; what is retained is then gone.",
        f"nats-server listens on mqtt://{shown}:1883 ({who})",
        commands[0],
        f"  export CASCADE_BROKER=mqtt://{shown}:1883",
        *commands[1:],
        f"Ctrl-C ends it; what is retained stays in {keep}.",
    ]


@pytest.mark.parametrize(("options", "websockets"), [([], None), (["--websockets", "8"], "ws://127.0.0.1:8")])
def test_a_program_reads_one_document(
    options: list[str],
    websockets: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the process, so that it can end it."""
    OddBroker(monkeypatch, tmp_path / "log")
    assert main(["broker", "--json", "--port", "7", *options]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "url": "mqtt://127.0.0.1:7",
        "websockets": websockets,
        "program": "nats-server",
        "pid": 4711,
    }


@pytest.mark.parametrize(
    ("log", "words"),
    [
        (None, "it wrote nothing"),
        ("\n \n", "it wrote nothing"),
        ("one\n", "one"),
        ("one\n\n  two \nthree\n\n", "two / three"),
    ],
)
def test_a_broker_that_ends_by_itself_has_last_words(
    log: str | None,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The last two lines of its log that are not empty."""
    file = tmp_path / "log"
    if log is not None:
        file.write_text(log)
    OddBroker(monkeypatch, file, looks=0)
    assert main(["broker"]) == 1
    assert capsys.readouterr().err == f"cascade: nats-server ended by itself: {words}\n"


LOOPBACK, LAN, V6 = "127.0.0.1", "10.0.0.1", "::1"


@pytest.mark.parametrize(
    ("asked", "found", "where"),
    [
        ((LOOPBACK, 7, 8), [(LOOPBACK, 7), (LOOPBACK, 8)], None),
        ((LOOPBACK, 7, None), [(LOOPBACK, 7), (LOOPBACK, 4222)], None),
        ((LOOPBACK, 7, None), [(LOOPBACK, 7), (LAN, 4222), (LAN, 7)], "10.0.0.1:4222, 10.0.0.1:7"),
        ((LOOPBACK, 7, 8), [(LOOPBACK, 7)], "nowhere"),
        ((LOOPBACK, 7, None), [], "nowhere"),
        ((LOOPBACK, 7, None), [("0.0.0.0", 7)], "0.0.0.0:7"),
        (("0.0.0.0", 7, None), [("0.0.0.0", 7)], None),
        (("0.0.0.0", 7, None), [("::", 7)], None),
        (("0.0.0.0", 7, None), [(LAN, 7)], "10.0.0.1:7"),
    ],
)
def test_a_broker_is_used_only_where_it_listens_as_was_asked(
    asked: tuple[str, int, int | None],
    found: list[tuple[str, int]],
    where: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its own protocol may listen on this machine; every other address is named, and the broker is ended."""
    ended: list[bool] = []
    child: Any = SimpleNamespace(running=True, pid=1, terminate=lambda: ended.append(True))
    monkeypatch.setattr(broker_server, "_installed", lambda: (NATS, "program"))
    monkeypatch.setattr(broker_server, "_check_free", lambda *_: None)
    monkeypatch.setattr(broker_server, "_wait_until_ready", lambda *_: None)
    monkeypatch.setattr(broker_server, "Child", lambda *_, **__: child)
    monkeypatch.setattr(
        broker_server, "listening", lambda _pid: {(ip_address(host), port) for host, port in found}
    )
    used: list[Server] = []
    problem = ""
    try:
        with broker_server.served(Listener(*asked), tmp_path / "a" / "kept") as server:
            used.append(server)
            assert not ended
    except CommandError as error:
        problem = str(error)
    line = f"nats-server listens on {where} and not only on {asked[0]}, so it was ended"
    assert (problem, len(used), ended) == ("" if where is None else line, int(where is None), [True])
    assert (tmp_path / "a" / "kept").stat().st_mode & 0o777 == 0o700
