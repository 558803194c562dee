"""What is said of a link that fails: its kind, the cause, and what to do."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from cascade.connectors.nats import NatsConnector
from cascade.connectors.nats._client import CLOSED
from cascade.connectors.nats._errors import explain, explain_loss
from cascade.transport.faults import Kind


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        (
            "maximum connections exceeded",
            Kind.CLOSED,
            "the server accepts no more clients (maximum connections exceeded)",
        ),
        ("maximum account active connections exceeded", Kind.CLOSED, "raise its max_connections"),
        ("not enough values to unpack", Kind.CLOSED, "no NATS server answered; is this the NATS port"),
        (
            "empty response when expecting INFO message",
            Kind.CLOSED,
            "no NATS server answered; is this the NATS port",
        ),
        ("user authentication expired", Kind.CREDENTIALS, "has ended the access of this user (user auth"),
        ("account authentication expired", Kind.CREDENTIALS, "renew its credentials"),
        ("user authentication revoked", Kind.CREDENTIALS, "renew its credentials"),
        ("stale connection", Kind.SILENT, "the server did not answer within the keepalive time"),
        ("unexpected EOF", Kind.CLOSED, "unexpected EOF"),
        ("maximum payload violation", Kind.CLOSED, "maximum payload violation"),
        ("Authorization Violation", Kind.CREDENTIALS, "the server refuses the token; check it, and what"),
        ("authentication timeout", Kind.CREDENTIALS, "the server refuses the token"),
        ("User Credentials invalid", Kind.CREDENTIALS, "the server refuses the token"),
        ("invalid account", Kind.CREDENTIALS, "the server refuses the token"),
    ],
)
@pytest.mark.parametrize("form", ["{}", "nats: '{}'", "nats: {}"])
def test_each_sign_of_a_server_is_explained(form: str, text: str, kind: Kind, said: str) -> None:
    """However nats-py wraps it."""
    fault = explain(Exception(form.format(text)), credentials="the token", tls=False)
    assert fault.kind is kind
    assert fault.text.startswith(said) or said in fault.text
    assert "nats: " not in fault.text


@pytest.mark.parametrize(
    "exc", [ConnectionResetError("reset"), BrokenPipeError("pipe"), EOFError("eof"), ConnectionError(CLOSED)]
)
def test_an_end_during_the_handshake_of_tls_may_be_a_missing_certificate(exc: Exception) -> None:
    """Without TLS no certificate is asked for."""
    fault = explain(exc, credentials="", tls=True)
    assert fault.kind is Kind.CLOSED
    assert fault.text == (
        "the server ended the connection; if it wants a client certificate, "
        "set CASCADE_NATS_CERT and CASCADE_NATS_KEY"
    )
    assert "certificate" not in explain(exc, credentials="", tls=False).text


@pytest.mark.parametrize(
    ("exc", "kind", "blames"),
    [
        (ConnectionError("unknown protocol operation"), Kind.CLOSED, True),
        (ConnectionResetError("reset"), Kind.CLOSED, True),
        (EOFError(), Kind.CLOSED, True),
        (Exception("nats: unexpected EOF"), Kind.CLOSED, True),
        (ConnectionError("maximum payload violation"), Kind.CLOSED, True),
        (ConnectionError("stale connection"), Kind.SILENT, False),
        (ConnectionError("user authentication expired"), Kind.CREDENTIALS, False),
        (ConnectionError("maximum connections exceeded"), Kind.CLOSED, False),
        (RuntimeError("boom"), Kind.CLOSED, False),
    ],
)
def test_a_lost_link_tells_whether_a_message_may_be_why(exc: Exception, kind: Kind, blames: bool) -> None:
    """Then the message in flight is sent alone, and not for ever."""
    fault = explain_loss(exc)
    assert (fault.kind, fault.blames) == (kind, blames)
    assert fault.text


HINT = "is this the NATS port of a server (4222), and not its port for MQTT or HTTP?"
CHECK = "check it, and what the server allows"
REFUSED = "the server refuses the creds file; check it, and what the server allows"
SILENT = "the connection was not answered in time; check host, port and firewall"
FULL = "the server accepts no more clients (maximum account active connections exceeded); raise its max_connections"
NOTHING = (
    "the server wants credentials, and none were given; pass the keywords user and password, token, nkeys_seed or "
    "user_credentials, or set CASCADE_NATS_PASSWORD, _TOKEN, _NKEY or _CREDS"
)


@pytest.mark.parametrize(
    ("exc", "tls", "credentials", "text"),
    [
        (Exception("nats: 'Authorization Violation'"), False, "", NOTHING),
        (Exception("nats: 'Authorization Violation'"), True, "the creds file", REFUSED),
        (
            Exception("nats: 'maximum account active connections exceeded'"),
            False,
            "",
            FULL,
        ),
        (
            Exception("nats: empty response when expecting INFO message"),
            True,
            "",
            f"no NATS server answered; {HINT}",
        ),
        (
            Exception("nats: 'user authentication expired'"),
            False,
            "the creds file",
            "the server has ended the access of this user (user authentication expired); renew its credentials",
        ),
        (
            None,
            False,
            "",
            f"{SILENT}; {HINT}",
        ),
        (
            TimeoutError("it took long"),
            True,
            "",
            f"{SILENT}; the server may want a client certificate",
        ),
        (
            ssl.SSLError(1, "wrong version"),
            True,
            "",
            "TLS failed: wrong version; check tls:// in the URL, CASCADE_NATS_CA and tls=",
        ),
        (
            ConnectionRefusedError("refused"),
            True,
            "",
            "refused; check that the broker runs, and on this port",
        ),
        (
            TypeError("no such keyword"),
            False,
            "",
            "nats-py cannot work with its keywords: no such keyword; check those that you pass",
        ),
        (ConnectionError(CLOSED), False, "", CLOSED),
        (ConnectionResetError("reset"), False, "", "reset"),
    ],
)
def test_the_line_of_the_log_says_what_to_do(
    exc: BaseException | None, tls: bool, credentials: str, text: str
) -> None:
    """In these words."""
    assert explain(exc, credentials=credentials, tls=tls).text == text


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"user": "ann", "password": "x"}, "the user name or the password"),
        ({"token": "x"}, "the token"),
        ({"user_credentials": __file__}, "the creds file"),
        ({"nkeys_seed": __file__}, "the nkey"),
        ({"nkeys_seed_str": "SU"}, "the nkey"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_server_refuses_is_named_as_it_was_passed(keywords: dict[str, Any], words: str) -> None:
    """A connector knows what it has sent."""
    fault = NatsConnector("plant", **keywords).explain(Exception("nats: 'Authorization Violation'"))
    assert fault.text == f"the server refuses {words}; {CHECK}"
    assert fault.slow
