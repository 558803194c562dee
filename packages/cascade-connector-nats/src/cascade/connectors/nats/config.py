"""The settings of a connector: checked when it is made, or read from one URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urllib.parse import SplitResult

from cascade.interfaces.errors import ConfigurationError
from cascade.interfaces.logs import get_logger
from cascade.transport.settings import ConnectorSettings, Network, check_seconds

NETWORK = Network(
    connector="NatsConnector",
    ports={"nats": 4222, "tls": 4222},
    usual_port="NATS servers use 4222",
    example="write nats://user@host:4222, or tls:// for TLS",
    window_reason="a server needs",
    variables="CASCADE_NATS",
    encrypted=("tls",),
    tls=("tls",),
    texts=("user", "password", "token", "name", "nkeys_seed_str", "inbox_prefix", "tls_hostname"),
    proofs={
        "user": "the user name or the password",
        "token": "the token",
        "user_credentials": "the creds file",
        "nkeys_seed": "the nkey",
        "nkeys_seed_str": "the nkey",
    },
    files={"user_credentials": "CREDS", "nkeys_seed": "NKEY"},
    own=("bucket", "presence_ttl"),
    log=get_logger("cascade.connectors.nats"),
)
_BUCKET = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CLIENT = {*NETWORK.proofs, *NETWORK.texts, "tls", "tls_handshake_first"}


class Settings(ConnectorSettings):
    """The arguments of the constructor, checked."""

    def __init__(
        self,
        hostname: str,
        port: int,
        *,
        bucket: str = "cascade",
        presence_ttl: float = 10.0,
        **keywords: Any,
    ) -> None:
        super().__init__(hostname, port, **keywords)
        self.bucket = bucket
        self.presence_ttl = presence_ttl

    @property
    def presence_lifetime(self) -> float | None:
        """Seconds for which the server keeps what announces this process."""
        return self.presence_ttl if self.presence else None


def settings(hostname: str, port: int, keywords: Mapping[str, Any]) -> Settings:
    """Return checked settings.

    :raises ConfigurationError: naming the setting that cannot work, and what to write instead.
    """
    made = NETWORK.settings(Settings, hostname, port, keywords, client=_checked, known=_CLIENT)
    if not isinstance(made.bucket, str) or not _BUCKET.fullmatch(made.bucket):
        raise ConfigurationError("bucket", "it may have up to 64 of A-Z a-z 0-9 _ and -")
    check_seconds("presence_ttl", made.presence_ttl, 1, 3600)
    return made


def from_url(url: str, keywords: Mapping[str, Any]) -> tuple[str, int, dict[str, Any]]:
    """Return host, port and keywords from a URL; ``keywords`` have precedence over the URL.

    A user alone is a token unless ``CASCADE_NATS_PASSWORD``, or the file that ``CASCADE_NATS_PASSWORD_FILE`` names,
    has a password. Without a user, ``CASCADE_NATS_TOKEN``, ``CASCADE_NATS_CREDS`` (a file) or ``CASCADE_NATS_NKEY``
    (a file with a seed) counts. See ``Network.from_url`` for what every network's URL has.

    :raises ConfigurationError: if the URL has none of these schemes, or no host.
    """
    return NETWORK.from_url(url, keywords, _credentials)


def _credentials(parts: SplitResult, keywords: Mapping[str, Any]) -> dict[str, str]:
    if {*NETWORK.proofs} & {*keywords}:
        return {}
    from cascade.transport.urls import user_of

    found = {**user_of(parts), **keywords}
    if "username" in found:
        password = found.get("password") or NETWORK.secret("PASSWORD")
        if password is None:
            return {"token": found["username"]}
        return {"user": found["username"], "password": password}
    if (token := NETWORK.secret("TOKEN")) is not None:
        return {"token": token}
    return NETWORK.file()


def _checked(keywords: Mapping[str, Any]) -> dict[str, Any]:
    client = {name: value for name, value in keywords.items() if value is not None}
    if ("user" in client) != ("password" in client):
        raise ConfigurationError("password", "user and password belong together; pass both, or token=")
    return client
