"""Where a test suite sees every broker that its tests start, and what each broker delivers.

Nothing is seen, and no broker is configured for it, unless the suite has set a witness. Brokers with rules then give the
witness a login of its own, which may only read. A program that a test starts, such as a demo, announces its brokers to
the witness whose port the environment names.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
from collections.abc import Sequence
from typing import Any, Protocol

from cascade.testkit._mqtt_packets import Publication

ADDRESS = "CASCADE_TESTKIT_WITNESS"
"""The environment variable with the loopback port of a suite's witness, for the programs that its tests start."""
ANSWER_SECONDS = 90.0
"""How long an announcement waits for the witness, which waits for the broker itself."""
USER, PASSWORD = "suite-witness", "only-reads"
ACL = [f"user {USER}", "topic read #"]
"""Lines at the end of an ACL file of mosquitto: they change nothing for other users."""

_USERS = re.compile(r"\busers\s*[:=]?\s*\[")
_FIELDS = {"user": "user", "pass": "password", "auth_token": "token"}
"""Of the message CONNECT of NATS, by what they are called in a configuration."""
_RIGHTS = 'permissions: { publish: { deny: ">" } }'


def anonymous_client(host: str, port: int) -> dict[str, Any]:
    """Return how a witness connects to a broker of MQTT 3.1.1 without users.

    It publishes to a topic of its own, and knows what the broker has delivered when that message comes back.
    """
    echo = f"{USER}/{secrets.token_hex(4)}"
    return {"network": "mqtt", "host": host, "port": port, "version": 4, "echo": echo}


class Witness(Protocol):
    """Sees brokers, each a :class:`Broker`, from any thread; it must not raise."""

    def started(self, broker: Any) -> None:
        """Take note of a broker that answers; called after each of its starts, before ``start`` returns."""

    def ended(self, broker: Any) -> None:
        """Take note that the broker's process is gone; called more than once, also if it never answered."""

    def routed(self, broker: object, message: Publication) -> None:
        """Take a message that an :class:`OddBroker` delivers, in the broker's thread."""


class Announcer:
    """Announces the brokers of this program to the witness of the suite that has started it.

    It announces no :class:`OddBroker`, whose messages are seen in its own process only.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._numbers: dict[int, str] = {}

    def started(self, broker: Any) -> None:
        """Return when the witness listens at the broker, or has noted that it cannot."""
        if (where := broker.heard_at) is not None:
            number = self._numbers[id(broker)] = f"{broker.name} on port {broker.port}"
            self._tell({"listen": where, "number": number, "pid": broker.pid})

    def ended(self, broker: Any) -> None:
        """Return when the witness has read all that the broker had sent."""
        if (number := self._numbers.pop(id(broker), None)) is not None:
            self._tell({"leave": number})

    def routed(self, broker: object, message: Publication) -> None:
        """Do nothing."""

    def _tell(self, request: dict[str, Any]) -> None:
        with (
            contextlib.suppress(OSError),  # the suite has ended before this program
            socket.create_connection(("127.0.0.1", self._port), ANSWER_SECONDS) as link,
        ):
            link.sendall(json.dumps(request).encode() + b"\n")
            link.recv(1)


def _of_environment() -> Witness | None:
    port = os.environ.get(ADDRESS, "")
    return Announcer(int(port)) if port.isdecimal() else None


witness: Witness | None = _of_environment()
"""The witness of this process."""


def nats_lines(lines: Sequence[str]) -> list[str]:
    """Return lines of a nats-server's configuration, in which each list of users has the witness, too."""
    user = f'{{ user: "{USER}", password: "{PASSWORD}", {_RIGHTS} }}, '
    return [_USERS.sub(lambda found: f"{found[0]} {user}", line, count=1) for line in lines]


def nats_login(lines: Sequence[str]) -> dict[str, str]:
    """Return what a client of NATS says to a server with these lines: the witness's own login, or the only one."""
    text = "\n".join(lines)
    if _USERS.search(text):
        return {"user": USER, "pass": PASSWORD}
    if "authorization" not in text:
        return {}
    found = {key: re.search(rf'\b{name}\s*[:=]\s*"([^"]*)"', text) for key, name in _FIELDS.items()}
    return {key: match[1] for key, match in found.items() if match}
