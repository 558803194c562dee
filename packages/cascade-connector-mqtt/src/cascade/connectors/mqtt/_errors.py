"""Explain in one line why a link failed: the cause and the remedy."""

from __future__ import annotations

import enum
import ssl

from cascade.connectors.mqtt._aiomqtt_client import reason_code
from cascade.connectors.mqtt._aiomqtt_internals import UNANSWERED
from cascade.transport import faults
from cascade.transport.faults import Fault, Kind, keyword_fault, system_fault, text_fault, tls_fault

_LACKS = {
    "password": "no password was given: set CASCADE_MQTT_PASSWORD or CASCADE_MQTT_PASSWORD_FILE, or pass the keyword password",
    "user": "no user was given: write it into the URL, as mqtt://USER@HOST, or pass the keyword username",
}

# MQTT 3.1.1, section 3.2.2.3; MQTT 5.0, section 3.2.2.2
_CREDENTIALS = {4, 5, 134, 135, 138}
_WITHOUT_ACCESS = {4, 5, 134, 135}
_TAKEN_OVER = 142
_KEEPALIVE = 141
_INNOCENT = {136, 137, 139, 140, 141, 142, 147, 150, 152, 156, 157, 159, 160}
"""Reasons of a DISCONNECT that no message is to blame for; MQTT 5.0, section 3.14.2.1."""

_ENDED = (UNANSWERED, "reset by peer", "EOF occurred", "Broken pipe")

_REASONS = {
    1: "the broker does not speak this version of MQTT; pass protocol=",
    2: "the broker refuses the client id; pass another client_id= or source_id=",
    3: "the broker is not available yet",
    4: "the user name or the password is wrong",
    5: "the broker does not allow this client; check user name, password and its access list",
    128: "the broker closed the connection",
    132: "the broker does not speak this version of MQTT; pass protocol=",
    133: "the broker refuses the client id; pass another client_id= or source_id=",
    134: "the user name or the password is wrong",
    135: "the broker does not allow this client; check user name, password and its access list",
    136: "the broker is not available yet",
    137: "the broker is busy",
    138: "the broker has banned this client",
    139: "the broker is shutting down",
    141: "the broker did not answer within the keepalive time",
    142: "another client took over the client id; give each process a source_id= or client_id= of its own",
    149: "a message was larger than the broker allows",
    151: "the broker's quota is exceeded",
}
_NOT_ALLOWED = 135
_CERTIFICATES = "check the port, the host name and the certificates that it trusts: CASCADE_MQTT_CA, tls_params= or tls_context="
_SIGNS = {
    "websocket": Fault(
        Kind.CLOSED, "{}; is this a port for MQTT over websockets, and is websocket_path= right?"
    )
}


def explain(exc: BaseException, *, tls: bool = False, lacks: str = "") -> Fault:
    """Return why a client could not connect, from the error that it or the operating system raised.

    :param lacks: what it did not send, ``user`` or ``password``.
    """
    code = _reason_of(exc)
    if code in _WITHOUT_ACCESS and lacks:
        return Fault(Kind.CREDENTIALS, f"the broker does not allow this client; {_LACKS[lacks]}")
    if code is not None:
        return Fault(_kind_of(code), _REASONS.get(code, str(exc)), stated=True)
    return keyword_fault("aiomqtt", exc) or _from_text(str(exc) or type(exc).__name__, exc, tls=tls)


def explain_loss(exc: BaseException, *, tls: bool = False) -> Fault:
    """Return why a link that was up is lost: here a reason code concerns what was sent, not the client."""
    code = _reason_of(exc)
    if code is None:
        fault = _from_text(str(exc) or type(exc).__name__, exc, tls=tls)
        return fault._replace(blames=fault.kind is Kind.CLOSED)
    if code == _NOT_ALLOWED:
        text = "the broker does not allow what was sent; check its access list"
        return Fault(Kind.CLOSED, text, blames=True)
    return Fault(_kind_of(code), _with_cause(_REASONS.get(code, str(exc)), exc), blames=code not in _INNOCENT)


def silent(what: str, *, tls: bool = False) -> Fault:
    """Return the fault for a peer that does not answer ``what``: it may not be a broker."""
    hint = "the broker may want a client certificate" if tls else "is this an MQTT port without TLS?"
    return faults.silent(what, hint=hint)


def _kind_of(code: int) -> Kind:
    if code in _CREDENTIALS:
        return Kind.CREDENTIALS
    if code == _TAKEN_OVER:
        return Kind.TAKEN_OVER
    return Kind.SILENT if code == _KEEPALIVE else Kind.CLOSED


def _hint(*, tls: bool) -> str:
    if tls:
        return "is this an MQTT port with TLS, and does the broker want a client certificate?"
    return "is this an MQTT port without TLS?"


def _reason_of(exc: BaseException) -> int | None:
    code = getattr(exc, "rc", None)
    # paho's own errors are such enums
    return None if isinstance(code, enum.IntEnum) else reason_code(code)


def _with_cause(text: str, exc: BaseException) -> str:
    cause = exc.__cause__
    return text if cause is None or str(cause) in text else f"{text} ({cause})"


def _from_text(text: str, exc: BaseException, *, tls: bool) -> Fault:
    cause = exc.__cause__ or exc.__context__ or exc
    if "timed out" in text.lower():
        return silent("the connection", tls=tls)
    if _refuses_certificate(cause):
        return Fault(
            Kind.CERTIFICATE,
            f"the broker wants another client certificate ({cause}); check CASCADE_MQTT_CERT, tls_params= or tls_context=",
        )
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError) or any(sign in text for sign in _ENDED):
        return Fault(Kind.CLOSED, f"{_with_cause(text, exc)}; {_hint(tls=tls)}")
    return (
        tls_fault(text, cause, remedy=_CERTIFICATES)
        or system_fault(text, cause)
        or text_fault(text, _SIGNS)
        or Fault(Kind.CLOSED, text)
    )


def _refuses_certificate(cause: BaseException) -> bool:
    """Return whether the broker has sent an alert for the client's certificate; RFC 8446, section 6.2."""
    alert = str(getattr(cause, "reason", "")) if isinstance(cause, ssl.SSLError) else ""
    return "_ALERT_" in alert and ("CERTIFICATE" in alert or "UNKNOWN_CA" in alert)
