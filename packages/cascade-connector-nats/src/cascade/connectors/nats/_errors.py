"""Explain in one line why a link failed."""

from __future__ import annotations

from cascade.connectors.nats._client import CLOSED
from cascade.transport.faults import Fault, Kind, keyword_fault, silent, system_fault, text_fault, tls_fault

_HINT = "is this the NATS port of a server (4222), and not its port for MQTT or HTTP?"
_WANTS = "; if it wants a client certificate, set CASCADE_NATS_CERT and CASCADE_NATS_KEY"
_NO_CREDENTIALS = (
    "the server wants credentials, and none were given; pass the keywords user and password, token, nkeys_seed "
    "or user_credentials, or set CASCADE_NATS_PASSWORD, _TOKEN, _NKEY or _CREDS"
)
_FULL = Fault(Kind.CLOSED, "the server accepts no more clients ({}); raise its max_connections")
_OTHER = Fault(Kind.CLOSED, f"no NATS server answered; {_HINT}")
_ENDED = Fault(Kind.CREDENTIALS, "the server has ended the access of this user ({}); renew its credentials")
_SIGNS = {
    "maximum connections": _FULL,
    "maximum account": _FULL,
    "info message": _OTHER,
    "not enough values": _OTHER,
    "authentication expired": _ENDED,
    "revoked": _ENDED,
    "stale": Fault(Kind.SILENT, "the server did not answer within the keepalive time"),
    "eof": Fault(Kind.CLOSED, "{}", blames=True),
    "payload": Fault(Kind.CLOSED, "{}", blames=True),
}
_AUTHORIZATION = ("authorization", "authentication", "user credentials", "account")


def explain(exc: BaseException | None, *, credentials: str, tls: bool) -> Fault:
    """Return why a client could not connect, from what it or the operating system raised; None: it did not answer.

    :param credentials: what was sent as proof of who this is, in words; ``""`` if nothing was.
    """
    if exc is None or isinstance(exc, TimeoutError):
        return silent("the connection", hint="the server may want a client certificate" if tls else _HINT)
    text = _text_of(exc)
    if (tls and isinstance(exc, ConnectionResetError | BrokenPipeError | EOFError)) or text == CLOSED:
        return Fault(Kind.CLOSED, f"{CLOSED}{_WANTS if tls else ''}")
    refused = f"the server refuses {credentials}; check it, and what the server allows"
    denied = Fault(Kind.CREDENTIALS, refused if credentials else _NO_CREDENTIALS)
    return (
        system_fault(text, exc)
        or tls_fault(text, exc, remedy="check tls:// in the URL, CASCADE_NATS_CA and tls=")
        or text_fault(text, _SIGNS | dict.fromkeys(_AUTHORIZATION, denied))
        or keyword_fault("nats-py", exc)
        or Fault(Kind.CLOSED, text)
    )


def explain_loss(exc: BaseException) -> Fault:
    """Return why a link that was up is lost."""
    text = _text_of(exc)
    blames = isinstance(exc, EOFError | ConnectionError)
    return text_fault(text, _SIGNS) or Fault(Kind.CLOSED, text, blames=blames)


def _text_of(exc: BaseException) -> str:
    return str(exc).removeprefix("nats: ").strip("'") or type(exc).__name__
