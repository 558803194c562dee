"""The broker to which the relay connects."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

from cascade.interfaces.logs import get_logger
from cascade.transport import urls

log = get_logger("cascade.web")

CONNECT_SECONDS = 5.0
"""The broker must accept a connection in this time, with TLS too."""

_PORTS = {"mqtt": 1883, "mqtts": 8883}
_TLS = ("CASCADE_MQTT_CA", "CASCADE_MQTT_CERT", "CASCADE_MQTT_KEY")
_EXAMPLE = "write mqtt://host:1883, or mqtts:// for TLS"


class NoBroker(Exception):
    """The broker cannot be reached; the text says why."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Host and port of a broker, and how TLS is spoken there."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    @classmethod
    def of(cls, url: str) -> Upstream:
        """Read a URL; what it says about a user is not used, because the browser logs in.

        :raises ConfigurationError: if it is not one of a broker's TCP or TLS port, or a file for TLS cannot be used.
        """
        parts = urls.split(url, example=_EXAMPLE)
        urls.check_ends_after_port(parts, example=_EXAMPLE)
        scheme = urls.scheme_of(parts, _PORTS, example=_EXAMPLE)
        port = urls.port_of(parts, _PORTS[scheme], example=_EXAMPLE)
        tls = urls.tls_context_of(*_TLS, log=log) if scheme == "mqtts" else None
        return cls(parts.hostname or "", port, tls)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection.

        :raises NoBroker: if there is none in ``CONNECT_SECONDS``.
        """
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await asyncio.open_connection(self.host, self.port, ssl=self.tls)
        except (OSError, UnicodeError) as error:
            raise NoBroker(f"no broker at {self.host}:{self.port}: {_cause(error)}") from error


def _cause(error: OSError | UnicodeError) -> str:
    """Return in a few words why the connection failed."""
    match error:
        case ConnectionRefusedError():
            return "the connection is refused"
        case TimeoutError():
            return "no answer"
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS fails: {error.reason}"
        case OSError(strerror=str(text)):
            return text
        case _:
            return "the host name cannot be used"
