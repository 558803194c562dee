"""The settings of a connector: checked when it is made, or read from one URL."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cascade.interfaces.errors import ConfigurationError
from cascade.interfaces.logs import get_logger
from cascade.transport import urls
from cascade.transport.settings import (
    OWN,
    ConnectorSettings,
    check,
    check_hostname,
    check_keywords,
    check_port,
)

log = get_logger("cascade.connectors.nats")

_OWN = (*OWN, "bucket", "presence_ttl")
_PORTS = {"nats": 4222, "tls": 4222}
_EXAMPLE = "write nats://user@host:4222, or tls:// for TLS"
_BUCKET = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CREDENTIALS = ("user", "password", "token", "nkeys_seed", "nkeys_seed_str", "user_credentials")
_CLIENT = (*_CREDENTIALS, "name", "tls", "tls_hostname", "tls_handshake_first", "inbox_prefix")
_FILES = ("nkeys_seed", "user_credentials")
_TLS = ("CASCADE_NATS_CA", "CASCADE_NATS_CERT", "CASCADE_NATS_KEY")
MAX_WINDOW = 65_535


@dataclass(frozen=True, slots=True)
class Settings(ConnectorSettings):
    """The arguments of the constructor, checked."""

    bucket: str = "cascade"
    presence_ttl: float = 10.0
    client: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Keywords for ``nats.connect``; they may contain a password."""

    @property
    def credentials(self) -> str:
        """What the server gets as proof of who this is, in words; ``""`` for nothing."""
        given = [name for name in _CREDENTIALS if self.client.get(name) is not None]
        words = {
            "user": "the user name or the password",
            "token": "the token",
            "user_credentials": "the creds file",
        }
        return words.get(given[0], "the nkey") if given else ""

    @property
    def tls(self) -> bool:
        """Whether the link is encrypted."""
        return self.client.get("tls") is not None


def settings(hostname: str, port: int, keywords: Mapping[str, Any]) -> Settings:
    """Return checked settings.

    :raises ConfigurationError: naming the setting that cannot work, and what to write instead.
    """
    check_keywords(keywords, {*_OWN, *_CLIENT}, connector="NatsConnector")
    made = Settings(
        check_hostname(hostname, connector="NatsConnector", usual=4222),
        check_port(port, usual="NATS servers use 4222"),
        client={name: value for name, value in keywords.items() if name in _CLIENT and value is not None},
        **{name: value for name, value in keywords.items() if name in _OWN},
    )
    check(made, max_window=MAX_WINDOW, window_reason="a server needs")
    _check_store(made)
    _check_client(made.client)
    return made


def from_url(url: str, keywords: Mapping[str, Any]) -> tuple[str, int, dict[str, Any]]:
    """Return host, port and keywords from a URL; ``keywords`` have precedence over the URL.

    A user alone is a token unless ``CASCADE_NATS_PASSWORD``, or the file that ``CASCADE_NATS_PASSWORD_FILE`` names,
    has a password. Without a user, ``CASCADE_NATS_TOKEN``, ``CASCADE_NATS_CREDS`` (a file) or ``CASCADE_NATS_NKEY``
    (a file with a seed) counts. With TLS, ``CASCADE_NATS_CA``, ``_CERT`` and ``_KEY`` name files.

    :raises ConfigurationError: if the URL has none of these schemes, or no host. The message shows no part of it.
    """
    parts = urls.split(url, example=_EXAMPLE)
    urls.check_ends_after_port(parts, example=_EXAMPLE)
    scheme = urls.scheme_of(parts, _PORTS, example=_EXAMPLE)
    found: dict[str, Any] = {**urls.source_of(parts), **keywords}
    if {*_CREDENTIALS} & {*keywords} <= {"password"}:
        found |= _credentials({**urls.user_of(parts), **found})
    if scheme == "tls" and "tls" not in keywords:
        found["tls"] = urls.tls_context_of(*_TLS, log=log)
    return parts.hostname or "", urls.port_of(parts, _PORTS[scheme], example=_EXAMPLE), found


def _credentials(user: Mapping[str, str]) -> dict[str, str]:
    if "username" in user:
        password = user.get("password") or urls.secret_of(
            "CASCADE_NATS_PASSWORD", "CASCADE_NATS_PASSWORD_FILE", log=log
        )
        return (
            {"token": user["username"]}
            if password is None
            else {"user": user["username"], "password": password}
        )
    if (token := urls.secret_of("CASCADE_NATS_TOKEN", "CASCADE_NATS_TOKEN_FILE", log=log)) is not None:
        return {"token": token}
    files = {"user_credentials": "CASCADE_NATS_CREDS", "nkeys_seed": "CASCADE_NATS_NKEY"}
    return next(({name: os.environ[each]} for name, each in files.items() if os.environ.get(each)), {})


def _check_store(made: Settings) -> None:
    if not isinstance(made.bucket, str) or not _BUCKET.fullmatch(made.bucket):
        raise ConfigurationError("bucket", "it may have up to 64 of A-Z a-z 0-9 _ and -")
    ttl = made.presence_ttl
    if isinstance(ttl, bool) or not isinstance(ttl, int | float) or not 1 <= ttl <= 3600:
        raise ConfigurationError("presence_ttl", f"{ttl!r} is not a number of seconds from 1 to 3600")


def _check_client(client: Mapping[str, Any]) -> None:
    if "tls" in client and not isinstance(client["tls"], ssl.SSLContext):
        raise ConfigurationError("tls", "it must be an ssl.SSLContext")
    for name in ("user", "password", "token", "name", "nkeys_seed_str", "inbox_prefix", "tls_hostname"):
        if not isinstance(client.get(name, ""), str):
            raise ConfigurationError(name, "it must be text")
    if ("user" in client) != ("password" in client):
        raise ConfigurationError("password", "user and password belong together; pass both, or token=")
    kinds = {*client} & {*_CREDENTIALS} - {"password"}
    if len(kinds) > 1:
        raise ConfigurationError(min(kinds), f"{' and '.join(sorted(kinds))} exclude each other; pass one")
    for name in _FILES:
        if name in client:
            urls.check_readable(name, client[name])
