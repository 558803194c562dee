"""The witness of the suite: a process that listens at brokers, and checks what they deliver.

It reads requests, one JSON object per line, and answers each with one. The tests write theirs to its standard input;
programs that tests start connect to its port, which is the first line that it prints. It is a process of its own, so that
tests keep their threads, their open files and their processor's time.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from wire_links import Heard, Link, MqttLink, NatsLink, RefusedError
from wire_rules import Deliveries

SECONDS = 30.0
"""How long a broker may take to answer; a busy machine does not count as a fault."""
MOST = 50
"""Problems that one answer lists."""
Number = int | str
"""Names a broker: the tests count theirs, and programs say what and where it is."""


class Ear:
    """The connection to one broker."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self.deliveries = Deliveries()
        self.link, self.socket, early = _connected(wanted)
        self.closed = False
        self.early = self._problems(early)
        """What was wrong with messages that had come before all else: those that the broker had retained."""

    def send(self, data: bytes) -> None:
        """Send; that the broker is gone shows when it is read."""
        with contextlib.suppress(OSError):
            self.socket.sendall(data)

    def read(self) -> list[tuple[str, str]]:
        """Read once, or until the end of the connection; return topics and problems."""
        try:
            data = self.socket.recv(1 << 18)
            while isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
                data += self.socket.recv(1 << 18)
        except OSError:
            data = b""
        self.closed = not data
        with contextlib.suppress(RefusedError):
            heard = self.link.feed(data)
            self.send(self.link.replies())
            return self._problems(heard)
        self.closed = True
        return []

    def _problems(self, heard: Iterable[Heard]) -> list[tuple[str, str]]:
        return [(each.topic, problem) for each in heard for problem in self.deliveries.problems(each)]

    def close(self) -> None:
        """Close the connection."""
        self.closed = True
        self.socket.close()


def _connected(wanted: dict[str, Any]) -> tuple[Link, socket.socket, list[Heard]]:
    """Connect and subscribe, from what the request says of the broker.

    :raises OSError: if the broker does not answer.
    :raises RefusedError: if it refuses.
    """
    plain = _opened(wanted)
    try:
        link, wire = _begun(wanted, plain)
        deadline, early = time.monotonic() + SECONDS, list[Heard]()
        while not link.listening:
            wire.sendall(link.replies())
            if time.monotonic() > deadline or not (data := wire.recv(65_536)):
                raise RefusedError("the connection ends")
            early += link.feed(data)
        wire.sendall(link.replies())
        return link, wire, early
    except BaseException:
        plain.close()
        raise


def _opened(wanted: dict[str, Any]) -> socket.socket:
    if "path" in wanted:
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(SECONDS)
        found.connect(wanted["path"])
        return found
    return socket.create_connection((wanted["host"], wanted["port"]), SECONDS)


def _begun(wanted: dict[str, Any], plain: socket.socket) -> tuple[Link, socket.socket]:
    if wanted["network"] == "mqtt":
        options = {name: wanted[name] for name in ("version", "echo", "shows_qos") if name in wanted}
        return MqttLink(wanted.get("login"), **options), plain
    login: dict[str, str] = wanted["login"]
    link = NatsLink({key: value for key, value in login.items() if key not in ("cert", "key")})
    information = plain.recv(65_536)  # one line; over TLS, the encryption begins behind it
    wire: socket.socket = plain
    if wanted.get("tls"):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if "cert" in login:
            context.load_cert_chain(login["cert"], login["key"])
        wire = context.wrap_socket(plain)
    else:
        link.feed(information)
    link.begin()
    return link, wire


class Requests:
    """What the tests, or one of their programs, ask: lines that may arrive in parts."""

    def __init__(self, read: Callable[[], bytes], write: Callable[[bytes], object]) -> None:
        self.ended = False
        self._read, self._write = read, write
        self._buffer = b""

    def answer(self, answer_to: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        """Read once, and answer the requests that are whole."""
        try:
            data = self._read()
        except OSError:
            data = b""
        self.ended = not data
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            answer = json.dumps(answer_to(json.loads(line))).encode() + b"\n"
            with contextlib.suppress(OSError):  # a program that was killed meanwhile
                self._write(answer)


class Witness:
    """Brokers by number, and what was wrong since it was last asked."""

    def __init__(self) -> None:
        self._ears: dict[Number, Ear] = {}
        self._pids: dict[Number, int] = {}
        """Processes of the brokers that programs have started."""
        self._found: dict[tuple[str, str], None] = {}
        self._selector = selectors.DefaultSelector()

    def serve(self, requests: int, answers: int) -> None:
        """Answer requests until the end of the tests' ones; read what comes from brokers meanwhile."""
        tests = Requests(partial(os.read, requests, 65_536), partial(_write, answers))
        with socket.create_server(("127.0.0.1", 0)) as programs:
            self._on_data(requests, partial(self._take_requests, requests, tests, self._answer))
            self._on_data(programs, partial(self._accept, programs))
            _write(answers, f"{programs.getsockname()[1]}\n".encode())
            while not tests.ended:
                self._turn(None)

    def _on_data(self, stream: int | socket.socket, read: Callable[[], None]) -> None:
        self._selector.register(stream, selectors.EVENT_READ, read)

    def _turn(self, seconds: float | None) -> None:
        """Read what has arrived, or arrives within this time."""
        for key, _ in self._selector.select(seconds):
            if self._selector.get_map().get(key.fd) is key:  # a request before it may have closed it
                key.data()

    def _accept(self, programs: socket.socket) -> None:
        with contextlib.suppress(OSError):
            program, _ = programs.accept()
            requests = Requests(partial(program.recv, 65_536), program.sendall)
            self._on_data(program, partial(self._take_requests, program, requests, self._announced))

    def _take_requests(
        self,
        stream: int | socket.socket,
        requests: Requests,
        answer_to: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        requests.answer(answer_to)
        if requests.ended and stream in self._selector.get_map():
            self._selector.unregister(stream)
            if isinstance(stream, socket.socket):
                stream.close()

    def _announced(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a program asks. Problems belong to the test that has started it."""
        answer = self._answer(request)
        if "problem" in answer:
            self._take([("(no topic)", f"{request['number']} is not heard: {answer['problem']}")])
        elif "listen" in request:
            self._pids[request["number"]] = request["pid"]
        return {}

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "listen" in request:
            return self._listen(request["number"], request["listen"])
        if "leave" in request:
            self._leave(request["leave"])
            return {}
        return self._collected(request["awake"])

    def _listen(self, number: Number, wanted: dict[str, Any]) -> dict[str, Any]:
        self._leave(number)
        try:
            ear = self._ears[number] = Ear(wanted)
        except (OSError, RefusedError) as error:
            return {"problem": f"{type(error).__name__}: {error}"}
        self._on_data(ear.socket, partial(self._read, number))
        self._take(ear.early)
        return {}

    def _leave(self, number: Number) -> None:
        """Read what a broker that is gone had sent."""
        while number in self._ears:
            self._read(number)

    def _read(self, number: Number) -> None:
        ear = self._ears[number]
        self._take(ear.read())
        if ear.closed:
            del self._ears[number]
            self._pids.pop(number, None)
            self._selector.unregister(ear.socket)
            ear.close()

    def _take(self, found: list[tuple[str, str]]) -> None:
        self._found.update(dict.fromkeys(found))

    def _collected(self, awake: list[int]) -> dict[str, Any]:
        """Wait until brokers that are awake have answered; return what was wrong, and the numbers of those heard."""
        of_programs = [number for number, pid in self._pids.items() if _awake(pid)]
        calls = {n: self._ears[n].link.answers for n in (*awake, *of_programs) if n in self._ears}
        for number in calls:
            self._ears[number].send(self._ears[number].link.call())
        deadline = time.monotonic() + SECONDS
        while waiting := [
            n for n, before in calls.items() if n in self._ears and self._ears[n].link.answers == before
        ]:
            self._turn(max(0.0, deadline - time.monotonic()))
            if time.monotonic() > deadline:
                self._take([("(no topic)", f"the broker {number} does not answer") for number in waiting])
                break
        for ear in self._ears.values():
            ear.deliveries.begin_test()
        found, self._found = list(self._found)[:MOST], {}
        return {"found": found, "heard": list(self._ears)}


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _awake(pid: int) -> bool:
    """Whether the broker of a program answers, or is gone, so that its connection ends; only Linux shows this."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return sys.platform == "linux"
    return status.rpartition(")")[2].split()[0] != "T"


if __name__ == "__main__":
    Witness().serve(sys.stdin.fileno(), sys.stdout.fileno())
