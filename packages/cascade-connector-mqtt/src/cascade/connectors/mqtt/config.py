"""The settings of a connector: checked when it is made, or read from one URL."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult

from cascade.connectors.mqtt import _keywords
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

log = get_logger("cascade.connectors.mqtt")

MAX_WINDOW = 65_535
"""Each message of QoS 1 or 2 in flight has a packet identifier of 16 bits."""
PASSWORD_VARIABLE = "CASCADE_MQTT_PASSWORD"
PASSWORD_FILE_VARIABLE = "CASCADE_MQTT_PASSWORD_FILE"

CA_VARIABLE, CERT_VARIABLE, KEY_VARIABLE = "CASCADE_MQTT_CA", "CASCADE_MQTT_CERT", "CASCADE_MQTT_KEY"

_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_ENCRYPTED, _OVER_HTTP = ("mqtts", "wss"), ("ws", "wss")
_PATH = re.compile(r"[\w./~-]*", re.ASCII)
_OWN = (*OWN, "client_id")
_CLIENT_LIMITS = ("max_queued_outgoing_messages", "max_inflight_messages")
_EXAMPLE = "write mqtt://user@host:1883, or mqtts:// for TLS"


@dataclass(frozen=True, slots=True)
class Settings(ConnectorSettings):
    """The arguments of the constructor, checked."""

    client_id: str | None = None
    client: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Keywords for ``aiomqtt.Client``; they may contain a password."""

    @property
    def lacks_password(self) -> bool:
        """Whether there is a user name without a password."""
        return self.client.get("username") is not None and self.client.get("password") is None

    @property
    def user(self) -> str:
        """The user name with which the client logs in; empty without one."""
        return self.client.get("username") or ""

    @property
    def fixed_client_id(self) -> str | None:
        """The client id that the user has chosen for a connector without presence; None otherwise."""
        return None if self.named else self.client_id or self.client.get("identifier")

    @property
    def tls(self) -> bool:
        """Whether the link is encrypted."""
        return any(self.client.get(name) is not None for name in ("tls_context", "tls_params"))

    @property
    def in_flight_limit(self) -> int:
        """How many messages are in flight at most: no more than the client keeps or sends at a time."""
        limits = (self.client.get(name) for name in _CLIENT_LIMITS)
        return min([self.window, *(each for each in limits if isinstance(each, int) and each > 0)])


def settings(hostname: str, port: int, keywords: Mapping[str, Any], *, known: Collection[str]) -> Settings:
    """Return checked settings.

    :param known: the keywords of ``aiomqtt.Client`` that may be passed through.
    :raises ConfigurationError: naming the setting that cannot work, and what to write instead.
    """
    check_keywords(keywords, {*_OWN, *known}, connector="MqttConnector")
    own = {name: value for name, value in keywords.items() if name in _OWN}
    client = {name: value for name, value in keywords.items() if name not in _OWN}
    made = Settings(
        check_hostname(hostname, connector="MqttConnector", usual=1883),
        check_port(port, usual="brokers use 1883, with TLS 8883"),
        client=_keywords.checked(client),
        **own,
    )
    check(made, max_window=MAX_WINDOW, window_reason="MQTT allows")
    _check_together(made)
    return made


def from_url(url: str, keywords: Mapping[str, Any]) -> tuple[str, int, dict[str, Any]]:
    """Return host, port and keywords from a URL; ``keywords`` have precedence over the URL.

    A user without a password gets the one in ``CASCADE_MQTT_PASSWORD``, or in the file that
    ``CASCADE_MQTT_PASSWORD_FILE`` names. The name is in ``?source_id=``, else in ``CASCADE_SOURCE_ID``.

    ``ws://`` and ``wss://`` mean websockets; a path may follow then. With TLS, ``CASCADE_MQTT_CA`` names
    the file of the authorities to trust, ``CASCADE_MQTT_CERT`` and ``CASCADE_MQTT_KEY`` a client's certificate.

    :raises ConfigurationError: if the URL has none of these schemes, or no host. The
        message shows no part of the URL: in an invalid one, any part may be the password.
    """
    parts = urls.split(url, example=_EXAMPLE)
    if parts.scheme not in _OVER_HTTP or parts.fragment or not _PATH.fullmatch(parts.path):
        urls.check_ends_after_port(parts, example=_EXAMPLE)
    scheme = urls.scheme_of(parts, _PORTS, example=_EXAMPLE)
    keywords = {**_credentials(parts, keywords), **urls.source_of(parts), **_websocket(parts), **keywords}
    if scheme in _ENCRYPTED and not {"tls_context", "tls_params"} & set(keywords):
        keywords["tls_context"] = urls.tls_context_of(CA_VARIABLE, CERT_VARIABLE, KEY_VARIABLE, log=log)
    return parts.hostname or "", urls.port_of(parts, _PORTS[scheme], example=_EXAMPLE), keywords


def _credentials(parts: SplitResult, keywords: Mapping[str, Any]) -> dict[str, str]:
    found = urls.user_of(parts)
    wanted = ("username" in found or "username" in keywords) and not {"password"} & {*found, *keywords}
    if (
        wanted
        and (password := urls.secret_of(PASSWORD_VARIABLE, PASSWORD_FILE_VARIABLE, log=log)) is not None
    ):
        found["password"] = password
    return found


def _websocket(parts: SplitResult) -> dict[str, str]:
    if parts.scheme not in _OVER_HTTP:
        return {}
    path = {"websocket_path": parts.path} if parts.path.strip("/") else {}
    return {"transport": "websockets", **path}


def _check_together(made: Settings) -> None:
    if made.client.get("will") is not None and made.presence:
        raise ConfigurationError(
            "will", "the connector sets its own will; pass presence=False to set another one"
        )
    if made.client_id is not None and made.client.get("identifier") is not None:
        raise ConfigurationError("client_id", "identifier sets the same; pass only one of the two")
    _keywords.check_text("client_id", made.client_id)
    if made.client.get("clean_session") is False and not (
        made.named or made.client_id or made.client.get("identifier")
    ):
        raise ConfigurationError(
            "clean_session", "the broker keeps a session by its client id; pass client_id= too"
        )
