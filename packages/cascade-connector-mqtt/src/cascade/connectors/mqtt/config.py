"""The settings of a connector: checked when it is made, or read from one URL."""

from __future__ import annotations

import contextlib
import difflib
import os
import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from cascade.connectors.mqtt import _keywords
from cascade.interfaces.errors import ConfigurationError

MIB = 1024 * 1024
MAX_SOURCE_BYTES = 64
QOS = (0, 1, 2)
WINDOW = 20
"""Messages in flight at the same time."""

PASSWORD_VARIABLE = "CASCADE_MQTT_PASSWORD"
PASSWORD_FILE_VARIABLE = "CASCADE_MQTT_PASSWORD_FILE"

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_OWN = (
    "source_id",
    "client_id",
    "presence",
    "connect_timeout",
    "required",
    "outbox_messages",
    "outbox_bytes",
    "drain_timeout",
)
_EXAMPLE = "write mqtt://user@host:1883, or mqtts:// for TLS"
_ENCODE = "special characters in user and password must be percent-encoded (@ is %40)"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that was said to the constructor, valid."""

    hostname: str
    port: int
    source_id: str | None = None
    client_id: str | None = None
    presence: bool = True
    connect_timeout: float = 2.0
    required: bool = False
    outbox_messages: int = 65_536
    outbox_bytes: int = 32 * MIB
    drain_timeout: float = 5.0
    client: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Keywords that go to ``aiomqtt.Client``; they may hold a password."""

    @property
    def named(self) -> bool:
        """Whether births and good-byes are told under a name of its own."""
        return self.presence and self.source_id is not None

    @property
    def tls(self) -> bool:
        """Whether the link is encrypted."""
        return any(self.client.get(name) is not None for name in ("tls_context", "tls_params"))

    @property
    def window(self) -> int:
        """How many messages are in flight at most: no more than the client queues."""
        queued = self.client.get("max_queued_outgoing_messages") or WINDOW
        return min(WINDOW, queued) if isinstance(queued, int) and queued > 0 else WINDOW


def settings(hostname: str, port: int, keywords: Mapping[str, Any], *, known: Collection[str]) -> Settings:
    """Return checked settings.

    :param known: the keywords of ``aiomqtt.Client`` that may be passed through.
    :raises ConfigurationError: naming the setting that cannot work, and what to write instead.
    """
    for name in keywords:
        if name not in _OWN and name not in known:
            raise ConfigurationError(name, _unknown(name, {*_OWN, *known}))
    own = {name: value for name, value in keywords.items() if name in _OWN}
    client = {name: value for name, value in keywords.items() if name not in _OWN}
    made = Settings(_hostname(hostname), _port(port), client=_keywords.checked(client), **own)
    _check_numbers(made)
    _check_flags(made)
    _check_source(made.source_id)
    _check_together(made)
    return made


def no_qos(value: object) -> ConfigurationError:
    """Return the error of whoever asks for a quality of service that MQTT does not have."""
    return ConfigurationError("qos", f"{value!r} is none of 0, 1 and 2")


def from_url(url: str, keywords: Mapping[str, Any]) -> tuple[str, int, dict[str, Any]]:
    """Return host, port and keywords from a URL; ``keywords`` win over what the URL says.

    A user without a password gets the one in ``CASCADE_MQTT_PASSWORD``, or in the file that
    ``CASCADE_MQTT_PASSWORD_FILE`` names.

    :raises ConfigurationError: if the URL is not ``mqtt://`` or ``mqtts://`` with a host. It
        shows nothing of the URL: where a password stands in a wrong one, nobody knows.
    """
    parts = _split(url)
    scheme = _scheme(parts)
    keywords = {**_credentials(parts, keywords), **keywords}
    if scheme == "mqtts" and not {"tls_context", "tls_params"} & set(keywords):
        keywords["tls_context"] = ssl.create_default_context()
    return parts.hostname or "", _url_port(parts, scheme), keywords


def _split(url: str) -> SplitResult:
    if not isinstance(url, str) or "://" not in url:
        raise ConfigurationError("url", f"this is no URL; {_EXAMPLE}")
    parts = _parsed(url)
    if parts is None:
        raise ConfigurationError("url", f"it cannot be read; {_ENCODE}; {_EXAMPLE}")
    if not parts.hostname:
        raise ConfigurationError("url", f"it names no host; {_EXAMPLE}")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ConfigurationError(
            "url", f"nothing may follow host and port; pass keywords beside it; {_ENCODE}; {_EXAMPLE}"
        )
    return parts


def _parsed(url: str) -> SplitResult | None:
    with contextlib.suppress(ValueError):  # which shows the password
        return urlsplit(url.strip())
    return None


def _scheme(parts: SplitResult) -> str:
    if parts.scheme in _PORTS:
        return parts.scheme
    near = difflib.get_close_matches(parts.scheme, _PORTS, n=1, cutoff=0.7)
    meant = f"did you mean {near[0]}://?" if near else _EXAMPLE
    raise ConfigurationError("url", f"it begins with neither mqtt:// nor mqtts://; {meant}")


def _url_port(parts: SplitResult, scheme: str) -> int:
    with contextlib.suppress(ValueError):  # which shows the password where the host was forgotten
        return _PORTS[scheme] if parts.port is None else parts.port
    raise ConfigurationError(
        "url", f"its port is not a number from 1 to 65535, or its host is missing; {_EXAMPLE}"
    )


def _credentials(parts: SplitResult, keywords: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if parts.username:
        found["username"] = unquote(parts.username)
    if parts.password is not None:
        found["password"] = unquote(parts.password)
    elif (parts.username or "username" in keywords) and "password" not in keywords:
        found.update(_password())
    return found


def _password() -> dict[str, str]:
    if password := os.environ.get(PASSWORD_VARIABLE):
        return {"password": password}
    if not (name := os.environ.get(PASSWORD_FILE_VARIABLE)):
        return {}
    try:
        return {"password": Path(name).read_text(encoding="utf-8").rstrip("\r\n")}
    except (OSError, ValueError) as exc:  # which show the name or the content, and either may be a password
        problem = getattr(exc, "strerror", None) or "it is not a name of a file, or not a file of UTF-8 text"
    raise ConfigurationError(PASSWORD_FILE_VARIABLE, f"the file that it names cannot be read: {problem}")


def _unknown(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(sorted(known))}"
    return f"MqttConnector has no such keyword; {meant}"


def _hostname(hostname: object) -> str:
    if not isinstance(hostname, str) or not hostname.strip():
        raise ConfigurationError("hostname", "it must be the broker's name or address, such as 'localhost'")
    if "://" in hostname:
        raise ConfigurationError("hostname", "this is a URL; pass it to MqttConnector.from_url(...)")
    if hostname.count(":") == 1:
        raise ConfigurationError("hostname", "pass the port beside it: MqttConnector('host', 1883)")
    return hostname


def _port(port: object) -> int:
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= 65_535:
        raise ConfigurationError(
            "port", f"{port!r} is not a number from 1 to 65535; brokers use 1883, with TLS 8883"
        )
    return port


def _check_numbers(made: Settings) -> None:
    for name in ("connect_timeout", "drain_timeout"):
        value = getattr(made, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 3600:
            raise ConfigurationError(name, f"{value!r} is not a number of seconds from 0 to 3600")
    if made.connect_timeout <= 0:
        raise ConfigurationError("connect_timeout", "it must be more than 0 seconds")
    for name in ("outbox_messages", "outbox_bytes"):
        value = getattr(made, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigurationError(name, f"{value!r} is not a whole number of at least 1")


def _check_flags(made: Settings) -> None:
    for name in ("presence", "required"):
        if not isinstance(getattr(made, name), bool):
            raise ConfigurationError(name, f"{getattr(made, name)!r} is neither True nor False")


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


def _check_together(made: Settings) -> None:
    if made.client.get("will") is not None and made.presence:
        raise ConfigurationError(
            "will", "the connector tells its own will; pass presence=False to have another one"
        )
    if made.client_id is not None and made.client.get("identifier") is not None:
        raise ConfigurationError("client_id", "identifier says the same thing; pass one of the two")
    _keywords.check_text("client_id", made.client_id)
    if made.client.get("clean_session") is False and not (
        made.named or made.client_id or made.client.get("identifier")
    ):
        raise ConfigurationError(
            "clean_session", "the broker keeps a session by its client id; pass client_id= too"
        )
