"""Each reason that a broker gives, and each sign of a socket: the kind of the fault, its remedy, and what is blamed."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Any
from unittest.mock import MagicMock

import aiomqtt
import pytest

from cascade.connectors.mqtt._aiomqtt_internals import UNANSWERED, internals_of
from cascade.connectors.mqtt._errors import explain, explain_loss, silent
from cascade.transport.faults import Kind
from cascade.transport.state_log import QuietLogger

BUSY = (136, 137, 139, 140, 147, 150, 152, 156, 157, 159, 160)
"""A broker that is busy, that ends, or that wants another client, not another message."""


def stated(code: int) -> aiomqtt.MqttCodeError:
    """Return what aiomqtt raises when a broker gives a reason code."""
    return aiomqtt.MqttCodeError(code)


def caused(text: str, cause: BaseException) -> aiomqtt.MqttError:
    error = aiomqtt.MqttError(text)
    error.__cause__ = cause
    return error


def tls_error(reason: str | None) -> ssl.SSLError:
    """Return what Python makes of an error of TLS."""
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason  # type: ignore[assignment] # None where OpenSSL has no word for it
    return error


@pytest.mark.parametrize("code", range(128, 163))
def test_a_message_is_blamed_for_every_end_that_has_no_other_cause(code: int) -> None:
    """MQTT 5.0, section 3.14.2.1: one that breaks each link must not be sent for ever, an innocent one must not be dropped."""
    fault = explain_loss(stated(code))
    assert fault.blames is (code not in (*BUSY, 141, 142))
    kinds = {134: Kind.CREDENTIALS, 138: Kind.CREDENTIALS, 141: Kind.SILENT, 142: Kind.TAKEN_OVER}
    assert fault.kind is kinds.get(code, Kind.CLOSED)
    assert fault.text


@pytest.mark.parametrize(
    ("codes", "kind", "text"),
    [
        ((1, 132), Kind.CLOSED, "pass protocol="),
        ((2, 133), Kind.CLOSED, "refuses the client id; pass another client_id= or source_id="),
        ((3, 136), Kind.CLOSED, "the broker is not available yet"),
        ((4, 134), Kind.CREDENTIALS, "the user name or the password is wrong"),
        ((5, 135), Kind.CREDENTIALS, "check user name, password and its access list"),
        ((128,), Kind.CLOSED, "the broker closed the connection"),
        ((137,), Kind.CLOSED, "the broker is busy"),
        ((138,), Kind.CREDENTIALS, "the broker has banned this client"),
        ((139,), Kind.CLOSED, "the broker is shutting down"),
        ((141,), Kind.SILENT, "did not answer within the keepalive time"),
        ((142,), Kind.TAKEN_OVER, "give each process a source_id= or client_id= of its own"),
        ((149,), Kind.CLOSED, "a message was larger than the broker allows"),
        ((151,), Kind.CLOSED, "the broker's quota is exceeded"),
    ],
)
def test_each_reason_of_a_broker_has_its_words(codes: tuple[int, ...], kind: Kind, text: str) -> None:
    """The same for MQTT 3.1.1 and 5; the broker itself has stated them."""
    for code in codes:
        fault = explain(stated(code))
        assert (fault.kind, fault.stated) == (kind, True)
        assert text in fault.text
        assert "no password was given" not in fault.text


def test_another_reason_is_shown_as_it_is() -> None:
    """With its number, to look it up."""
    fault = explain(stated(199))
    assert "199" in fault.text
    assert (fault.kind, fault.stated) == (Kind.CLOSED, True)
    assert "199" in explain_loss(stated(199)).text
    assert not explain(OSError("no route")).stated


def test_what_is_refused_on_a_link_is_not_the_client() -> None:
    """Its credentials were right when it connected."""
    fault = explain_loss(stated(135))
    assert fault.text == "the broker does not allow what was sent; check its access list"


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (
            tls_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"),
            Kind.CERTIFICATE,
            "wants another client certificate",
        ),
        (tls_error("SSLV3_ALERT_BAD_CERTIFICATE"), Kind.CERTIFICATE, "wants another client certificate"),
        (tls_error("TLSV1_ALERT_UNKNOWN_CA"), Kind.CERTIFICATE, "wants another client certificate"),
        (
            tls_error("TLSV1_ALERT_PROTOCOL_VERSION"),
            Kind.CERTIFICATE,
            "check the port, the host name and the",
        ),
        (tls_error("CERTIFICATE_VERIFY_FAILED"), Kind.CERTIFICATE, "check the port, the host name and the"),
        (tls_error("X] certificate has expired"), Kind.CERTIFICATE, "renew the broker's certificate"),
        (tls_error("UNKNOWN_CA"), Kind.CERTIFICATE, "check the port, the host name and the"),
        (tls_error(None), Kind.CERTIFICATE, "check the port, the host name and the"),
        (
            ConnectionRefusedError(111, "refused"),
            Kind.UNREACHABLE,
            "check that the broker runs, and on this port",
        ),
    ],
    ids=lambda value: getattr(value, "reason", None) if isinstance(value, ssl.SSLError) else None,
)
def test_only_an_alert_for_a_certificate_asks_for_another_one(error: OSError, kind: Kind, text: str) -> None:
    """Whether it is the error itself, its cause, or what was handled when it came."""
    for raised in (error, caused("[Errno 1] failed", error)):
        fault = explain(raised, tls=True)
        assert fault.kind is kind
        assert text in fault.text


@pytest.mark.parametrize("sign", [UNANSWERED, "[Errno 104] reset by peer", "EOF occurred", "Broken pipe"])
@pytest.mark.parametrize("tls", [True, False])
def test_an_end_without_a_word_asks_for_the_port(sign: str, tls: bool) -> None:
    """And with TLS for a client certificate; a cause that says more stands behind it, once."""
    remedy = "is this an MQTT port with TLS" if tls else "is this an MQTT port without TLS?"
    for raised, said in (
        (aiomqtt.MqttError(sign), sign),
        (caused(sign, OSError("more")), f"{sign} (more)"),
        (caused(f"{sign} more", OSError("more")), f"{sign} more"),
    ):
        fault = explain(raised, tls=tls)
        assert fault.kind is Kind.CLOSED
        assert fault.text.startswith(f"{said}; {remedy}")


@pytest.mark.parametrize("tls", [True, False])
def test_a_broker_that_is_silent_may_want_a_certificate(tls: bool) -> None:
    """Without TLS it may be another port."""
    hint = "the broker may want a client certificate" if tls else "is this an MQTT port without TLS?"
    for fault in (
        silent("the connection", tls=tls),
        explain(aiomqtt.MqttError("Operation timed out"), tls=tls),
        explain_loss(aiomqtt.MqttError("Operation timed out"), tls=tls),
    ):
        assert (fault.kind, fault.blames) == (Kind.SILENT, False)
        assert fault.text.startswith("the connection was not answered in time")
        assert hint in fault.text


def test_a_cause_is_added_to_a_reason() -> None:
    """The socket may know more than the broker has said."""
    error = stated(139)
    error.__cause__ = ConnectionResetError("reset by the firewall")
    assert explain_loss(error).text == "the broker is shutting down (reset by the firewall)"


@pytest.mark.parametrize("lacks", ["password", "user", ""])
@pytest.mark.parametrize("code", [1, 4, 5, 134, 135, 138, 139])
def test_a_missing_user_or_password_is_suspected_of_a_refusal_only(code: int, lacks: str) -> None:
    """And only where none was given."""
    text = explain(stated(code), lacks=lacks).text
    assert (f"no {lacks} was given" in text) is (lacks != "" and code in (4, 5, 134, 135))


def encrypted(error: Exception) -> Any:
    """Return a socket of TLS that raises when it is read."""
    sock = MagicMock(spec=ssl.SSLSocket)
    sock.recv.side_effect = error
    return sock


@pytest.mark.parametrize(
    ("error", "noted"),
    [
        (tls_error("TLSV13_ALERT_CERTIFICATE_REQUIRED"), True),
        (tls_error("TLSV1_ALERT_UNKNOWN_CA"), True),
        (tls_error("DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), False),
        (tls_error(None), False),
        (ConnectionResetError("reset"), False),
        (ValueError("closed"), False),
    ],
    ids=str,
)
async def test_an_alert_behind_a_reset_is_read_before_the_socket_closes(
    error: Exception, noted: bool
) -> None:
    """It says why; what else goes wrong then must not hide what was known before."""
    client, logger = aiomqtt.Client("broker"), QuietLogger(logging.getLogger("mqtt"))
    closed: list[object] = []
    paho: Any = client._client
    paho.on_socket_close = lambda *found: closed.append(found[2])
    internals_of(client, {}).prepare(
        connect_timeout=1.0, window=1, logger=logger, rejected=closed.append, undecodable=lambda: None
    )
    before = ConnectionResetError("before")
    logger.note_socket_error(before)
    sock = encrypted(error)
    paho.on_socket_close(paho, None, sock)
    assert closed == [sock]
    assert logger.take_socket_error() is (error if noted else before)


async def test_a_link_that_was_up_is_not_read_for_an_alert() -> None:
    """Its messages are read elsewhere; a plain socket has no alerts."""
    client, logger = aiomqtt.Client("broker"), QuietLogger(logging.getLogger("mqtt"))
    paho: Any = client._client
    paho.on_socket_close = lambda *_: None
    internals_of(client, {}).prepare(
        connect_timeout=1.0, window=1, logger=logger, rejected=print, undecodable=lambda: None
    )
    plain = MagicMock()
    paho.on_socket_close(paho, None, plain)
    client._connected.set_result(None)
    sock = encrypted(tls_error("TLSV1_ALERT_UNKNOWN_CA"))
    paho.on_socket_close(paho, None, sock)
    assert not plain.recv.called
    assert not sock.recv.called
    assert logger.take_socket_error() is None
    await asyncio.sleep(0)
