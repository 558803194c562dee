"""Settings are checked when a connector is made, and a wrong one is answered with what to write."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import secrets
import ssl
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiomqtt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cascade.connectors.mqtt import MqttConnector, config
from cascade.interfaces import ConfigurationError, SupportsRequired, UsageError, supports
from cascade.testkit.certificates import Certificates, make_certificates

PASSWORD = "p@ss/w:rd%"
CANARY = secrets.token_hex(8)
"""A password that must not be seen."""


def all_of(error: BaseException | None) -> str:
    """Return everything that somebody can come to see of an error: texts, tracebacks, what it came from."""
    if error is None:
        return ""
    seen = [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
    return "".join(seen) + all_of(error.__cause__) + all_of(error.__context__)


@pytest.mark.parametrize(
    ("keyword", "meant"),
    [("user", "username"), ("sorce_id", "source_id"), ("keep_alive", "keepalive"), ("tls", "tls_")],
)
def test_an_unknown_keyword_is_refused_with_the_nearest_one(keyword: str, meant: str) -> None:
    """At construction, before anything is started."""
    with pytest.raises(ConfigurationError, match=f"{keyword}.*{meant}"):
        MqttConnector("broker", **{keyword: 1})


def test_a_keyword_far_from_all_lists_those_there_are() -> None:
    """So that nobody has to look for the documentation."""
    with pytest.raises(ConfigurationError, match=r"known are .*outbox_bytes.*username"):
        MqttConnector("broker", zzzzzz=1)


@pytest.mark.parametrize("port", [0, -1, 65_536, "1883", 18.83, True, None])
def test_a_bad_port_is_refused(port: Any) -> None:
    """The message says which ports brokers use."""
    with pytest.raises(ConfigurationError, match="1883"):
        MqttConnector("broker", port)


@pytest.mark.parametrize(
    ("hostname", "advice"),
    [
        ("", "localhost"),
        ("  ", "localhost"),
        (None, "localhost"),
        ("mqtt://x", "from_url"),
        ("x:1883", "beside"),
    ],
)
def test_a_bad_host_is_refused_with_advice(hostname: Any, advice: str) -> None:
    """What was probably meant is named."""
    with pytest.raises(ConfigurationError, match=advice):
        MqttConnector(hostname)


def test_an_ipv6_address_is_a_host() -> None:
    """Its colons are no port."""
    assert MqttConnector("::1").hostname == "::1"
    assert MqttConnector.from_url("mqtt://[::1]:1884").hostname == "::1"


@pytest.mark.parametrize(
    ("keywords", "setting"),
    [
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"connect_timeout": "2"}, "connect_timeout"),
        ({"drain_timeout": -1}, "drain_timeout"),
        ({"drain_timeout": float("nan")}, "drain_timeout"),
        ({"outbox_messages": 0}, "outbox_messages"),
        ({"outbox_bytes": 1.5}, "outbox_bytes"),
        ({"source_id": ""}, "source_id"),
        ({"source_id": 7}, "source_id"),
        ({"source_id": "a\0b"}, "source_id"),
        ({"source_id": "é" * 33}, "source_id: it has 66 bytes; use at most 64"),
        ({"presence": "no"}, "presence"),
        ({"required": 1}, "required"),
        ({"client_id": 7}, "client_id"),
        ({"client_id": "a\0b"}, "client_id: it has a control character"),
        ({"client_id": "x" * 65_536}, "client_id: it is longer"),
        ({"identifier": "\uffff"}, "identifier"),
        ({"keepalive": -1}, "keepalive"),
        ({"keepalive": "15"}, "keepalive"),
        ({"keepalive": 1.5}, "keepalive"),
        ({"keepalive": None}, "keepalive"),
        ({"keepalive": 65_536}, "keepalive"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": "3"}, "timeout"),
        ({"bind_port": "x"}, "bind_port"),
        ({"username": 5}, "username"),
        ({"username": "a\uffff"}, "username"),
        ({"username": "me", "password": 5}, "password"),
        ({"username": "me", "password": "x" * 65_536}, "password"),
        ({"password": "x"}, "pass username="),
        ({"properties": 3}, "protocol='5'"),
        ({"clean_start": True}, "protocol='5'"),
        ({"clean_session": True, "protocol": 5}, "clean_start"),
        ({"clean_session": False}, "client_id="),
        ({"transport": "pigeon"}, "websockets"),
        ({"tls_context": True}, "ssl.SSLContext"),
        ({"tls_params": {"ca_certs": "x"}}, "aiomqtt.TLSParameters"),
        (
            {"tls_context": ssl.create_default_context(), "tls_params": aiomqtt.TLSParameters()},
            "one of the two",
        ),
        ({"tls_insecure": True}, "tls_context="),
        ({"client_id": "a", "identifier": "b"}, "one of the two"),
        ({"will": aiomqtt.Will("x")}, "presence=False"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(keywords: dict[str, Any], setting: str) -> None:
    """The error names it and says why."""
    with pytest.raises(ConfigurationError, match=setting):
        MqttConnector("broker", **keywords)


@pytest.mark.parametrize(
    ("value", "version"),
    [
        (3, aiomqtt.ProtocolVersion.V31),
        (4, aiomqtt.ProtocolVersion.V311),
        (5, aiomqtt.ProtocolVersion.V5),
        ("3.1", aiomqtt.ProtocolVersion.V31),
        ("3.1.1", aiomqtt.ProtocolVersion.V311),
        ("5", aiomqtt.ProtocolVersion.V5),
        (aiomqtt.ProtocolVersion.V5, aiomqtt.ProtocolVersion.V5),
        (None, None),
    ],
)
def test_the_version_of_mqtt_needs_no_name_of_the_client_library(value: Any, version: Any) -> None:
    """A number or text says it; the library's own members do, too."""
    assert MqttConnector("broker", protocol=value)._settings.client["protocol"] is version


@pytest.mark.parametrize("value", [0, 6, "4", "V5", "", 3.1, True, ["5"], object])
def test_a_version_that_mqtt_does_not_have_is_refused(value: Any) -> None:
    """The message says what to write."""
    with pytest.raises(ConfigurationError, match=r"protocol: .* write '3\.1\.1' or '5'"):
        MqttConnector("broker", protocol=value)


def test_what_aiomqtt_refuses_is_told_by_connect() -> None:
    """Values that only aiomqtt can judge are an error of the caller, not of the outside world."""

    async def connect() -> None:
        await MqttConnector("broker", max_inflight_messages=-1).connect()

    with pytest.raises(ConfigurationError, match="aiomqtt refuses its keywords: Invalid inflight"):
        asyncio.run(connect())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def test_certificates_that_fit_are_taken(certificates: Certificates) -> None:
    """All three files, or the authority's alone."""
    ca, cert, key = map(str, (certificates.ca, certificates.client_cert, certificates.client_key))
    for params in (
        aiomqtt.TLSParameters(ca_certs=ca, certfile=cert, keyfile=key),
        aiomqtt.TLSParameters(ca_certs=ca),
    ):
        assert MqttConnector("broker", tls_params=params)._settings.tls


def test_files_of_certificates_are_looked_at_when_the_connector_is_made(
    certificates: Certificates, tmp_path: Path
) -> None:
    """What the client would say later, and again for ever, does not name the file."""
    cert, key, other = map(str, (certificates.client_cert, certificates.client_key, certificates.key))
    text = tmp_path / "notes.txt"
    text.write_text("no certificate", encoding="utf-8")
    for params, said in (
        (
            {"ca_certs": "/no/such.pem"},
            "tls_params: ca_certs: the file /no/such.pem cannot be read: No such file",
        ),
        ({"certfile": "/no/such.pem"}, "tls_params: certfile: the file /no/such.pem"),
        (
            {"certfile": cert, "keyfile": str(tmp_path)},
            f"tls_params: keyfile: the file {tmp_path} cannot be read",
        ),
        ({"keyfile": key}, "it goes only with a certfile"),
        ({"ca_certs": str(text)}, f"{text} holds no certificates"),
        ({"certfile": str(text)}, f"{text} and its key"),
        ({"certfile": cert, "keyfile": other}, f"{cert} and its key ({other}) cannot be used"),
        ({"ca_certs": 5}, "tls_params: ca_certs"),
    ):
        with pytest.raises(ConfigurationError, match=re.escape(said)):
            MqttConnector("broker", tls_params=aiomqtt.TLSParameters(**params))


def test_the_password_of_a_key_is_needed_and_not_shown(certificates: Certificates, tmp_path: Path) -> None:
    """Without one OpenSSL would ask on the terminal, in the middle of a run."""
    key = serialization.load_pem_private_key(certificates.client_key.read_bytes(), password=None)
    encrypted = tmp_path / "key.pem"
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(CANARY.encode()),
        )
    )
    params = aiomqtt.TLSParameters(certfile=str(certificates.client_cert), keyfile=str(encrypted))
    for wrong in (None, CANARY + "x", CANARY * 1000):
        with pytest.raises(ConfigurationError, match="keyfile_password") as raised:
            MqttConnector("broker", tls_params=dataclasses.replace(params, keyfile_password=wrong))
        assert CANARY not in all_of(raised.value)
    right = dataclasses.replace(params, keyfile_password=CANARY)
    assert MqttConnector("broker", tls_params=right)._settings.tls


@pytest.mark.parametrize(
    ("url", "host", "port", "client"),
    [
        ("mqtt://broker", "broker", 1883, {}),
        ("mqtt://broker:1884/", "broker", 1884, {}),
        (
            f"mqtt://me:{quote(PASSWORD, safe='')}@broker",
            "broker",
            1883,
            {"username": "me", "password": PASSWORD},
        ),
        ("mqtt://me:@broker", "broker", 1883, {"username": "me", "password": ""}),
    ],
)
def test_a_url_says_everything(url: str, host: str, port: int, client: dict[str, str]) -> None:
    """User and password are percent-encoded."""
    found_host, found_port, keywords = config.from_url(url, {})
    assert (found_host, found_port, keywords) == (host, port, client)


def test_mqtts_means_tls_on_8883() -> None:
    """With the system's certificates, unless the caller has others."""
    host, port, keywords = config.from_url("mqtts://broker", {})
    assert (host, port) == ("broker", 8883)
    assert keywords["tls_context"].check_hostname
    own = aiomqtt.TLSParameters()
    assert config.from_url("mqtts://broker", {"tls_params": own})[2] == {"tls_params": own}


def test_the_password_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a user who is named; a password that was given wins."""
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD", PASSWORD)
    assert config.from_url("mqtt://me@broker", {})[2] == {"username": "me", "password": PASSWORD}
    assert config.from_url("mqtt://broker", {})[2] == {}
    assert config.from_url("mqtt://me@broker", {"password": "x"})[2] == {"username": "me", "password": "x"}


def test_the_password_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its last line break does not belong to it; a file that is not there is told."""
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n", encoding="utf-8")
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD_FILE", str(file))
    assert config.from_url("mqtt://me@broker", {})[2] == {"username": "me", "password": PASSWORD}
    file.unlink()
    with pytest.raises(ConfigurationError, match="CASCADE_MQTT_PASSWORD_FILE"):
        config.from_url("mqtt://me@broker", {})


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("mqt://broker", "did you mean mqtt://"),
        ("mqttss://broker", "did you mean mqtts://"),
        ("http://broker", "write mqtt://"),
        ("broker:1883", "write mqtt://"),
        ("", "write mqtt://"),
        (None, "write mqtt://"),
        ("mqtt://", "names no host"),
        ("mqtt://broker:port", "port"),
        ("mqtt://broker:99999", "port"),
        ("mqtt://broker:0", "port"),
        ("mqtt://broker/topic", "nothing may follow"),
        ("mqtt://broker?qos=1", "nothing may follow"),
        ("mqtt://[::1", "write mqtt://"),
    ],
)
def test_a_url_with_a_typo_is_answered_in_words(url: Any, advice: str) -> None:
    """The error says what to write."""
    with pytest.raises(ConfigurationError, match=re.escape(advice)):
        MqttConnector.from_url(url)


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_text_makes_from_url_fail_otherwise(text: str) -> None:
    """Whatever is given as a URL, the answer is a connector or an error that the caller can catch."""
    with contextlib.suppress(UsageError):
        MqttConnector.from_url(f"mqtt://{text}")


@pytest.mark.parametrize(
    "url",
    [
        "mqtt://me:pass\uff1f{}@host",  # a question mark of another width
        "mqtt://me:{}\uff20host",
        "mqtt://me:{}\u2100@host",
        "mqtt://me:{}",  # the host was forgotten
        "mqtt://me:{}:1883",
        "mqtt://me:{}:host:1883",
        "mqtt://me:{}@",
        "mqtt://me:{}@:1883",
        "mqtt://me:{}@host:port",
        "mqtt://me:{}@host:99999",
        "mqtt://me:{}@host:0",
        "mqtt://me:{}@[::1",
        "mqtt://me:{}]@host",
        "mqtt://me:[{}]@host",
        "mqtt://[{}]",
        "mqtt://[{}",
        "mqtt://me:{}@[host]",
        "mqtt://me:a/{}@host",
        "mqtt://me:a?{}@host",
        "mqtt://me:a#{}@host",
        "mqtt://host/{}",
        "mqtt:///me:{}@host",
        "mqtt:me:{}@://host",
        "me:{}@mqtt://host",
        "{}://host",
        "http://me:{}@host",
        "me:{}@host",
        "mqtt:me:{}@host",
        "{}",
    ],
)
def test_row_32_a_url_with_a_typo_shows_no_password(url: str) -> None:
    """Neither the message, nor a traceback, nor what the error came from."""
    with pytest.raises(ConfigurationError) as raised:
        MqttConnector.from_url(url.format(CANARY))
    assert CANARY not in all_of(raised.value)


def said_of(url: str) -> str:
    """Return everything that is said of a URL; nothing if it is taken."""
    with pytest.MonkeyPatch.context() as quick:  # reading the system's certificates takes long
        quick.setattr(ssl, "create_default_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        try:
            MqttConnector.from_url(url)
        except UsageError as exc:
            return all_of(exc)
    return ""


@settings(deadline=None)
@given(st.sampled_from(["mqtt://", "mqtts://", ""]), st.text(max_size=12), st.text(max_size=12))
@example("mqtt://", "me:", "\uff1f@host")
def test_row_32_no_text_round_a_password_shows_it(scheme: str, before: str, after: str) -> None:
    """Wherever in a URL it stands, and whatever stands round it."""
    for url in (f"{scheme}{before}{CANARY}{after}", f"{scheme}me:{before}{CANARY}{after}@host"):
        assert CANARY not in said_of(url)


def test_row_32_a_password_in_the_wrong_variable_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been put where the name of its file belongs."""
    for value in (CANARY, f"{CANARY}/x", CANARY * 100):
        monkeypatch.setenv("CASCADE_MQTT_PASSWORD_FILE", value)
        with pytest.raises(ConfigurationError, match="CASCADE_MQTT_PASSWORD_FILE") as raised:
            MqttConnector.from_url("mqtt://me@host")
        assert CANARY not in all_of(raised.value)


def test_row_32_a_file_of_another_encoding_shows_no_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The error of the codec holds all of it."""
    file = tmp_path / "password"
    file.write_bytes(CANARY.encode("utf-16"))
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD_FILE", str(file))
    with pytest.raises(ConfigurationError, match="UTF-8") as raised:
        MqttConnector.from_url("mqtt://me@host")
    assert CANARY not in all_of(raised.value)
    assert raised.value.__context__ is None


def test_a_password_stands_in_no_repr() -> None:
    """Neither of the connector nor of its settings."""
    connector = MqttConnector.from_url(f"mqtt://me:{CANARY}@broker")
    assert CANARY not in repr(connector) + repr(connector._settings)


def test_the_module_imports_without_aiomqtt() -> None:
    """Constructing then says what to install."""
    program = """
import sys
sys.modules["aiomqtt"] = None
from cascade.connectors.mqtt import MqttConnector
try:
    MqttConnector("broker")
except ImportError as exc:
    print(exc)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert 'pip install "cascade-py[mqtt]"' in done.stdout


def test_whether_a_link_is_required_can_be_seen() -> None:
    """An engine then waits until connect() has told, instead of going on without a link."""
    for required in (True, False):
        connector = MqttConnector("broker", required=required)
        assert supports(connector, SupportsRequired)
        assert connector.required is required
