"""Explain in one line why a link failed, and why a server that answers cannot keep registers."""

from __future__ import annotations

import ssl

from cascade.connectors.nats._client import CLOSED
from cascade.transport.faults import Fault, Kind, of_system

_HINT = "is this the NATS port of a server (4222), and not its port for MQTT or HTTP?"
_WANTS = "; if it wants a client certificate, set CASCADE_NATS_CERT and CASCADE_NATS_KEY"
_AUTHORIZATION = ("authorization", "authentication", "user credentials", "account")
_TLS = ("secure connection", "tls", "certificate")
_BUSY = ("maximum connections", "maximum account")


def silent(*, tls: bool) -> Fault:
    """Return the fault for a peer that did not answer: it may not be a NATS server."""
    hint = "the server may want a client certificate" if tls else _HINT
    return Fault(
        Kind.SILENT, f"the connection was not answered in time; check host, port and firewall; {hint}"
    )


def explain(exc: BaseException, *, credentials: str, tls: bool) -> Fault:
    """Return why a client could not connect, from what it or the operating system raised.

    :param credentials: what was sent as proof of who this is, in words; ``""`` if nothing was.
    """
    text = str(exc).removeprefix("nats: ").strip("'") or type(exc).__name__
    if isinstance(exc, TimeoutError):
        return silent(tls=tls)
    if (tls and isinstance(exc, ConnectionResetError | BrokenPipeError | EOFError)) or text == CLOSED:
        return Fault(Kind.CLOSED, f"{CLOSED}{_WANTS if tls else ''}")
    return of_system(text, exc) or _of_server(text, exc, credentials)


def _of_server(text: str, exc: BaseException, credentials: str) -> Fault:
    if isinstance(exc, ssl.SSLError | ssl.CertificateError) or any(each in text.lower() for each in _TLS):
        return Fault(
            Kind.CERTIFICATE, f"TLS failed: {text}; check tls:// in the URL, CASCADE_NATS_CA and tls="
        )
    if any(each in text.lower() for each in _AUTHORIZATION):
        return Fault(Kind.CREDENTIALS, _refused(credentials))
    if any(each in text.lower() for each in _BUSY):
        return Fault(Kind.CLOSED, f"the server accepts no more clients ({text}); raise its max_connections")
    if "info message" in text.lower() or "not enough values" in text:
        return Fault(Kind.CLOSED, f"no NATS server answered; {_HINT}")
    if isinstance(exc, TypeError | ValueError) and not isinstance(exc, OSError):
        return Fault(
            Kind.SETTINGS, f"nats-py cannot work with its keywords: {text}; check those that you pass"
        )
    return Fault(Kind.CLOSED, text)


def explain_loss(exc: BaseException) -> Fault:
    """Return why a link that was up is lost."""
    text = str(exc).removeprefix("nats: ").strip("'") or type(exc).__name__
    if "authentication expired" in text.lower() or "revoked" in text.lower():
        return Fault(
            Kind.CREDENTIALS, f"the server has ended the access of this user ({text}); renew its credentials"
        )
    if "stale" in text.lower():
        return Fault(Kind.SILENT, "the server did not answer within the keepalive time")
    blames = isinstance(exc, EOFError | ConnectionError) or "eof" in text.lower() or "payload" in text.lower()
    return Fault(Kind.CLOSED, text, blames=blames)


def _refused(credentials: str) -> str:
    if credentials:
        return f"the server refuses {credentials}; check it, and what the server allows"
    return (
        "the server wants credentials, and none were given; pass the keywords user and password, token, nkeys_seed "
        "or user_credentials, or set CASCADE_NATS_PASSWORD, _TOKEN, _NKEY or _CREDS"
    )
