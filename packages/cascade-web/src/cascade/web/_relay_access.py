"""The decision who may use the relay, from the request alone."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

_TOKEN = "token."


@dataclass(frozen=True, slots=True)
class RelayAccess:
    """What a request must show before the relay opens a connection to the broker.

    :param token: what it must know; None where only this machine reaches the relay.
    """

    token: str | None = None

    def admits_origin(self, host: str, origin: str | None) -> bool:
        """Return whether the page that asks is one that was served here.

        A browser names the page's origin in every request for a WebSocket, so a page of another host is refused.
        On loopback the host must be this machine's own: a foreign host name may lead here as well (DNS rebinding).

        :param host: the header ``Host``.
        :param origin: the header ``Origin``; None from a program that is not a browser.
        """
        if self.token is None and not _is_this_machine(host):
            return False
        if origin is None:
            return True
        scheme, _, place = origin.partition("://")
        return scheme in ("http", "https") and place.lower() == host.lower()

    def admits_token(self, protocols: str) -> bool:
        """Return whether the protocols that a browser offers, ``mqtt, token.XYZ``, have the token.

        There it is in no address, which a reverse proxy writes into its log.
        """
        if self.token is None:
            return True
        given = [each.strip().removeprefix(_TOKEN) for each in protocols.split(",") if _TOKEN in each]
        return any(secrets.compare_digest(each.encode(), self.token.encode()) for each in given)


def _is_this_machine(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False
