"""Settings are checked when a connector is made, and a wrong one is answered with what to write."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiomqtt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.connectors.mqtt import MqttConnector, config
from cascade.interfaces import ConfigurationError, SupportsRequired, UsageError, supports

PASSWORD = "p@ss/w:rd%"


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
        ({"client_id": 7}, "client_id"),
        ({"client_id": "a", "identifier": "b"}, "one of the two"),
        ({"will": aiomqtt.Will("x")}, "presence=False"),
    ],
)
def test_a_setting_that_cannot_work_is_refused(keywords: dict[str, Any], setting: str) -> None:
    """The error names it and says why."""
    with pytest.raises(ConfigurationError, match=setting):
        MqttConnector("broker", **keywords)


def test_what_aiomqtt_refuses_is_told_by_connect() -> None:
    """Values that only aiomqtt can judge are an error of the caller, not of the outside world."""

    async def connect() -> None:
        await MqttConnector("broker", protocol=5).connect()

    with pytest.raises(ConfigurationError, match="aiomqtt refuses its keywords"):
        asyncio.run(connect())


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


def test_a_password_stands_in_no_repr() -> None:
    """Neither of the connector nor of its settings."""
    connector = MqttConnector.from_url(f"mqtt://me:{quote('c4nary', safe='')}@broker")
    assert "c4nary" not in repr(connector) + repr(connector._settings)


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
