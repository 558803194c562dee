"""The pure parts: copies, faults, presence; and the guarded helper, which aiomqtt must not outgrow."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import ssl
from collections.abc import Callable
from itertools import islice, product
from typing import Any
from unittest.mock import MagicMock

import aiomqtt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from pytest_mock import MockerFixture

from cascade.connectors.mqtt import MqttConnector, _aiomqtt, config
from cascade.connectors.mqtt._copies import Copies, overlap
from cascade.connectors.mqtt._dispatch import Dispatcher
from cascade.connectors.mqtt._errors import UNANSWERED, Kind, explain, explain_loss, refusals, unanswered
from cascade.connectors.mqtt._link import Link
from cascade.connectors.mqtt._listeners import Counts, WatchListener
from cascade.connectors.mqtt._outbox import Outbox
from cascade.connectors.mqtt._presence import Presence
from cascade.interfaces import ConnectorUnavailable, Linked, Lost, Message

LEVELS = st.sampled_from(["a", "b", "+"])
TOPICS = ["/".join(levels) for size in range(1, 5) for levels in product(["a", "b", "x"], repeat=size)]
FILTERS = st.builds(
    lambda levels, rest: "/".join([*levels, "#"] if rest else levels),
    st.lists(LEVELS, min_size=1, max_size=3),
    st.booleans(),
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def copies() -> Copies:
    made = Copies(Clock())
    for topic_filter in ("a/#", "a/+", "a/b", "c"):
        made.add(topic_filter)
    made.sent = True
    return made


class TestCopies:
    def test_a_message_passes_once(self, copies: Copies) -> None:
        """Three filters match, so two copies follow; the same message again passes again."""
        assert [copies.is_copy("a/b", b"x") for _ in range(6)] == [False, True, True] * 2

    def test_other_messages_may_come_between(self, copies: Copies) -> None:
        """Copies of different QoS do not come one after the other."""
        seen = [copies.is_copy("a/b", payload) for payload in (b"1", b"2", b"1", b"2", b"2", b"1")]
        assert seen == [False, False, True, True, True, True]

    def test_one_filter_has_no_copies(self, copies: Copies) -> None:
        """What matches one filter is never held back."""
        assert not any(copies.is_copy("c", b"x") for _ in range(3))

    @pytest.mark.parametrize("sent", [None, False])
    def test_nothing_is_held_back_from_other_brokers(self, copies: Copies, sent: bool | None) -> None:
        """Nor while it is not known how the broker does it."""
        copies.sent = sent
        assert not any(copies.is_copy("a/b", b"x") for _ in range(3))

    def test_a_copy_that_did_not_come_is_not_waited_for_long(self) -> None:
        """A later message of the same text is no copy."""
        clock = Clock()
        copies = Copies(clock)
        copies.sent = True
        copies.add("a")
        copies.add("+")
        assert not copies.is_copy("a", b"x")
        clock.now = 3.0
        assert not copies.is_copy("a", b"x")

    @pytest.mark.parametrize("other", ["a/#", "$share/group/a/b"])
    def test_no_copy_is_expected_for_a_filter_that_the_broker_refused_or_shares_out(self, other: str) -> None:
        """Equal messages, such as heartbeats, all pass: that one filter brings each of them once."""
        copies = Copies(Clock())
        copies.add("a/b")
        copies.add(other)
        copies.sent = True
        copies.refuse(other)
        assert [copies.is_copy("a/b", b"beat") for _ in range(4)] == [False] * 4

    def test_a_refused_filter_counts_again_when_it_is_granted_or_asked_for_on_another_link(
        self, copies: Copies
    ) -> None:
        """And one that is removed meanwhile is forgotten."""
        ways: list[Callable[[], None]] = [lambda: copies.grant("a/#"), copies.forget]
        for again in ways:
            copies.refuse("a/#")
            copies.refuse("a/#")
            assert [copies.is_copy("a/b", b"1") for _ in range(4)] == [False, True, False, True]
            again()
            assert [copies.is_copy("a/b", b"2") for _ in range(3)] == [False, True, True]
        copies.refuse("a/#")
        copies.remove("a/#")
        copies.forget()
        assert [copies.is_copy("a/b", b"3") for _ in range(4)] == [False, True, False, True]

    def test_a_new_link_expects_nothing(self, copies: Copies) -> None:
        """What did not come on the old one does not come on the new one."""
        copies.is_copy("a/b", b"x")
        copies.forget()
        assert not copies.is_copy("a/b", b"x")

    @settings(deadline=None)
    @given(FILTERS, FILTERS)
    def test_filters_overlap_if_some_topic_matches_both(self, one: str, other: str) -> None:
        """Compared with trying every topic of up to four levels."""
        both = any(topic_matches_sub(one, topic) and topic_matches_sub(other, topic) for topic in TOPICS)
        assert overlap(one, other) == both
        if one != other:
            copies = Copies(Clock())
            copies.add(one)
            copies.add(other)
            assert copies.overlapping == both


def disconnected(reason: str) -> aiomqtt.MqttCodeError:
    """Return what aiomqtt raises when a broker gives a reason."""
    return aiomqtt.MqttCodeError(ReasonCode(PacketTypes.DISCONNECT, reason))


def because(trouble: OSError) -> aiomqtt.MqttError:
    """What a client raises whose peer has hung up, and the trouble that its socket had then."""
    error = aiomqtt.MqttError(UNANSWERED)
    error.__cause__ = trouble
    return error


def alert(reason: str) -> ssl.SSLError:
    """What Python makes of a TLS alert."""
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    return error


REQUIRED, UNKNOWN_CA = alert("TLSV13_ALERT_CERTIFICATE_REQUIRED"), alert("TLSV1_ALERT_UNKNOWN_CA")


class TestFaults:
    @pytest.mark.parametrize(
        ("exc", "kind", "text"),
        [
            (aiomqtt.MqttError("[Errno 111] Connection refused"), Kind.UNREACHABLE, "is the broker running"),
            (aiomqtt.MqttError("[Errno -2] Name or service not known"), Kind.UNREACHABLE, "host name"),
            (aiomqtt.MqttError("Operation timed out"), Kind.SILENT, "not answered"),
            (aiomqtt.MqttError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), Kind.CERTIFICATE, "TLS"),
            (ssl.SSLCertVerificationError("self-signed certificate"), Kind.CERTIFICATE, "certificates"),
            (
                aiomqtt.MqttCodeError(ReasonCode(PacketTypes.CONNACK, "Bad user name or password")),
                Kind.CREDENTIALS,
                "password",
            ),
            (
                aiomqtt.MqttCodeError(ReasonCode(PacketTypes.CONNACK, "Not authorized")),
                Kind.CREDENTIALS,
                "access list",
            ),
            (
                aiomqtt.MqttCodeError(ReasonCode(PacketTypes.DISCONNECT, "Session taken over")),
                Kind.TAKEN_OVER,
                "source_id",
            ),
            (
                aiomqtt.MqttCodeError(ReasonCode(PacketTypes.DISCONNECT, "Keep alive timeout")),
                Kind.SILENT,
                "keepalive",
            ),
            (aiomqtt.MqttCodeError(MQTTErrorCode.MQTT_ERR_NO_CONN), Kind.CLOSED, "not currently connected"),
            (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), Kind.CLOSED, "EOF occurred"),
            (aiomqtt.MqttError("_ssl.c:989: The handshake operation timed out"), Kind.SILENT, "in time"),
            (ssl.SSLCertVerificationError(1, "self-signed"), Kind.CERTIFICATE, "certificates"),
            (TypeError("an integer is required"), Kind.SETTINGS, "keywords: an integer is required"),
            (
                because(REQUIRED),
                Kind.CERTIFICATE,
                "wants another client certificate ([SSL: TLSV13_ALERT_CERT",
            ),
            (because(UNKNOWN_CA), Kind.CERTIFICATE, "check tls_params="),
            (
                because(ConnectionResetError(104, "reset")),
                Kind.CLOSED,
                "answered ([Errno 104] reset); is this",
            ),
            (aiomqtt.MqttError("WebSocket handshake error"), Kind.CLOSED, "over websockets"),
            (RuntimeError("boom"), Kind.CLOSED, "boom"),
            (RuntimeError(), Kind.CLOSED, "RuntimeError"),
        ],
    )
    def test_each_is_told_in_words_with_a_remedy(self, exc: Exception, kind: Kind, text: str) -> None:
        """And its kind decides how soon the next attempt comes."""
        fault = explain(exc)
        assert fault.kind is kind
        assert text in fault.text
        assert "\n" not in fault.text

    @pytest.mark.parametrize(
        ("exc", "kind", "blames"),
        [
            (disconnected("Not authorized"), Kind.CLOSED, True),
            (disconnected("Packet too large"), Kind.CLOSED, True),
            (disconnected("Topic name invalid"), Kind.CLOSED, True),
            (disconnected("Unspecified error"), Kind.CLOSED, True),
            (disconnected("Server shutting down"), Kind.CLOSED, False),
            (disconnected("Administrative action"), Kind.CLOSED, False),
            (disconnected("Keep alive timeout"), Kind.SILENT, False),
            (disconnected("Session taken over"), Kind.TAKEN_OVER, False),
            (aiomqtt.MqttError("Disconnected during message iteration"), Kind.CLOSED, True),
            (ConnectionResetError(104, "Connection reset by peer"), Kind.CLOSED, True),
            (TimeoutError("timed out"), Kind.SILENT, False),
        ],
    )
    def test_a_lost_link_tells_whether_a_message_may_be_why(
        self, exc: Exception, kind: Kind, blames: bool
    ) -> None:
        """What a broker says of a whole client when it connects, it says of one message later."""
        fault = explain_loss(exc)
        assert (fault.kind, fault.blames) == (kind, blames)

    def test_a_message_that_is_never_answered_may_be_why_a_link_is_given_up(self) -> None:
        """A SUBSCRIBE is sent again in any case."""
        assert unanswered("a message", blames=True).blames
        assert not unanswered("SUBSCRIBE").blames

    def test_a_refusal_in_a_suback_is_seen(self) -> None:
        """As a number, as a reason code; anything else is none."""
        refused = ReasonCode(PacketTypes.SUBACK, "Not authorized")
        granted = ReasonCode(PacketTypes.SUBACK, "Granted QoS 1")
        assert refusals([refused, granted, 0x80, 1, MagicMock(), True]) == [135, None, 128, None, None, None]
        assert refusals(MagicMock()) == []


class TestPresence:
    def test_every_link_has_a_session_of_its_own(self) -> None:
        """Will and good-bye carry the same one."""
        presence = Presence("s", named=True)
        first, second = presence.begin(), presence.begin()
        assert first["payload"] != second["payload"] == presence.offline()

    def test_own_and_foreign_messages(self) -> None:
        """The offline of any other session is answered; online never is."""
        presence = Presence("s", named=True)
        presence.begin()
        old = presence.session
        presence.begin()
        answers = [
            presence.hears({"status": status, "session": session}, 0.0)
            for status in ("online", "offline")
            for session in (presence.session, old, "foreign", None)
        ]
        assert answers == [False] * 4 + [False, True, True, True]

    def test_a_name_is_contested_after_more_than_three_signs_in_a_minute(self) -> None:
        """One sign for each link; signs further apart are no dispute."""
        for gap, contested in ((10.0, True), (25.0, False)):
            presence = Presence("s", named=True)
            for link in range(4):
                presence.begin()
                for _ in range(3):
                    presence.hears({"status": "online", "session": "foreign"}, gap * link)
                assert presence.contested(gap * link) == (contested and link == 3)


def _nobody(_: int) -> None:
    """Is told of refusals, and does not care."""


class TestGuard:
    """What is done round a client of aiomqtt: these fail when aiomqtt changes there."""

    async def test_the_defaults_are_set(self) -> None:
        """keepalive, TCP_NODELAY, time limits and the threshold of a warning."""
        client = aiomqtt.Client("broker")
        logger = _aiomqtt.QuietLogger(logging.getLogger("mqtt"))
        known = {
            name: getattr(client, name) for name in ("_keepalive", "_socket_options", "_logger", "timeout")
        }
        assert known["_keepalive"] == 60
        _aiomqtt.prepare(
            client, given={}, connect_timeout=1.5, answer_timeout=2.5, logger=logger, refused=_nobody
        )
        assert client._keepalive == 15
        assert client._socket_options == ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
        assert client._client.connect_timeout == 1.5
        assert client.timeout == 2.5
        assert client.pending_calls_threshold > 20
        put: object = client._client.logger
        assert put is logger
        _aiomqtt.entered(client, given={}, lost=lambda _: None)
        assert client.timeout == math.inf

    async def test_what_the_caller_gave_stays(self) -> None:
        """Unless he gave it."""
        own = logging.getLogger("own")
        given: dict[str, Any] = {"keepalive": 3, "timeout": 4.0, "socket_options": (), "logger": own}
        client = aiomqtt.Client("broker", **given)
        logger = _aiomqtt.QuietLogger(logging.getLogger("mqtt"))
        _aiomqtt.prepare(
            client, given=given, connect_timeout=1.5, answer_timeout=2.5, logger=logger, refused=_nobody
        )
        _aiomqtt.entered(client, given=given, lost=lambda _: None)
        assert (client._keepalive, client.timeout, client._socket_options) == (3, 4.0, ())
        assert client._logger is own

    async def test_row_11_a_refused_publication_is_told(self) -> None:
        """MQTT 5 says so in the answer, which aiomqtt does not look at; 3.1.1 has no word for it."""
        told: list[int] = []
        client = aiomqtt.Client("broker", protocol=aiomqtt.ProtocolVersion.V5)
        _aiomqtt.prepare(
            *(client,),
            given={},
            connect_timeout=1.0,
            answer_timeout=1.0,
            logger=MagicMock(),
            refused=told.append,
        )
        answered = client._pending_publishes[7] = asyncio.Event()
        for reason in ("Success", "No matching subscribers", "Not authorized"):
            answer: Any = client._client.on_publish
            answer(client._client, None, 7, ReasonCode(PacketTypes.PUBACK, reason), None)
        assert answered.is_set()
        assert told == [135]

    async def test_a_lost_link_is_told_and_its_exception_retrieved(self) -> None:
        """Otherwise asyncio says so for every link that drops."""
        told: list[BaseException | None] = []
        client = aiomqtt.Client("broker")
        client._client._sock = MagicMock()
        _aiomqtt.entered(client, given={}, lost=told.append)
        client._disconnected.set_exception(aiomqtt.MqttError("gone"))
        await asyncio.sleep(0)
        assert [str(exc) for exc in told] == ["gone"]
        client._client._sock = None

    async def test_a_peer_that_hangs_up_before_it_answers_is_told_at_once(self) -> None:
        """aiomqtt would wait its whole time-out for a CONNACK that cannot come."""
        client = aiomqtt.Client("broker")
        logger, trouble = _aiomqtt.QuietLogger(logging.getLogger("mqtt")), ConnectionResetError()
        _aiomqtt.prepare(
            client, given={}, connect_timeout=1.5, answer_timeout=2.5, logger=logger, refused=_nobody
        )
        logger.error("failed to receive on socket: %s", trouble)
        client._client._do_on_disconnect(packet_from_broker=False, v1_rc=MQTTErrorCode.MQTT_ERR_CONN_LOST)
        with pytest.raises(aiomqtt.MqttError, match="before a broker answered") as caught:
            await client._connected
        assert caught.value.__cause__ is trouble
        assert not client._disconnected.done()

    async def test_a_link_that_went_before_anybody_looked_is_told(self) -> None:
        """aiomqtt forgets a disconnection that comes with the CONNACK."""
        told: list[BaseException | None] = []
        client = aiomqtt.Client("broker")
        _aiomqtt.entered(client, given={}, lost=told.append)
        assert isinstance(told[0], ConnectionResetError)
        _aiomqtt.close(client)

    async def test_a_client_is_closed_whatever_it_does(self) -> None:
        """Socket, loop task and whoever waits."""
        client = aiomqtt.Client("broker")
        ours, theirs = socket.socketpair()
        client._client._sock = ours
        client._misc_task = asyncio.create_task(asyncio.sleep(60))
        _aiomqtt.close(client)
        assert ours.fileno() == -1
        with pytest.raises(asyncio.CancelledError):
            await client._misc_task
        assert client._disconnected.done()
        theirs.close()

    async def test_a_closed_socket_is_not_watched_any_more(self) -> None:
        """Also when something was to be written in the same turn: its number may be another socket's next."""
        client = aiomqtt.Client("broker")
        _aiomqtt.prepare(
            client, given={}, connect_timeout=1.5, answer_timeout=2.5, logger=MagicMock(), refused=_nobody
        )
        first = socket.socketpair()
        number = first[0].fileno()
        client._client._sock = first[0]
        client._client._call_socket_register_write()
        _aiomqtt.close(client)
        second = socket.socketpair()
        assert second[0].fileno() == number
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not asyncio.get_running_loop().remove_writer(number)
        for each in (*first, *second):
            each.close()

    async def test_a_socket_that_is_closed_while_a_thread_connects_was_never_watched(self) -> None:
        """Its number may be another socket's by the time that the loop gets to it."""
        client = aiomqtt.Client("broker")
        paho, loop = client._client, asyncio.get_running_loop()
        first, second = socket.socketpair(), list[socket.socket]()
        number = first[0].fileno()

        def connect() -> None:
            paho._sock = first[0]
            paho._call_socket_open(first[0])
            paho._call_socket_register_write()
            paho._sock_close()
            second.extend(socket.socketpair())

        client._client_connect = connect  # type: ignore[method-assign]
        _aiomqtt.prepare(
            client, given={}, connect_timeout=1.5, answer_timeout=2.5, logger=MagicMock(), refused=_nobody
        )
        await loop.run_in_executor(None, client._client_connect)
        for _ in range(3):
            await asyncio.sleep(0)
        assert second[0].fileno() == number
        assert (loop.remove_reader(number), loop.remove_writer(number)) == (False, False)
        _aiomqtt.close(client)
        for each in (first[1], *second):
            each.close()

    async def test_waiting_messages_are_taken_in_order(self) -> None:
        """Without a task for each."""
        client = aiomqtt.Client("broker")
        for number in range(5):
            client._queue.put_nowait(MagicMock(mid=number))
        assert [each.mid for each in islice(_aiomqtt.waiting(client), 3)] == [0, 1, 2]
        assert [each.mid for each in _aiomqtt.waiting(client)] == [3, 4]

    async def test_what_was_acknowledged_is_delivered_although_the_link_is_gone(self) -> None:
        """aiomqtt's iterator raises and leaves it in its queue; the broker will not send it again."""
        client, dispatcher = aiomqtt.Client("broker"), Dispatcher()
        stream = WatchListener(["a"], dispatcher.counts)
        dispatcher.add(stream)
        link = Link(
            client,
            client,
            settings=config.settings("broker", 1883, {}, known=()),
            outbox=Outbox(max_messages=1, max_bytes=1),
            dispatcher=dispatcher,
            presence=Presence("s", named=False),
            released=asyncio.Event(),
            on_settled=lambda: None,
        )
        plain, expiring = Properties(PacketTypes.PUBLISH), Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        expiring.MessageExpiryInterval = 7
        for payload, properties in ((b"1", None), (b"2", expiring), (b"3", plain)):
            client._queue.put_nowait(aiomqtt.Message("a", payload, 1, False, 1, properties))
        await link.stop()
        assert await stream.next() == Message("a", b"1", retain=False)
        assert await stream.next() == Message("a", b"2", retain=False, expires_in=7.0)
        assert await stream.next() == Message("a", b"3", retain=False)
        _aiomqtt.close(client)

    async def test_a_mock_is_left_alone(self) -> None:
        """Nothing is set on it and nothing is called."""
        mock = MagicMock()
        _aiomqtt.prepare(
            mock, given={}, connect_timeout=1.0, answer_timeout=2.5, logger=MagicMock(), refused=_nobody
        )
        _aiomqtt.entered(mock, given={}, lost=MagicMock())
        _aiomqtt.abandon(mock)
        _aiomqtt.discard(mock, OSError())
        _aiomqtt.close_in_child(mock)
        assert list(_aiomqtt.waiting(mock)) == []
        assert mock.mock_calls == []

    def test_why_a_socket_failed_is_kept_and_not_said(self, caplog: pytest.LogCaptureFixture) -> None:
        """The connector's own line tells it, with host and port; each failure is told of once."""
        logger, trouble = _aiomqtt.QuietLogger(logging.getLogger("mqtt")), ConnectionResetError()
        logger.error("failed to receive on socket: %s", trouble)
        assert logger.take_trouble() is trouble
        assert logger.take_trouble() is None
        assert caplog.records == []

    def test_the_library_says_each_thing_once_per_state(self, caplog: pytest.LogCaptureFixture) -> None:
        """Until the state changes."""
        logger = _aiomqtt.QuietLogger(logging.getLogger("mqtt"))
        for _ in range(3):
            logger.warning("failed to receive on socket: %s", "reason")
        logger.renew()
        logger.warning("failed to receive on socket: %s", "reason")
        assert len(caplog.records) == 2


async def test_a_watch_that_nobody_reads_is_bounded_also_while_links_come_and_go(
    mocker: MockerFixture,
) -> None:
    """For days, without a message; what is left begins with what says that something is missing."""
    mocker.patch("cascade.connectors.mqtt._listeners.WATCH_MESSAGES", 10)
    stream = WatchListener(["a"], Counts())
    for _ in range(100):
        stream.tell(Lost("the link is down"))
        stream.tell(Linked())
    items = [await stream.next() for _ in range(10)]
    stream.end()
    assert await stream.next() is None
    assert (items[0], items[-1]) == (Lost("queue full"), Linked())


async def test_a_loop_that_cannot_watch_sockets_is_told_with_the_remedy(
    mocker: MockerFixture, caplog: pytest.LogCaptureFixture
) -> None:
    """Windows' Proactor loop: one warning, and the run goes on; a tool gets an error."""
    mocker.patch.object(type(asyncio.get_running_loop()), "add_reader", asyncio.AbstractEventLoop.add_reader)
    connector = MqttConnector("broker")
    await connector.connect()
    await connector.publish("a", {})
    (said,) = [each.getMessage() for each in caplog.records]
    assert "SelectorEventLoop" in said
    with pytest.raises(ConnectorUnavailable, match="SelectorEventLoop"):
        await MqttConnector("broker", required=True).connect()
