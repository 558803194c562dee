"""The settings that every networked connector has, and their checks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cascade.interfaces.errors import ConfigurationError
from cascade.interfaces.text import nearest, text_problem

MIB = 1024 * 1024
MAX_SOURCE_BYTES = 64
QOS = (0, 1, 2)
OWN = (
    "source_id",
    "presence",
    "connect_timeout",
    "required",
    "outbox_messages",
    "outbox_bytes",
    "drain_timeout",
    "window",
)
"""The keywords of :class:`ConnectorSettings` beside host and port."""


@dataclass(frozen=True, slots=True)
class ConnectorSettings:
    """The arguments that a connector's constructor has taken, checked. A connector adds its own fields."""

    hostname: str
    port: int
    source_id: str | None = None
    presence: bool = True
    connect_timeout: float = 2.0
    required: bool = False
    outbox_messages: int = 65_536
    outbox_bytes: int = 32 * MIB
    drain_timeout: float = 5.0
    window: int = 400
    client: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Keywords for the client library; they may contain a password."""
    tls: bool = False
    """Whether the link is encrypted."""

    @property
    def named(self) -> bool:
        """Whether the connector publishes its presence under a name of its own."""
        return self.presence and self.source_id is not None

    @property
    def address(self) -> str:
        """Host and port as they are logged."""
        host = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"{host}:{self.port}"

    @property
    def presence_lifetime(self) -> float | None:
        """Seconds after which the peer shows that this process has gone if it does not say that it is there; None: a will does."""
        return None

    @property
    def fixed_client_id(self) -> str | None:
        """The client id for which the peer ends an older link, if the user has chosen one."""
        return None


def check_settings(made: ConnectorSettings, *, max_window: int, window_reason: str) -> None:
    """Check the common settings.

    :param max_window: the largest ``window``; ``window_reason`` states what sets that limit.
    :raises ConfigurationError: naming the setting that cannot work, and what to write instead.
    """
    _check_numbers(made)
    if made.window > max_window:
        raise ConfigurationError(
            "window", f"{made.window} is more than {window_reason}; use at most {max_window}"
        )
    for name in ("presence", "required"):
        if not isinstance(getattr(made, name), bool):
            raise ConfigurationError(name, f"{getattr(made, name)!r} is neither True nor False")
    _check_source(made.source_id)


def check_keywords(names: Collection[str], known: Collection[str], *, connector: str) -> None:
    """Check that a connector knows every keyword.

    :raises ConfigurationError: naming the first one that it does not know.
    """
    for name in names:
        if name not in known:
            near = nearest(name, known)
            meant = f"did you mean {near!r}?" if near else f"known keywords: {', '.join(sorted(known))}"
            raise ConfigurationError(name, f"{connector} has no such keyword; {meant}")


def check_hostname(hostname: object, *, connector: str, usual: int) -> str:
    """Return a host's name or address.

    :param usual: the usual port, for the message.
    :raises ConfigurationError: if it is anything else, such as a URL.
    """
    if not isinstance(hostname, str) or not hostname.strip():
        raise ConfigurationError("hostname", "it must be the broker's name or address, such as 'localhost'")
    if "://" in hostname:
        raise ConfigurationError("hostname", f"this is a URL; pass it to {connector}.from_url(...)")
    if hostname.startswith("[") and hostname.endswith("]"):
        return hostname[1:-1]  # an IPv6 address as it is written in a URL
    if hostname.count(":") == 1:
        raise ConfigurationError("hostname", f"pass the port beside it: {connector}('host', {usual})")
    return hostname


def check_port(port: object, *, usual: str) -> int:
    """Return a port.

    :raises ConfigurationError: if it is not a number from 1 to 65535.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65_535:
        raise ConfigurationError("port", f"{port!r} is not a number from 1 to 65535; {usual}")
    return port


def check_text(name: str, value: object) -> None:
    """Check that a setting is text that a peer accepts, or None.

    :raises ConfigurationError: if it is not text, or is text for which brokers close the connection.
    """
    if value is None:
        return
    if not isinstance(value, str):
        raise ConfigurationError(name, "it must be text")
    if problem := text_problem(value):
        raise ConfigurationError(name, f"it {problem}")


def check_seconds(name: str, value: object, least: float, most: float) -> None:
    """Check a number of seconds.

    :raises ConfigurationError: if it is not one from ``least`` to ``most``.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ConfigurationError(name, f"{value!r} is not a number of seconds from {least:g} to {most:g}")


def no_qos(value: object) -> ConfigurationError:
    """Return the error for a quality of service that does not exist."""
    return ConfigurationError("qos", f"{value!r} is not a QoS; use 0, 1 or 2")


def _check_numbers(made: ConnectorSettings) -> None:
    for name in ("connect_timeout", "drain_timeout"):
        check_seconds(name, getattr(made, name), 0, 3600)
    if made.connect_timeout <= 0:
        raise ConfigurationError("connect_timeout", "it must be more than 0 seconds")
    for name in ("outbox_messages", "outbox_bytes", "window"):
        value = getattr(made, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigurationError(name, f"{value!r} is not a whole number of at least 1")


def _check_source(source_id: object) -> None:
    if source_id is None:
        return
    if not isinstance(source_id, str) or not source_id:
        raise ConfigurationError("source_id", "it must be a name, such as 'press-line-3', or be left out")
    size = len(source_id.encode("utf-8", "surrogatepass"))
    if size > MAX_SOURCE_BYTES:
        raise ConfigurationError("source_id", f"it has {size} bytes; use at most {MAX_SOURCE_BYTES}")
    if not source_id.isprintable():
        raise ConfigurationError(
            "source_id", "it has characters that cannot be printed; brokers refuse those"
        )
