"""The settings of a connector: checked when it is made, or read from one URL."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urllib.parse import SplitResult

from cascade.interfaces.errors import ConfigurationError
from cascade.interfaces.logs import get_logger
from cascade.transport.settings import ConnectorSettings, Network, check_text

_OVER_HTTP = ("ws", "wss")
_CLIENT_LIMITS = ("max_queued_outgoing_messages", "max_inflight_messages")
NETWORK = Network(
    connector="MqttConnector",
    ports={"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443},
    usual_port="brokers use 1883, with TLS 8883",
    example="write mqtt://user@host:1883, or mqtts:// for TLS",
    window_reason="MQTT allows",
    variables="CASCADE_MQTT",
    encrypted=("mqtts", "wss"),
    tls=("tls_context", "tls_params"),
    texts=("username", "identifier"),
    with_path=_OVER_HTTP,
    own=("client_id",),
    in_url={"protocol": ("3.1.1", "5")},
    log=get_logger("cascade.connectors.mqtt"),
)


class Settings(ConnectorSettings):
    """The arguments of the constructor, checked."""

    def __init__(
        self,
        hostname: str,
        port: int,
        *,
        client_id: str | None = None,
        **keywords: Any,
    ) -> None:
        super().__init__(hostname, port, **keywords)
        self.client_id = client_id

    @property
    def lacks(self) -> str:
        """What a broker may miss: the ``password`` of a user, or a ``user``, whom a certificate may name; empty if nothing."""
        if self.client.get("username") is None:
            return "" if self.tls else "user"
        return "password" if self.client.get("password") is None else ""

    @property
    def user(self) -> str:
        """The user name with which the client logs in; empty without one."""
        return self.client.get("username") or ""

    @property
    def fixed_client_id(self) -> str | None:
        """The client id that the user has chosen for a connector without presence; None otherwise."""
        return None if self.named else self.client_id or self.client.get("identifier")

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
    made = NETWORK.settings(Settings, hostname, port, keywords, client=_checked, known=known)
    _check_together(made)
    return made


def from_url(url: str, keywords: Mapping[str, Any]) -> tuple[str, int, dict[str, Any]]:
    """Return host, port and keywords from a URL; ``keywords`` have precedence over the URL.

    A user without a password gets the one in ``CASCADE_MQTT_PASSWORD``, or in the file that
    ``CASCADE_MQTT_PASSWORD_FILE`` names. ``ws://`` and ``wss://`` mean websockets; a path may follow then.
    See ``Network.from_url`` for what every network's URL has.

    :raises ConfigurationError: if the URL has none of these schemes, or no host.
    """
    return NETWORK.from_url(url, keywords, _from_parts)


def _checked(client: dict[str, Any]) -> Mapping[str, Any]:
    if not client:
        return client
    # Most programs pass no keyword of the client.
    from cascade.connectors.mqtt._keywords import checked

    return checked(client)


def _from_parts(parts: SplitResult, keywords: Mapping[str, Any]) -> dict[str, str]:
    from cascade.transport.urls import user_of

    found = user_of(parts)
    wanted = ("username" in found or "username" in keywords) and not {"password"} & {*found, *keywords}
    if wanted and (password := NETWORK.secret("PASSWORD")) is not None:
        found["password"] = password
    return {**found, **_websocket(parts)}


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
    check_text("client_id", made.client_id)
    if made.client.get("clean_session") is False and not (
        made.named or made.client_id or made.client.get("identifier")
    ):
        raise ConfigurationError(
            "clean_session", "the broker keeps a session by its client id; pass client_id= too"
        )
