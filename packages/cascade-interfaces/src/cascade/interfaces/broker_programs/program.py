"""The program of a broker, as the command finds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a broker listens."""

    host: str
    """An address, not a name."""
    port: int
    websockets: int | None = None
    """A further port on the same address for MQTT over WebSocket, of a broker that keeps foreign web sites out."""
    nats: int | None = None
    """A further port on the same address for the protocol of NATS, of a broker that has it; None for any free one."""


@dataclass(frozen=True, slots=True)
class BrokerProgram:
    """One kind of broker."""

    name: str
    find: Callable[[], str | None]
    """Return the path of the installed program, or None."""
    remedy: Callable[[], str]
    """Return how to install it."""
    configuration: Callable[[Listener, Path], list[str]]
    """Return the lines of its configuration file from where to listen and the folder of its store.

    A kill loses at most the retained messages of the last two seconds and of the write in progress."""
    says_ready: Callable[[str], bool]
    """Return whether the log of a start shows that it listens."""

    def command(self, program: str, configuration: Path) -> list[str]:
        """Return the command that starts it."""
        return [program, "-c", str(configuration)]


def says_port_in_use(log: str) -> bool:
    """Return whether the log of a start shows that another program has the port."""
    log = log.lower()
    return "already in use" in log or "only one usage of each socket address" in log
