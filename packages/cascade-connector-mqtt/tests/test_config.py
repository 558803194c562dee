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
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cascade.connectors.mqtt import MqttConnector, config
from cascade.interfaces import ConfigurationError, SupportsBroker, UsageError, supports
from cascade.testkit.brokers import Certificates
from cascade.transport import credentials
from testing_tools.certificates import make_certificates

CANARY = secrets.token_hex(8)
"""A password that must not be seen."""
NOW = datetime.now(UTC)


def all_of(error: BaseException | None) -> str:
    """Return all texts of an error: its message, its tracebacks and those of its causes."""
    if error is None:
        return ""
    seen = [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
    return "".join(seen) + all_of(error.__cause__) + all_of(error.__context__)


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
    assert MqttConnector("broker", protocol=value)._mqtt.client["protocol"] is version


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
        assert MqttConnector("broker", tls_params=params)._mqtt.tls


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
        ({"keyfile": key}, "it needs a certfile; pass certfile too"),
        ({"ca_certs": str(text)}, f"{text} contains no certificates"),
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
    assert MqttConnector("broker", tls_params=right)._mqtt.tls


def test_a_key_that_others_can_read_is_refused(
    certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By keyword and from the environment, also in the certificate's own file; the message has the remedy."""
    both = tmp_path / "both.pem"
    both.write_bytes(certificates.client_cert.read_bytes() + certificates.client_key.read_bytes())
    both.chmod(0o644)
    said = f"other users of this machine can read the key {both}; chmod 600 {both}"
    with pytest.raises(ConfigurationError, match=re.escape(f"tls_params: certfile: {said}")):
        MqttConnector("broker", tls_params=aiomqtt.TLSParameters(certfile=str(both)))
    monkeypatch.setenv("CASCADE_MQTT_CERT", str(both))
    monkeypatch.setenv("CASCADE_MQTT_KEY", "")
    with pytest.raises(ConfigurationError, match=re.escape(f"CASCADE_MQTT_CERT: {said}")):
        config.from_url("mqtts://broker", {})
    both.chmod(0o600)
    assert config.from_url("mqtts://broker", {})[2]["tls_context"]


@pytest.mark.parametrize(("days", "warning"), [(-1, "expired on"), (3, "expires in 2 days, on"), (22, "")])
def test_a_certificate_that_ends_soon_is_named_and_used(
    days: int, warning: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Time must not keep a job from starting: one warning, and the broker decides."""
    leaf = trustme.CA().issue_cert(
        common_name="line", not_before=NOW - timedelta(9), not_after=NOW + timedelta(days)
    )
    pair = tmp_path / "cert.pem", tmp_path / "key.pem"
    leaf.cert_chain_pems[0].write_to_path(str(pair[0]))
    leaf.private_key_pem.write_to_path(str(pair[1]))
    pair[1].chmod(0o600)
    params = aiomqtt.TLSParameters(certfile=str(pair[0]), keyfile=str(pair[1]))
    assert MqttConnector("broker", tls_params=params)._mqtt.tls
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == bool(warning)
    assert all(f"tls_params: certfile: the certificate {pair[0]} {warning}" in line for line in lines)


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"CASCADE_MQTT_CA": "nowhere.pem"}, "CASCADE_MQTT_CA: the file nowhere.pem cannot be read"),
        ({"CASCADE_MQTT_CA": __file__}, "contains no certificates in PEM form"),
        ({"CASCADE_MQTT_KEY": __file__}, "set CASCADE_MQTT_CERT too"),
        ({"CASCADE_MQTT_CERT": __file__}, "CASCADE_MQTT_CERT: .* cannot be used"),
    ],
)
def test_a_certificate_of_the_environment_that_cannot_work_is_named(
    variables: dict[str, str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the name of its variable; without TLS the variables mean nothing."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=problem):
        config.from_url("mqtts://broker", {})
    assert config.from_url("mqtt://broker", {}) == ("broker", 1883, {})


@pytest.mark.parametrize("scheme", ["mqtt", "mqtts"])
async def test_a_password_in_clear_is_warned_of_and_an_encrypted_one_is_not(
    scheme: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "_warned", set())
    host = f"{secrets.token_hex(8)}.invalid"
    connector = MqttConnector.from_url(f"{scheme}://{host}", username="press", password=CANARY)
    async with connector:
        pass
    warned = [
        record.getMessage() for record in caplog.records if "crosses the network" in record.getMessage()
    ]
    assert bool(warned) is (scheme == "mqtt")


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_may_have_brackets(host: str) -> None:
    """As in a URL; what is logged has them, too, because the port follows."""
    connector = MqttConnector(host, 1884)
    assert connector.hostname == "::1"
    assert "[::1]:1884 disconnected" in repr(connector)
    assert MqttConnector.from_url("mqtt://[::1]:1884").hostname == "::1"


def test_a_url_may_name_the_version_of_mqtt() -> None:
    """Beside the name; the keyword counts first."""
    url = "mqtt://broker?source_id=press-3&protocol=3.1.1"
    assert config.from_url(url, {})[2] == {"source_id": "press-3", "protocol": "3.1.1"}
    assert config.from_url(url, {"protocol": "5"})[2]["protocol"] == "5"
    assert "protocol" not in config.from_url("mqtt://broker", {})[2]
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
        "mqtt://me:a?protocol={}@host",
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


@pytest.mark.parametrize("keyword", ["client_id", "identifier"])
def test_a_client_id_is_that_of_the_user_only_without_a_name(keyword: str) -> None:
    """With a name another connector of the id is found by its presence; both keywords mean the same."""
    known = {"identifier", "clean_session"}
    for more, fixed in (({}, "press"), ({"source_id": "s"}, None)):
        made = config.settings("broker", 1883, {keyword: "press", **more}, known=known)
        assert made.fixed_client_id == fixed


@pytest.mark.parametrize("keywords", [{"source_id": "s"}, {"client_id": "c"}, {"identifier": "i"}], ids=str)
def test_a_session_is_kept_for_any_lasting_client_id(keywords: dict[str, Any]) -> None:
    """The name is one, too; without any of them the client library makes a new id for each link."""
    MqttConnector("broker", clean_session=False, **keywords)
    with pytest.raises(ConfigurationError, match="pass client_id= too"):
        MqttConnector("broker", clean_session=False)


def test_a_password_stands_in_no_repr() -> None:
    """Neither of the connector nor of its settings."""
    connector = MqttConnector.from_url(f"mqtt://me:{CANARY}@broker")
    assert CANARY not in repr(connector) + repr(connector._settings)


@pytest.mark.process
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
        assert supports(connector, SupportsBroker)
        assert connector.required is required
