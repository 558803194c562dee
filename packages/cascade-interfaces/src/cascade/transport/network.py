"""The settings of one network: how its URLs look, where its credentials are, and how its connector is made."""

from __future__ import annotations

import logging
import os
import re
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import SplitResult

from cascade.interfaces.errors import ConfigurationError
from cascade.transport import urls
from cascade.transport.settings import (
    OWN,
    ConnectorSettings,
    check_hostname,
    check_keywords,
    check_port,
    check_settings,
    check_text,
)

MAX_WINDOW = 65_535
"""The largest ``window``: each message of QoS 1 or 2 in flight over MQTT has an identifier of 16 bits."""

_PATH = re.compile(r"[\w./~-]*", re.ASCII)

Made = TypeVar("Made", bound=ConnectorSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
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
    proofs: Mapping[str, str] = field(default_factory=dict)
    """The client's keywords that prove who this is, of which only one can be given; each with what it is, in words."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The client's keywords that name a file, each with the end of the variable that names it without a keyword."""
    own: tuple[str, ...] = ()
    """The keywords of the connector itself, beside those that every connector has."""

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
            urls.check_readable(name, client[name])
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
        parts = urls.split(url, example=self.example)
        if parts.scheme not in self.with_path or parts.fragment or not _PATH.fullmatch(parts.path):
            urls.check_ends_after_port(parts, example=self.example)
        scheme = urls.scheme_of(parts, self.ports, example=self.example)
        found = {**more(parts, keywords), **urls.source_of(parts), **keywords}
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
        variable = f"{self.variables}_{name}"
        return urls.secret_of(variable, f"{variable}_FILE", log=self.log)
