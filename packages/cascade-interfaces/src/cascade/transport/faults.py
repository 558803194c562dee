"""Why a link failed: the cause and the remedy in one line, and what that means for the next attempt."""

from __future__ import annotations

import enum
import errno
import socket
from dataclasses import dataclass


class Kind(enum.Enum):
    """What a fault means for the next attempt."""

    UNREACHABLE = "unreachable"
    CREDENTIALS = "credentials"
    CERTIFICATE = "certificate"
    SILENT = "silent"
    TAKEN_OVER = "taken over"
    SETTINGS = "settings"
    CLOSED = "closed"


_UNKNOWN_HOST = ("Name or service", "nodename", "getaddrinfo", "name resolution")
_REFUSED = ("refused", f"errno {errno.ECONNREFUSED}]")
_SLOW_RETRY = frozenset({Kind.CREDENTIALS, Kind.CERTIFICATE, Kind.SETTINGS})


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a link failed; ``text`` names the cause and what to do."""

    kind: Kind
    text: str
    blames: bool = False
    """Whether a message that was in flight may be the cause."""

    @property
    def slow(self) -> bool:
        """Whether only a person can fix the cause, so that frequent attempts are useless."""
        return self.kind in _SLOW_RETRY


def unanswered(what: str, *, blames: bool = False) -> Fault:
    """Return the fault for a peer that does not answer one request."""
    return Fault(Kind.SILENT, f"the broker does not answer {what}", blames=blames)


def of_system(text: str, cause: BaseException) -> Fault | None:
    """Return the fault for an error of the operating system on the way to the peer; None for any other error."""
    if isinstance(cause, socket.gaierror) or any(sign in text for sign in _UNKNOWN_HOST):
        return Fault(Kind.UNREACHABLE, f"the host name is unknown ({text}); check its spelling and the DNS")
    if isinstance(cause, ConnectionRefusedError) or any(sign in text.lower() for sign in _REFUSED):
        return Fault(Kind.UNREACHABLE, f"{text}; is the broker running, and on this port?")
    return None
