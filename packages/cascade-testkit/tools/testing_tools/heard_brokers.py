"""Connections of a suite's witness to the brokers that tests start: where it connects, and with which login.

A broker is configured for the witness only while there is one. Brokers with rules then give it a login of its own,
which may only read.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from cascade.interfaces.broker_programs import password_line
from cascade.testkit.brokers import Broker, BrokerObserver, Mosquitto, NatsServer
from testing_tools.mqtt_packets import Publication

USER, PASSWORD = "suite-witness", "only-reads"
ACL = [f"user {USER}", "topic read #"]
"""Lines at the end of an ACL file of mosquitto: they change nothing for other users."""

_USERS = re.compile(r"\busers\s*[:=]?\s*\[")
_FIELDS = {"user": "user", "pass": "password", "auth_token": "token"}
"""Of the message CONNECT of NATS, by what they are called in a configuration."""
_RIGHTS = 'permissions: { publish: { deny: ">" } }'


class Witness(BrokerObserver, Protocol):
    """Sees brokers from any thread; it must not raise."""

    def routed(self, broker: object, message: Publication) -> None:
        """Take a message that an :class:`OddBroker` delivers, in the broker's thread."""


witness: Witness | None = None
"""The witness of this process."""


def set_witness(new: Witness | None) -> None:
    """Have all brokers of this process seen from now on, or none."""
    global witness  # noqa: PLW0603 - there is one suite in a process
    witness = Broker.observer = new


def configuration(broker: Broker, text: str) -> str:
    """Return a broker's configuration, in which the witness may connect; its files get the witness's login."""
    if isinstance(broker, NatsServer):
        return "\n".join(nats_lines(text.splitlines()))
    if not isinstance(broker, Mosquitto):
        return text
    for name, line in (("passwords", password_line(USER, PASSWORD)), ("acl", "\n".join(ACL))):
        if (path := broker.folder / name).exists():
            path.write_text(f"{path.read_text('utf-8')}{line}\n", "utf-8")
    return text.replace("\nlistener ", f"\nlistener 0 {_socket_of(broker)}\nlistener ", 1)


def heard_at(broker: Broker) -> dict[str, Any] | None:
    """Return where and how the witness connects; None for a kind that admits none."""
    if isinstance(broker, Mosquitto):  # a listener of its own: others neither count nor bind it
        return {"network": "mqtt", "path": str(_socket_of(broker)), "login": [USER, PASSWORD]}
    if isinstance(broker, NatsServer):
        text = (broker.folder / "broker.conf").read_text("utf-8")
        certificate = re.search(r'cert_file: "([^"]*)", key_file: "([^"]*)"', text)
        files = {"cert": certificate[1], "key": certificate[2]} if certificate else {}
        where = {"network": "nats", "host": broker.host, "port": broker.nats_port}
        return {**where, "login": nats_login(text.splitlines()) | files, "tls": "tls {" in text}
    found: dict[str, Any] | None = getattr(broker, "heard_at", None)
    return found


def anonymous_client(host: str, port: int) -> dict[str, Any]:
    """Return how a witness connects to a broker of MQTT 3.1.1 without users.

    It publishes to a topic of its own, and knows what the broker has delivered when that message comes back.
    """
    echo = f"{USER}/{secrets.token_hex(4)}"
    return {"network": "mqtt", "host": host, "port": port, "version": 4, "echo": echo}


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


def _socket_of(broker: Broker) -> Path:
    return broker.folder / "witness"
