"""The witness of the suite: a process that listens at brokers, and checks what they deliver.

It reads requests on its standard input, one JSON object per line, and answers each with one. It is a process of its own,
so that tests keep their threads, their open files and their processor's time.
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
from typing import Any

from testing_tools.wire_links import Heard, Link, MqttLink, NatsLink, RefusedError
from testing_tools.wire_rules import Deliveries

SECONDS = 30.0
"""How long a broker may take to answer; a busy machine does not count as a fault."""
MOST = 50
"""Problems that one answer lists."""


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


class Witness:
    """Brokers by number, and what was wrong since it was last asked."""

    def __init__(self) -> None:
        self._ears: dict[int, Ear] = {}
        self._found: dict[tuple[str, str], None] = {}
        self._selector = selectors.DefaultSelector()
        self._buffer = b""
        self._ended = False

    def serve(self, requests: int, answers: int) -> None:
        """Answer requests until their end; read what comes from brokers meanwhile."""
        self._on_data(requests, partial(self._take_requests, requests, answers))
        while not self._ended:
            self._turn(None)

    def _on_data(self, stream: int | socket.socket, read: Callable[[], None]) -> None:
        self._selector.register(stream, selectors.EVENT_READ, read)

    def _turn(self, seconds: float | None) -> None:
        """Read what has arrived, or arrives within this time."""
        for key, _ in self._selector.select(seconds):
            if self._selector.get_map().get(key.fd) is key:  # a request before it may have closed it
                key.data()

    def _take_requests(self, requests: int, answers: int) -> None:
        """Read once, and answer the requests that are whole."""
        data = os.read(requests, 65_536)
        self._ended = not data
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            _write(answers, json.dumps(self._answer(json.loads(line))).encode() + b"\n")

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "listen" in request:
            return self._listen(request["number"], request["listen"])
        if "leave" in request:
            self._leave(request["leave"])
            return {}
        return self._collected(request["awake"])

    def _listen(self, number: int, wanted: dict[str, Any]) -> dict[str, Any]:
        self._leave(number)
        try:
            ear = self._ears[number] = Ear(wanted)
        except (OSError, RefusedError) as error:
            return {"problem": f"{type(error).__name__}: {error}"}
        self._on_data(ear.socket, partial(self._read, number))
        self._take(ear.early)
        return {}

    def _leave(self, number: int) -> None:
        """Read what a broker that is gone had sent."""
        while number in self._ears:
            self._read(number)

    def _read(self, number: int) -> None:
        ear = self._ears[number]
        self._take(ear.read())
        if ear.closed:
            del self._ears[number]
            self._selector.unregister(ear.socket)
            ear.close()

    def _take(self, found: list[tuple[str, str]]) -> None:
        self._found.update(dict.fromkeys(found))

    def _collected(self, awake: list[int]) -> dict[str, Any]:
        """Wait until brokers that are awake have answered; return what was wrong, and the numbers of those heard."""
        calls = {n: self._ears[n].link.answers for n in awake if n in self._ears}
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


if __name__ == "__main__":
    Witness().serve(sys.stdin.fileno(), sys.stdout.fileno())
