"""TLS, client certificates and websockets: accepted connections, and the messages for refused ones."""

import asyncio
import logging
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import ConnectorUnavailable
from cascade.testkit import Broker, Mosquitto, eventually, no_leaks, time_limit, unique_topic
from cascade.testkit.brokers import BrokerFailedError, Certificates
from cascade.testkit.chaos import ChaosProxy
from cascade.testkit.fixtures import require_mosquitto
from cascade.testkit.ports import free_port
from testing_tools.certificates import make_certificates

pytestmark = [pytest.mark.broker, pytest.mark.usefixtures("patient")]

BOUND = 60.0


@pytest.fixture
def made(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path / "made")


@pytest.fixture
def strange(tmp_path: Path) -> Certificates:
    """Those of another authority."""
    return make_certificates(tmp_path / "strange")


def trusting(authority: Certificates, *, own: Certificates | None = None) -> ssl.SSLContext:
    """A client's context, with a certificate of its own if one is given."""
    context = ssl.create_default_context(cafile=authority.ca)
    if own is not None:
        context.load_cert_chain(own.client_cert, own.client_key)
    return context


async def refusal(broker: Broker, **keywords: Any) -> str:
    """Return the error of a refused connection, which leaves nothing behind."""
    async with no_leaks(BOUND):
        with pytest.raises(ConnectorUnavailable) as caught:
            await MqttConnector(broker.host, broker.port, required=True, **keywords).connect()
    said = str(caught.value)
    assert f"{broker.host}:{broker.port}" in said
    return said


async def test_row_4_a_certificate_of_an_unknown_authority(made: Certificates, strange: Certificates) -> None:
    """The line says that it is TLS that failed, and what to look at."""
    require_mosquitto()
    with Mosquitto(tls=made) as broker:
        async with no_leaks():
            with pytest.raises(ConnectorUnavailable, match=r"TLS failed.*certificate"):
                await MqttConnector.from_url(broker.url, required=True).connect()
        assert "TLS failed" in await refusal(broker, tls_context=trusting(strange))
        async with MqttConnector(
            broker.host, broker.port, required=True, tls_context=trusting(made)
        ) as let_in:
            assert let_in.statistics().linked


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_one_url_says_all_that_lets_in(
    made: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    """TLS with the authority of the environment, the user of the URL, the password of a file; both versions."""
    require_mosquitto()
    password = tmp_path / "password"
    password.write_text("right\n", encoding="utf-8")
    monkeypatch.setenv("SSL_CERT_FILE", str(made.ca))
    monkeypatch.setenv("CASCADE_MQTT_PASSWORD_FILE", str(password))
    with Mosquitto(tls=made, users={"press": "right"}) as broker:
        url = f"mqtts://press@localhost:{broker.port}"
        async with MqttConnector.from_url(url, protocol=version, required=True) as connector:
            assert connector.statistics().linked
        password.write_text("wrong\n", encoding="utf-8")
        with pytest.raises(ConnectorUnavailable, match="check user name, password"):
            await MqttConnector.from_url(url, protocol=version, required=True).connect()


async def test_the_environment_names_the_authority_and_the_client_certificate(
    made: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a URL is all that a program or a service needs."""
    require_mosquitto()
    monkeypatch.setenv("CASCADE_MQTT_CA", str(made.ca))
    with Mosquitto(tls=made, require_certificate=True) as broker:
        with pytest.raises(ConnectorUnavailable, match="client certificate"):
            await MqttConnector.from_url(broker.url, required=True).connect()
        monkeypatch.setenv("CASCADE_MQTT_CERT", str(made.client_cert))
        monkeypatch.setenv("CASCADE_MQTT_KEY", str(made.client_key))
        async with MqttConnector.from_url(broker.url, required=True) as connector:
            assert connector.statistics().linked


async def test_row_4_a_client_certificate_that_is_missing_or_wrong(
    made: Certificates, strange: Certificates
) -> None:
    """The broker only closes the connection: the line asks for a client certificate; the right one gets in."""
    require_mosquitto()
    with Mosquitto(tls=made, require_certificate=True) as broker:
        for context in (trusting(made), trusting(made, own=strange)):
            assert "client certificate" in await refusal(broker, tls_context=context)
        right = trusting(made, own=made)
        async with MqttConnector(broker.host, broker.port, required=True, tls_context=right) as connector:
            assert connector.statistics().linked


@pytest.mark.parametrize("sent", ["none", "of another authority"])
async def test_row_4_a_run_is_not_held_by_a_refused_certificate(
    sent: str, made: Certificates, strange: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """connect() returns, one warning tells the broker's own reason and of slow retries, disconnect ends them."""
    require_mosquitto()
    context = trusting(made, own=None if sent == "none" else strange)
    with Mosquitto(tls=made, require_certificate=True) as broker:
        async with time_limit(BOUND), no_leaks(BOUND):
            connector = MqttConnector(broker.host, broker.port, tls_context=context)
            await connector.connect()
            await connector.publish("a", {})
            await connector.disconnect()
    why, lost = said(caplog)
    assert (
        f"{connector.hostname}:{connector.port}: the broker wants another client certificate ([SSL: TLSV1"
        in why
    )
    assert why.endswith("trying again once every 30 s")
    assert "1 unsent at disconnect" in lost


async def test_row_4_a_refusal_that_arrives_while_the_client_writes(
    made: Certificates, strange: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With TLS 1.3 the broker may hang up in front of the client's first packet; its alert still names the cause."""
    writing, closed = threading.Event(), threading.Event()
    packet_write = paho.Client._packet_write

    def write_late(self: paho.Client) -> Any:
        writing.set()
        assert closed.wait(BOUND)
        return packet_write(self)

    monkeypatch.setattr(paho.Client, "_packet_write", write_late)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=made.ca)
    server.load_cert_chain(made.cert, made.key)
    server.verify_mode = ssl.CERT_REQUIRED
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusing = threading.Thread(target=refuse, args=(listener, server, writing, closed))
        refusing.start()
        context = trusting(made, own=strange)
        connector = MqttConnector(*listener.getsockname(), required=True, tls_context=context)
        with pytest.raises(ConnectorUnavailable, match=r"another client certificate .*ALERT_UNKNOWN_CA"):
            await connector.connect()
        await asyncio.to_thread(refusing.join)


async def test_row_4_a_client_without_tls_at_a_port_with_it(
    made: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """The broker hangs up on what it does not understand: one line says so, and what may be the matter."""
    require_mosquitto()
    with Mosquitto(tls=made) as broker:
        async with time_limit(BOUND), MqttConnector(broker.host, broker.port) as connector:
            pass
    (why,) = said(caplog)
    assert f"{connector.hostname}:{connector.port}" in why
    assert "is this an MQTT port without TLS?" in why


def refuse(
    listener: socket.socket, context: ssl.SSLContext, writing: threading.Event, closed: threading.Event
) -> None:
    """Refuse the certificate of one client and close the socket when the client writes."""
    peer, _ = listener.accept()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)
    incoming.write(peer.recv(65536))
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    peer.sendall(outgoing.read())
    assert writing.wait(BOUND)
    incoming.write(peer.recv(65536))  # the client has sent all of it before it writes
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        tls.do_handshake()
    peer.sendall(outgoing.read())
    peer.shutdown(socket.SHUT_WR)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    closed.set()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return all warnings and errors that were logged."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


@contextmanager
def websockets() -> Iterator[tuple[Broker, int]]:
    """A mosquitto and the port on which it speaks MQTT over websockets."""
    require_mosquitto()
    port = free_port()
    broker = Mosquitto(lines=[f"listener {port} 127.0.0.1", "protocol websockets"])
    try:
        broker.start()
    except BrokerFailedError as error:
        if "websockets" not in error.log.lower():
            raise
        pytest.skip("this mosquitto was built without websockets")
    with broker:
        yield broker, port


class Sizes:
    """A callback that keeps the lengths of the texts that it gets, each once: QoS 1 may bring one again."""

    def __init__(self) -> None:
        self.heard: set[int] = set()

    async def __call__(self, topic: str, data: dict[str, Any]) -> None:
        self.heard.add(len(data["text"]))


async def test_websockets_where_there_are_none(broker: Broker) -> None:
    """The line asks for the port and the path."""
    said = await refusal(broker, transport="websockets")
    assert "is this a port for MQTT over websockets" in said


@pytest.mark.full
async def test_websockets_carry_messages_both_ways() -> None:
    """A small and a larger message, to and from a client on plain TCP; and again after the link was cut."""
    topic, at_plain, at_web = unique_topic(), Sizes(), Sizes()
    with websockets() as (broker, port):
        async with (
            ChaosProxy(port) as proxy,
            MqttConnector.from_url(f"ws://{proxy.host}:{proxy.port}", required=True) as web,
            MqttConnector(broker.host, broker.port, required=True) as plain,
        ):

            async def exchange(sizes: set[int]) -> bool:
                """Send again what has not arrived: a subscription may begin only after the first message."""
                for size in sizes - at_plain.heard:
                    await web.publish(f"{topic}/plain", {"text": "x" * size}, 1)
                for size in sizes - at_web.heard:
                    await plain.publish(f"{topic}/web", {"text": "x" * size}, 1)
                return sizes <= at_plain.heard & at_web.heard

            await web.subscribe(f"{topic}/web", at_web, 1)
            await plain.subscribe(f"{topic}/plain", at_plain, 1)
            await eventually(lambda: exchange({1, 20_000}), BOUND)
            await proxy.cut()
            await eventually(lambda: web.statistics().connections == 2, BOUND)
            await eventually(lambda: exchange({2, 30_000}), BOUND)
