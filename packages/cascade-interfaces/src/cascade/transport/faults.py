"""Faults of a link: the cause, the remedy and what that means for the next attempt; errors that a client raises."""

from __future__ import annotations

import enum
import errno
import socket
import ssl
from collections.abc import Mapping
from typing import NamedTuple


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
_TLS = ("certificate", "[ssl", "tls", "secure connection")
_SLOW_RETRY = frozenset({Kind.CREDENTIALS, Kind.CERTIFICATE, Kind.SETTINGS})


class Fault(NamedTuple):
    """Why a link failed; ``text`` names the cause and what to do."""

    kind: Kind
    text: str
    blames: bool = False
    """Whether a message that was in flight may be the cause."""
    stated: bool = False
    """Whether the peer itself has stated the cause."""

    @property
    def slow(self) -> bool:
        """Whether only a person can fix the cause, so that frequent attempts are useless."""
        return self.kind in _SLOW_RETRY


def unanswered(what: str, *, blames: bool = False) -> Fault:
    """Return the fault for a peer that does not answer one request."""
    return Fault(Kind.SILENT, f"the broker does not answer {what}", blames=blames)


def silent(what: str, *, hint: str) -> Fault:
    """Return the fault for a peer that does not answer ``what``: it may be one of another kind."""
    return Fault(Kind.SILENT, f"{what} was not answered in time; check host, port and firewall; {hint}")


def text_fault(text: str, signs: Mapping[str, Fault]) -> Fault | None:
    """Return the fault for the first sign that an error's text has; None if it has none of them.

    :param signs: parts of texts in lower case, and what each means; ``{}`` in a fault stands for the error's own text.
    """
    lower = text.lower()
    found = next((fault for sign, fault in signs.items() if sign in lower), None)
    return None if found is None else found._replace(text=found.text.replace("{}", text))


def tls_fault(text: str, cause: BaseException, *, remedy: str) -> Fault | None:
    """Return the fault for an error of TLS; None for any other error."""
    shown = any(sign in text.lower() for sign in _TLS)
    if "certificate has expired" in f"{text} {cause}".lower():
        remedy = "renew the broker's certificate, or set the clock of this machine"
    if shown or isinstance(cause, ssl.SSLError | ssl.CertificateError):
        return Fault(Kind.CERTIFICATE, f"TLS failed: {text}; {remedy}")
    return None


def keyword_fault(library: str, exc: BaseException) -> Fault | None:
    """Return the fault for a client library that raises because of its arguments; None for any other error."""
    if isinstance(exc, TypeError | ValueError) and not isinstance(exc, OSError):
        text = f"{library} cannot work with its keywords: {exc}; check those that you pass"
        return Fault(Kind.SETTINGS, text)
    return None


def system_fault(text: str, cause: BaseException) -> Fault | None:
    """Return the fault for an error of the operating system on the way to the peer; None for any other error."""
    if isinstance(cause, socket.gaierror) or any(sign in text for sign in _UNKNOWN_HOST):
        return Fault(Kind.UNREACHABLE, f"the host name is unknown ({text}); check its spelling and the DNS")
    if isinstance(cause, ConnectionRefusedError) or any(sign in text.lower() for sign in _REFUSED):
        return Fault(Kind.UNREACHABLE, f"{text}; check that the broker runs, and on this port")
    return None


class LinkLost(Exception):
    """The link is down; ``cause`` is what the client or the operating system raised."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"the link is down: {cause}")
        self.cause = cause


class MessageRejected(Exception):
    """The peer received one message and rejected it; ``code`` is its reason code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"rejected with code {code}")
        self.code = code


class MessageTooLarge(Exception):
    """A message was not sent: it, or the part that ``what`` names, has more bytes than the peer accepts."""

    def __init__(self, size: int, limit: int, *, what: str = "it") -> None:
        super().__init__(f"{what} has {size:,} bytes, and the broker accepts at most {limit:,}")
        self.size = size
        self.limit = limit
