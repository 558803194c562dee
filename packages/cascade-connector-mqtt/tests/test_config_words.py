"""What a wrong setting is answered with, word for word: the message is what a user acts on."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from typing import Any

import aiomqtt
import pytest

from cascade.connectors.mqtt import MqttConnector, config
from cascade.interfaces import ConfigurationError

EXAMPLE = "write mqtt://user@host:1883, or mqtts:// for TLS"
NUMBER = "is not a whole number from 0 to 65535"


def said(make: Callable[[], object]) -> str:
    """Return the message; "" if the settings can work."""
    try:
        make()
    except ConfigurationError as exc:
        return str(exc)
    return ""


def name_of(case: object) -> str:
    """Return the name of a case, which is the same in each process and not too long for a report."""
    return re.sub(r" at 0x\w+", "", str(case))[:80]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"window": 65_536}, "window: 65536 is more than MQTT allows; use at most 65535"),
        ({"user": "me"}, "user: MqttConnector has no such keyword; did you mean 'username'?"),
        ({"username": 5}, "username: it must be text"),
        ({"identifier": 5}, "identifier: it must be text"),
        ({"client_id": 5}, "client_id: it must be text"),
        ({"username": "me", "password": 5}, "password: it must be text"),
        ({"password": "x"}, "password: it is not sent without a user; pass username= too"),
        ({"username": "me", "password": "é" * 32_768}, "password: it is longer than 65535 bytes"),
        ({"username": "me", "password": b"x" * 65_536}, "password: it is longer than 65535 bytes"),
        ({"keepalive": -1}, f"keepalive: -1 {NUMBER}"),
        ({"keepalive": True}, f"keepalive: True {NUMBER}"),
        ({"bind_port": 65_536}, f"bind_port: 65536 {NUMBER}"),
        ({"timeout": 0}, "timeout: 0 is not a number of seconds above 0"),
        ({"timeout": True}, "timeout: True is not a number of seconds above 0"),
        ({"protocol": 9}, "protocol: 9 is not a version of MQTT; write '3.1.1' or '5'"),
        ({"protocol": True}, "protocol: True is not a version of MQTT; write '3.1.1' or '5'"),
        ({"protocol": ["5"]}, "protocol: ['5'] is not a version of MQTT; write '3.1.1' or '5'"),
        ({"protocol": "5", "clean_session": True}, "clean_session: MQTT 5 uses clean_start instead"),
        ({"clean_start": True}, "clean_start: it belongs to MQTT 5; pass protocol='5' too"),
        ({"properties": 3}, "properties: it belongs to MQTT 5; pass protocol='5' too"),
        ({"transport": "pigeon"}, "transport: it must be one of tcp, websockets, unix"),
        ({"tls_context": True}, "tls_context: it must be an ssl.SSLContext"),
        ({"tls_params": {}}, "tls_params: it must be an aiomqtt.TLSParameters"),
        (
            {"tls_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), "tls_params": aiomqtt.TLSParameters()},
            "tls_params: tls_context sets the same; pass only one of the two",
        ),
        (
            {"tls_insecure": False},
            "tls_insecure: the connection does not use TLS; pass tls_context= or tls_params= too",
        ),
        (
            {"clean_session": False},
            "clean_session: the broker keeps a session by its client id; pass client_id= too",
        ),
        (
            {"will": aiomqtt.Will("x")},
            "will: the connector sets its own will; pass presence=False to set another one",
        ),
        (
            {"client_id": "a", "identifier": "b"},
            "client_id: identifier sets the same; pass only one of the two",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_keyword_that_cannot_work_is_answered_with_what_to_write(
    keywords: dict[str, Any], message: str
) -> None:
    """It stands before the colon, by the name that the user has written."""
    assert said(lambda: MqttConnector("broker", **keywords)) == message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: MqttConnector("broker", 0),
            "port: 0 is not a number from 1 to 65535; brokers use 1883, with TLS 8883",
        ),
        (
            lambda: MqttConnector("broker:1884"),
            "hostname: pass the port beside it: MqttConnector('host', 1883)",
        ),
        (
            lambda: MqttConnector("mqtt://broker"),
            "hostname: this is a URL; pass it to MqttConnector.from_url(...)",
        ),
        (
            lambda: MqttConnector.from_url("mqt://broker"),
            "url: it begins with none of mqtt://, mqtts://, ws:// and wss://; did you mean mqtt://?",
        ),
        (
            lambda: MqttConnector.from_url("http://broker"),
            f"url: it begins with none of mqtt://, mqtts://, ws:// and wss://; {EXAMPLE}",
        ),
        (lambda: MqttConnector.from_url("mqtts://"), f"url: it has no host; {EXAMPLE}"),
    ],
    ids=["port", "port in the host", "URL as a host", "typo", "another scheme", "no host"],
)
def test_an_address_that_cannot_work_is_answered_with_an_example(
    make: Callable[[], object], message: str
) -> None:
    assert said(make) == message


@pytest.mark.parametrize(
    ("url", "port", "tls", "more"),
    [
        ("mqtt://broker", 1883, False, {}),
        ("mqtts://broker", 8883, True, {}),
        ("ws://broker", 80, False, {"transport": "websockets"}),
        ("ws://broker/", 80, False, {"transport": "websockets"}),
        ("ws://broker/a/b", 80, False, {"transport": "websockets", "websocket_path": "/a/b"}),
        ("wss://broker", 443, True, {"transport": "websockets"}),
        ("wss://broker:8443/a", 8443, True, {"transport": "websockets", "websocket_path": "/a"}),
    ],
)
def test_each_scheme_has_its_port_and_its_transport(
    url: str, port: int, tls: bool, more: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of the four are encrypted, unless the keywords already say how; a keyword has precedence."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr(ssl, "create_default_context", lambda *_, **__: context)
    encrypted = {"tls_context": context} if tls else {}
    assert config.from_url(url, {}) == ("broker", port, {**more, **encrypted})
    own = {"tls_params": aiomqtt.TLSParameters()}
    assert config.from_url(url, own) == ("broker", port, {**more, **own})
    assert MqttConnector.from_url(url)._mqtt.tls is tls
    found = config.from_url(url, {"transport": "tcp"})[2]
    assert found["transport"] == "tcp"


@pytest.mark.parametrize(
    ("keywords", "user", "lacks", "tls"),
    [
        ({}, "", "user", False),
        ({"username": "me"}, "me", "password", False),
        ({"username": "me", "password": ""}, "me", "", False),
        ({"username": "me", "password": "x"}, "me", "", False),
        ({"tls_params": aiomqtt.TLSParameters()}, "", "", True),
        ({"tls_context": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}, "", "", True),
        ({"tls_context": None}, "", "user", False),
    ],
    ids=name_of,
)
def test_what_a_message_about_a_refusal_needs_to_know(
    keywords: dict[str, Any], user: str, lacks: str, tls: bool
) -> None:
    """The user, what is missing, and whether the link is encrypted."""
    made = MqttConnector("broker", **keywords)._mqtt
    assert (made.user, made.lacks, made.tls) == (user, lacks, tls)


@pytest.mark.parametrize(
    ("url", "keywords", "password"),
    [
        ("mqtt://me@broker", {}, "of the environment"),
        ("mqtt://broker", {"username": "me"}, "of the environment"),
        ("mqtt://me:mine@broker", {}, "mine"),
        ("mqtt://me:@broker", {}, ""),
        ("mqtt://me@broker", {"password": "mine"}, "mine"),
        ("mqtt://me:other@broker", {"password": "mine"}, "mine"),
        ("mqtt://broker", {}, None),
    ],
)
def test_the_password_of_the_environment_is_that_of_a_user_without_one(
    url: str, keywords: dict[str, str], password: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never replaces a password that the caller gives; a missing file is refused only where it is needed."""
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD", "of the environment")
    assert config.from_url(url, keywords)[2].get("password") == password
    monkeypatch.delenv("CASCADE_MQTT_PASSWORD")
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD_FILE", "/no/such/file")
    message = said(lambda: config.from_url(url, keywords))
    assert ("CASCADE_MQTT_PASSWORD_FILE" in message) is (password == "of the environment")


@pytest.mark.parametrize("name", ["max_inflight_messages", "max_queued_outgoing_messages"])
@pytest.mark.parametrize(("value", "limit"), [(0, 30), (1, 1), (29, 29), (31, 30), (None, 30)])
def test_a_limit_of_the_client_lowers_the_window_and_never_raises_it(
    name: str, value: int | None, limit: int
) -> None:
    """For the client 0 means no limit; the lower one of the two limits counts."""
    one: dict[str, Any] = {name: value}
    assert MqttConnector("broker", window=30, **one)._mqtt.in_flight_limit == limit
    both: dict[str, Any] = {"max_inflight_messages": 20, "max_queued_outgoing_messages": 20, **one}
    assert MqttConnector("broker", window=30, **both)._mqtt.in_flight_limit == min(limit, 20)
