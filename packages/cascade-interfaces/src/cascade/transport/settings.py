"""The settings of every networked connector, their checks, and what distinguishes those of one network."""

from __future__ import annotations

import logging
import os
import re
import ssl
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cascade.interfaces.errors import ConfigurationError
from cascade.interfaces.text import nearest, text_problem

if TYPE_CHECKING:
    from urllib.parse import SplitResult

MIB = 1024 * 1024
MAX_SOURCE_BYTES = 64
QOS = (0, 1, 2)
_NOTHING: Mapping[str, Any] = MappingProxyType({})
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


class ConnectorSettings:
    """The arguments that a connector's constructor has taken, checked. A connector adds its own attributes.

    :param client: keywords for the client library; they may contain a password.
    :param tls: whether the link is encrypted.
    """

    def __init__(
        self,
        hostname: str,
        port: int,
        *,
        source_id: str | None = None,
        presence: bool = True,
        connect_timeout: float = 2.0,
        required: bool = False,
        outbox_messages: int = 65_536,
        outbox_bytes: int = 32 * MIB,
        drain_timeout: float = 5.0,
        window: int = 400,
        client: Mapping[str, Any] = _NOTHING,
        tls: bool = False,
    ) -> None:
        self.hostname = hostname
        self.port = port
        self.source_id = source_id
        self.presence = presence
        self.connect_timeout = connect_timeout
        self.required = required
        self.outbox_messages = outbox_messages
        self.outbox_bytes = outbox_bytes
        self.drain_timeout = drain_timeout
        self.window = window
        self.client = client
        self.tls = tls

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


MAX_WINDOW = 65_535
"""The largest ``window``: each message of QoS 1 or 2 in flight over MQTT has an identifier of 16 bits."""

_PATH = re.compile(r"[\w./~-]*", re.ASCII)

Made = TypeVar("Made", bound=ConnectorSettings)


class Network(NamedTuple):
    """What distinguishes the settings of one network from those of others."""

    connector: str
    """The name of the connector's class, for messages."""
    ports: Mapping[str, int]
    """The schemes of URLs, each with its usual port; the first one is the network's own."""
    usual_port: str
    """What a message says about a port that cannot be one."""
    example: str
    """What a message says about a URL that cannot be read."""
    window_reason: str
    """What limits the window, for the message."""
    variables: str
    """How the names of its environment variables begin: behind it stand ``_PASSWORD``, ``_CA`` ..."""
    encrypted: Collection[str]
    """The schemes with TLS."""
    tls: tuple[str, ...]
    """The client's keywords for TLS; the first one is a context, which the URL of an encrypted scheme sets."""
    texts: tuple[str, ...]
    """The client's keywords that are text."""
    log: logging.Logger
    with_path: Collection[str] = ()
    """The schemes behind whose port a path may follow."""
    proofs: Mapping[str, str] = _NOTHING
    """The client's keywords that prove who this is, of which only one can be given; each with what it is, in words."""
    files: Mapping[str, str] = _NOTHING
    """The client's keywords that name a file, each with the end of the variable that names it without a keyword."""
    own: tuple[str, ...] = ()
    """The keywords of the connector itself, beside those that every connector has."""
    in_url: Mapping[str, Collection[str]] = _NOTHING
    """Keywords that a URL may have in its query, beside ``source_id``, each with the values that it may have there."""

    def settings(
        self,
        kind: Callable[..., Made],
        hostname: object,
        port: object,
        keywords: Mapping[str, Any],
        *,
        client: Callable[[dict[str, Any]], Mapping[str, Any]],
        known: Collection[str],
    ) -> Made:
        """Return checked settings.

        :param kind: makes them.
        :param client: returns the keywords of the client, checked; ``known`` has their names.
        :raises ConfigurationError: naming the setting that cannot work, and what to write instead.
        """
        own = {*OWN, *self.own}
        check_keywords(keywords, {*own, *known}, connector=self.connector)
        usual = next(iter(self.ports.values()))
        of_client = {name: value for name, value in keywords.items() if name not in own}
        self._check_client(of_client)
        made = kind(
            check_hostname(hostname, connector=self.connector, usual=usual),
            check_port(port, usual=self.usual_port),
            client=self._proved(client(of_client)),
            tls=any(of_client.get(name) is not None for name in self.tls),
            **{name: value for name, value in keywords.items() if name in own},
        )
        check_settings(made, max_window=MAX_WINDOW, window_reason=self.window_reason)
        return made

    def _check_client(self, client: Mapping[str, Any]) -> None:
        for name in self.texts:
            check_text(name, client.get(name))
        context = client.get(self.tls[0])
        if context is not None and not isinstance(context, ssl.SSLContext):
            raise ConfigurationError(self.tls[0], "it must be an ssl.SSLContext")

    def _proved(self, client: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the keywords of the client, with one proof at most, and with files that can be read."""
        given = sorted({*client} & {*self.proofs})
        if len(given) > 1:
            raise ConfigurationError(given[0], f"{' and '.join(given)} exclude each other; pass one")
        for name in {*self.files} & {*client}:
            from cascade.transport.urls import check_readable

            check_readable(name, client[name])
        return client

    def proof(self, client: Mapping[str, Any]) -> str:
        """Return what the peer gets as proof of who this is, in words; ``""`` for nothing.

        :param client: the keywords of the client, checked.
        """
        return next((words for name, words in self.proofs.items() if name in client), "")

    def from_url(
        self,
        url: str,
        keywords: Mapping[str, Any],
        more: Callable[[SplitResult, Mapping[str, Any]], Mapping[str, Any]],
    ) -> tuple[str, int, dict[str, Any]]:
        """Return host, port and keywords from a URL; ``keywords`` have precedence over the URL.

        The name is in ``?source_id=``, else in ``CASCADE_SOURCE_ID``. With TLS, the variables ``_CA``, ``_CERT`` and
        ``_KEY`` name the file of the authorities to trust, and a client's certificate with its key.

        :param more: returns further keywords from the parts of the URL and the given keywords, such as credentials.
        :raises ConfigurationError: if the URL has none of the schemes, or no host. The message shows no part of it: in
            an invalid one, any part may be the password.
        """
        from cascade.transport import urls

        parts = urls.split(url, example=self.example)
        if parts.scheme not in self.with_path or parts.fragment or not _PATH.fullmatch(parts.path):
            urls.check_ends_after_port(parts, example=self.example)
        scheme = urls.scheme_of(parts, self.ports, example=self.example)
        found = {**more(parts, keywords), **urls.query_of(parts, self.in_url), **keywords}
        if scheme in self.encrypted and not {*self.tls} & {*keywords}:
            found[self.tls[0]] = urls.tls_context_of(
                *(f"{self.variables}_{each}" for each in ("CA", "CERT", "KEY")), log=self.log
            )
        return parts.hostname or "", urls.port_of(parts, self.ports[scheme], example=self.example), found

    def file(self) -> dict[str, str]:
        """Return the keyword for the first file that the environment names; nothing without one."""
        named = ((name, os.environ.get(f"{self.variables}_{end}")) for name, end in self.files.items())
        return next(({name: path} for name, path in named if path), {})

    def secret(self, name: str) -> str | None:
        """Return a secret from the environment, or from the file that it names; None without one.

        :param name: the end of the variable, such as ``PASSWORD``.
        :raises ConfigurationError: if that file cannot be read.
        """
        from cascade.transport import urls

        variable = f"{self.variables}_{name}"
        return urls.secret_of(variable, f"{variable}_FILE", log=self.log)
