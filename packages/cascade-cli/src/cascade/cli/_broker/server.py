"""Start a broker that is installed, check where it listens, and end it with its files."""

from __future__ import annotations

import errno
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from cascade.cli._broker.sockets import listening
from cascade.cli.errors import FAILED, USAGE, CommandError
from cascade.cli.listening import in_use, other_port, refused, url_of
from cascade.interfaces.broker_programs import (
    MOSQUITTO,
    NATS_SERVER,
    BrokerProgram,
    Child,
    Listener,
    answers_mqtt,
    says_port_in_use,
)

PORT = 1883
"""Brokers listen there unless another port is chosen."""
START_TIMEOUT = 15.0
"""Seconds until a broker must answer."""

_POLL = 0.02


@dataclass(frozen=True, slots=True)
class Server:
    """A broker that runs."""

    program: BrokerProgram
    child: Child
    log: Path

    @property
    def last_words(self) -> str:
        """The end of its log, on one line."""
        lines = self.log.read_text("utf-8", "replace").split("\n") if self.log.exists() else []
        written = [line.strip() for line in lines if line.strip()]
        return " / ".join(written[-2:]) or "it wrote nothing"


@contextmanager
def served(listen: Listener, keep: Path | None) -> Iterator[Server]:
    """Run a broker for as long as the context lasts.

    :param keep: the folder of its store; without one the store is removed at the end, as all other files are.
    :raises CommandError: if none is installed, a port is in use, it does not start, or it listens elsewhere.
    """
    kind, path = _installed() if listen.websockets is None else _with_websockets()
    for port in _ports(listen):
        _check_free(listen.host, port)
    with tempfile.TemporaryDirectory(prefix="cascade-broker-", ignore_cleanup_errors=True) as folder:
        store = keep.absolute() if keep is not None else Path(folder, "store")
        _make(store)
        configuration = Path(folder, "broker.conf")
        lines = kind.configuration(listen, store)
        configuration.write_text("\n".join([*lines, *_open_to_all(kind), ""]), encoding="utf-8")
        log = Path(folder, "broker.log")
        server = Server(kind, Child(kind.command(path, configuration), log=log), log)
        try:
            _wait_until_ready(server, listen)
            _check_sockets(server, listen)
            yield server
        finally:
            server.child.terminate()


def _installed() -> tuple[BrokerProgram, str]:
    for kind in (MOSQUITTO, NATS_SERVER):
        if (path := kind.find()) is not None:
            return kind, path
    raise CommandError(
        "no MQTT broker is installed", f"{NATS_SERVER.remedy()}, or {MOSQUITTO.remedy()}", code=FAILED
    )


def _with_websockets() -> tuple[BrokerProgram, str]:
    """Return nats-server: without a password, mosquitto would serve any web site that a browser here has open."""
    if (path := NATS_SERVER.find()) is not None:
        return NATS_SERVER, path
    raise CommandError(
        "--websockets needs nats-server, because mosquitto does not check which web site connects",
        f"{NATS_SERVER.remedy()}, or leave it out: cascade web reaches the port for MQTT",
        code=FAILED,
    )


def _open_to_all(kind: BrokerProgram) -> list[str]:
    """Return the line without which mosquitto refuses clients that do not log in."""
    return ["allow_anonymous true"] if kind is MOSQUITTO else []


def _ports(listen: Listener) -> list[int]:
    return [listen.port] if listen.websockets is None else [listen.port, listen.websockets]


def _check_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _refused(error, host, port) from error


def _refused(error: OSError, host: str, port: int) -> CommandError:
    return _in_use(host, port) if error.errno == errno.EADDRINUSE else refused(error, host, port, usual=PORT)


def _in_use(host: str, port: int) -> CommandError:
    if not answers_mqtt(host, port):
        return in_use(host, port, usual=PORT)
    url = url_of("mqtt", host, port)
    return CommandError(
        f"an MQTT broker runs on port {port} already",
        f"use it: --broker {url}; or {other_port(port, usual=PORT)}",
    )


def _make(store: Path) -> None:
    try:
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"the folder {store} cannot be made: {error.strerror}", "choose another for --keep", code=USAGE
        ) from error


def _wait_until_ready(server: Server, listen: Listener) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    host = _reachable(listen.host)
    while server.child.running and time.monotonic() < deadline:
        log = server.log.read_text("utf-8", "replace")
        if server.program.says_ready(log) and answers_mqtt(host, listen.port):
            return
        time.sleep(_POLL)
    if says_port_in_use(server.log.read_text("utf-8", "replace")):
        raise _in_use(listen.host, listen.port)
    problem = "ended at once" if not server.child.running else f"does not answer after {START_TIMEOUT:g} s"
    raise CommandError(f"{server.program.name} {problem}: {server.last_words}")


def _reachable(host: str) -> str:
    """Return the address at which this machine reaches a listener: its own loopback for a wildcard."""
    wildcards = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return wildcards.get(host, host)


def _check_sockets(server: Server, listen: Listener) -> None:
    """Refuse a broker that can be reached from elsewhere than was asked for."""
    host = ip_address(listen.host)
    wanted = {(host, port) for port in _ports(listen)}
    try:
        found = listening(server.child.pid)
    except (OSError, ValueError) as error:
        raise CommandError(
            f"where {server.program.name} listens cannot be read from the system ({error}), so it was ended"
        ) from error
    # nats-server takes every address of IPv4 for every address
    if host.is_unspecified:
        found = {(host if address.is_unspecified else address, port) for address, port in found}
    elsewhere = sorted(
        f"{address}:{port}"
        for address, port in found - wanted
        # its own protocol
        if not (address.is_loopback and server.program is NATS_SERVER)
    )
    if elsewhere or not wanted <= found:
        where = ", ".join(elsewhere) or "nowhere"
        raise CommandError(
            f"{server.program.name} listens on {where} and not only on {listen.host}, so it was ended"
        )
