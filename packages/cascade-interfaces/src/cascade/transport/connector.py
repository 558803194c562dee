"""The base of every networked connector: a session with an outbox and queues, and the abilities over it."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cascade.interfaces.abilities import Delivery
from cascade.interfaces.connector import MessageCallback, Payload, Subscription
from cascade.interfaces.errors import ConnectorUnavailable, InvalidPayloadError
from cascade.interfaces.topics import check_topic, state_topic
from cascade.interfaces.wire import default_source, encode_payload, idle_reports
from cascade.transport.earlier_runs import EarlierRuns
from cascade.transport.event_loop import inert_in_children
from cascade.transport.faults import Fault
from cascade.transport.incoming.callbacks import RawQueue
from cascade.transport.incoming.dispatcher import Dispatcher, Subscriptions
from cascade.transport.incoming.message import DeliveryCounts, IncomingMessage
from cascade.transport.incoming.watches import Watch
from cascade.transport.lifecycle import BeforeDisconnect, Lifecycle
from cascade.transport.link import Link, LinkParts
from cascade.transport.outbox import FORKED, FULL, NOT_CONNECTED, Outbox, Outgoing
from cascade.transport.presence import Presence
from cascade.transport.retained_proof.retained_set import RetainedSet
from cascade.transport.session import Session, SessionParts
from cascade.transport.settings import QOS, ConnectorSettings, no_qos
from cascade.transport.state_log import StateLog

if TYPE_CHECKING:
    from cascade.interfaces.abilities import ConnectorStatistics
    from cascade.interfaces.watch import ReplyTo

_FULL = (
    "%s:%s: the outbox is full: the oldest messages are dropped and counted until there is room; "
    "publish less, or pass outbox_messages= or outbox_bytes="
)


class NetworkConnector(ABC):
    """A connector to one peer. A subclass makes the clients and links, and explains why there is none.

    :param dispatcher: finds the queues of arriving messages; the default is a new one.
    :param shared: whether the network has shared subscriptions (``$share/...``).
    """

    def __init__(
        self,
        settings: ConnectorSettings,
        dispatcher: Dispatcher | None = None,
        *,
        log: logging.Logger,
        shared: bool = False,
    ) -> None:
        dispatcher = dispatcher or Dispatcher(DeliveryCounts(log))
        self._settings = settings
        self._log = log
        self._source_id = settings.source_id or default_source()
        self._outbox = Outbox(max_messages=settings.outbox_messages, max_bytes=settings.outbox_bytes)
        self._dispatcher = dispatcher
        self._presence = Presence(self._source_id, named=settings.named, lifetime=settings.presence_lifetime)
        self._lifecycle = Lifecycle(settings)
        self._subscriptions = Subscriptions(
            dispatcher,
            lambda: self._lifecycle.session,
            new_retained_set=self.new_retained_set,
            shared=shared,
        )
        self._state = StateLog(log)
        self._forked = False
        self._reported = False  # an engine publishes the reports of this source
        kinds = ("constraints", "runs") if settings.named else ()
        self._report_topics = frozenset(state_topic(self._source_id, kind) for kind in kinds)
        if settings.named:
            dispatcher.add(RawQueue(self._presence.topic, self._receive_status, 1, dispatcher.delivery))
        self._before_disconnect = BeforeDisconnect(log)
        self._earlier = EarlierRuns(self._source_id)
        self._earlier_queues: dict[str, RawQueue] = {}
        inert_in_children(self)

    @abstractmethod
    def make_client(self) -> Any:
        """Return the client of one attempt to connect: a ``LinkClient``."""

    @abstractmethod
    def make_link(self, client: Any, parts: LinkParts) -> Link:
        """Return the link of a client that has connected."""

    @abstractmethod
    def explain(self, exc: BaseException | None) -> Fault:
        """Return why a client could not connect, from what it raised; None: the peer did not answer."""

    def new_retained_set(self, filters: Sequence[str]) -> RetainedSet | None:
        """Return what finds out when the retained set of a watch is complete; None: its link reports that."""
        return None

    def problem_of(self, loop: asyncio.AbstractEventLoop) -> str:
        """Return why the connector cannot work on an event loop, or ``""``."""
        return ""

    @property
    def hostname(self) -> str:
        """Name or address of the broker."""
        return self._settings.hostname

    @property
    def port(self) -> int:
        """Port of the broker."""
        return self._settings.port

    @property
    def source_id(self) -> str:
        """The name of this process in every message."""
        return self._source_id

    @property
    def earlier_runs(self) -> list[dict[str, Any]] | None:
        """Rows of runs that ended in an earlier process of this name; None before they are known."""
        return self._earlier.rows

    @property
    def earlier_ends(self) -> list[dict[str, Any]] | None:
        """The runs that an earlier process of this name has reported whole, and those that ran when it died."""
        return self._earlier.ends or None

    @property
    def presence(self) -> str | None:
        """The ``session`` of the latest birth; None before the first one, or without presence."""
        return self._presence.announced

    @property
    def contested(self) -> bool:
        """Whether another process uses the name of this one: each has taken over the connection of the other."""
        session = self._lifecycle.session
        return session is not None and self._presence.is_shared(session.loop.time())

    @property
    def drain_timeout(self) -> float:
        """Seconds for which ``disconnect`` sends waiting messages."""
        return self._settings.drain_timeout

    @property
    def required(self) -> bool:
        """Whether ``connect`` raises if it gets no link."""
        return self._settings.required

    @property
    def _link(self) -> Link | None:
        """The current link; None without one."""
        return self._lifecycle.session.link if self._lifecycle.session is not None else None

    @property
    def connected(self) -> bool:
        """True from the call of ``connect`` to the call of ``disconnect``, with or without a link.

        False, too, once the event loop on which it was connected is closed; it can be connected again then.
        """
        return self._lifecycle.session is not None

    async def connect(self) -> None:
        """Connect; do nothing when already connected.

        Return within ``connect_timeout``. Without a link by then, log one warning with the cause and
        keep trying in the background.

        :raises ConnectorUnavailable: only with ``required=True``.
        :raises ConfigurationError: if the client library refuses its keywords.
        :raises WrongThreadError: if it is connected on another event loop that is not closed.
        """
        if self._forked:
            self._warn_once(FORKED, "this is a forked process; its copy of the connector does nothing")
            return
        await self._lifecycle.settle()
        if self._lifecycle.on_this_loop("connect") is not None:
            return
        if problem := self.problem_of(asyncio.get_running_loop()):
            self._refuse_loop(problem)
        else:
            await self._lifecycle.begin(self.make_session)

    async def disconnect(self) -> None:
        """Send waiting messages for at most ``drain_timeout`` seconds, and disconnect. Idempotent."""
        if self._lifecycle.on_this_loop("disconnect") is not None:
            self._before_disconnect.call()
        await self._lifecycle.end()

    def before_disconnect(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Call ``callback()`` when ``disconnect`` begins; what it publishes is still sent. Return how to stop that."""
        return self._before_disconnect.add(callback)

    def expect_backlog(self, messages: int) -> None:
        """Keep up to so many messages waiting for each callback, instead of 1,000, before the oldest are dropped."""
        self._dispatcher.delivery.most = messages

    async def publish(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        """Put one message into the outbox, with the payload's values of this moment, and return at once.

        A caller that has published for 1 ms in one iteration of the event loop yields to other tasks.

        :raises InvalidTopicError: if nothing can be published to the topic.
        :raises InvalidPayloadError: if the payload is neither a mapping nor None.
        :raises WrongThreadError: if called on another loop than ``connect``.
        """
        session = self._lifecycle.on_this_loop("publish")
        self._accept(session, topic, payload, qos, retain)
        if session is not None and session.budget.spent():
            await asyncio.sleep(0)

    def publish_nowait(self, topic: str, payload: Payload, qos: int = 0, *, retain: bool = False) -> None:
        """Do what ``publish`` does from synchronous code on the event loop.

        :raises WrongThreadError: if called from another thread than the loop's.
        """
        self._accept(self._lifecycle.on_this_loop("publish"), topic, payload, qos, retain)

    def deliver_nowait(
        self, topic: str, payload: str, qos: int = 1, *, settled: Callable[[Delivery], None]
    ) -> None:
        """Do what ``publish_nowait`` does with a JSON object, and report what became of it; see ``SupportsDelivery``.

        :raises WrongThreadError: if called from another thread than the loop's.
        """
        session = self._lifecycle.on_this_loop("deliver_nowait")
        self._accept_text(session, topic, payload, qos, False, settled)

    def _answer(self, reply_to: ReplyTo, payload: Payload) -> None:
        """Do what ``SupportsReplies`` says, for a connector whose network transmits where answers are expected."""
        session = self._lifecycle.on_this_loop("answer_nowait")
        self._accept(session, reply_to.topic, payload, 1, False, reply_to.correlation)

    def _send_now(self, topic: str, payload: Payload, *, retain: bool) -> bool:
        """Do what ``SupportsSendNow`` says, for a connector whose network gives everybody one order of a topic."""
        check_topic(topic)
        if payload is not None and not isinstance(payload, Mapping):
            raise InvalidPayloadError(topic, payload)
        session = self._lifecycle.on_this_loop("send_nowait")
        if session is None or (link := session.link) is None or not link.up:
            return False
        link.send_soon(Outgoing(0, topic, encode_payload(payload)[0], qos=0, retain=retain))
        return True

    def _accept(
        self,
        session: Session[Any] | None,
        topic: str,
        payload: Payload,
        qos: int,
        retain: bool,
        correlation: bytes | None = None,
    ) -> None:
        if type(payload) is not dict and payload is not None and not isinstance(payload, Mapping):
            raise InvalidPayloadError(check_topic(topic), payload)
        text, replaced = encode_payload(payload) if session is not None else ("", 0)
        self._accept_text(session, topic, text, qos, retain, correlation=correlation)
        if replaced:
            self._outbox.sanitized += 1

    def _accept_text(
        self,
        session: Session[Any] | None,
        topic: str,
        text: str,
        qos: int,
        retain: bool,
        settled: Callable[[Delivery], None] | None = None,
        correlation: bytes | None = None,
    ) -> None:
        if qos not in QOS:
            raise no_qos(qos)
        if session is None:
            self._refuse(topic, settled)
            return
        if problem := self._outbox.accept(topic, text, qos, retain, settled, correlation):
            self._log_drop(problem)
        session.wake()
        if topic in self._report_topics:
            self._reported = True

    async def subscribe(self, topic: str, callback: MessageCallback, qos: int = 0) -> Subscription:
        """Call ``await callback(topic, data)`` for each message that matches the filter ``topic``.

        :raises InvalidTopicError: if the filter is not valid, or is a shared one (``$share/...``) and the network
            has no such subscriptions.
        """
        if qos not in QOS:
            raise no_qos(qos)
        self._lifecycle.on_this_loop("subscribe")
        return await self._subscriptions.subscribe(topic, callback, qos)

    def watch(self, *filters: str) -> Watch:
        """Yield what arrives for all filters, undecoded, in one order; see ``SupportsWatch``.

        :raises InvalidTopicError: as for ``subscribe``.
        """
        self._lifecycle.on_this_loop("watch")
        return self._subscriptions.watch(filters)

    async def flush(self, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds; return whether everything accepted before is sent or dropped.

        Without a timeout, the limits of ``disconnect`` hold.
        """
        session = self._lifecycle.on_this_loop("flush")
        return session is None or await session.flush(timeout)

    def statistics(self) -> ConnectorStatistics:
        """Return the counts of this moment."""
        # few programs ask for them
        from cascade.interfaces.abilities import ConnectorStatistics

        session, outbox, incoming = self._lifecycle.session, self._outbox, self._dispatcher.delivery
        return ConnectorStatistics(
            linked=session is not None and session.linked,
            connections=self._lifecycle.connections,
            accepted=outbox.accepted,
            sent=outbox.sent,
            pending=outbox.pending,
            dropped={reason: count for reason, count in outbox.dropped.items() if count},
            sanitized=self._outbox.sanitized,
            received=incoming.received,
            delivered=incoming.delivered,
            discarded=dict(incoming.discarded),
            **(session.link.facts() if session is not None and session.link is not None else {}),
        )

    async def __aenter__(self) -> Self:
        """Connect."""
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect."""
        await self.disconnect()

    def __repr__(self) -> str:
        counts = self.statistics()
        state = "linked" if counts.linked else "connecting" if self.connected else "disconnected"
        return f"<{type(self).__name__} {self._settings.address} {state}, {counts.summary}>"

    def _new_link(self, client: Any, session: Session[Any]) -> Link:
        parts = LinkParts(
            settings=self._settings,
            outbox=self._outbox,
            dispatcher=self._dispatcher,
            presence=self._presence,
            state=session.state,
            released=session.released,
            first_reports=self._first_reports,
            on_settled=session.drain.notify,
            log=self._log,
        )
        return self.make_link(client, parts)

    def make_session(self) -> Session[Any]:
        parts = SessionParts[Any](
            settings=self._settings,
            outbox=self._outbox,
            dispatcher=self._dispatcher,
            presence=self._presence,
            make_client=self.make_client,
            make_link=self._new_link,
            explain=self.explain,
            on_linked=self.note_linked,
            log=self._log,
        )
        session = Session(parts)
        self._state.reset()
        self._reported = False
        self._read_earlier_runs()
        self._dispatcher.begin()
        return session

    def note_linked(self) -> None:
        self._lifecycle.connections += 1

    def _receive_status(self, message: IncomingMessage) -> None:
        if (session := self._lifecycle.session) is not None:
            session.receive_status(message)

    def _first_reports(self) -> dict[str, dict[str, Any]]:
        """Return what replaces the reports of an earlier process, unless an engine has reported already."""
        if self._reported or (session := self._presence.announced) is None:
            return {}
        found = idle_reports(self._source_id, presence=session, now=time.time(), recent=self._earlier.rows)
        return (
            {topic: {**report, "contested": True} for topic, report in found.items()}
            if self.contested
            else found
        )

    def _read_earlier_runs(self) -> None:
        """Have the broker send the reports that the own topics hold, with the first packet of the next link."""
        topics = (self._earlier.runs_topic, self._earlier.ended_topic) if self._settings.named else ()
        for topic in topics:
            if topic not in self._earlier_queues:
                queue = RawQueue(topic, self._receive_earlier, 0, self._dispatcher.delivery)
                self._earlier_queues[topic] = queue
                self._dispatcher.add(queue)

    def _receive_earlier(self, message: IncomingMessage) -> None:
        session, topic, own = self._lifecycle.session, message.topic, self._presence.announced
        known = self._earlier.receive(topic, message.payload, retained=message.retain, session=own)
        is_report = topic == self._earlier.runs_topic
        if is_report and self._earlier.contested_in and session is not None:
            self._presence.shared_before(self._earlier.contested_in, session.loop.time())
        if not known or topic not in self._earlier_queues or session is None or session.link is None:
            return
        queue = self._earlier_queues.pop(topic)
        if unused := self._dispatcher.remove(queue):
            session.link.unsubscribe_soon(queue, unused)
        if is_report and self._earlier.rows:
            for each, report in self._first_reports().items():
                self._outbox.accept(each, encode_payload(report)[0], 1, True)
            session.wake()

    def _refuse(self, topic: str, settled: Callable[[Delivery], None] | None) -> None:
        check_topic(topic)
        reason = FORKED if self._forked else NOT_CONNECTED
        self._outbox.refuse(reason, settled)
        remedy = "nothing is sent: call connect() first, in the process that uses the connector"
        self._warn_once(reason, remedy)

    def _refuse_loop(self, problem: str) -> None:
        if self._settings.required:
            raise ConnectorUnavailable(self.hostname, self.port, problem)
        # publish then does not ask for connect()
        self._warn_once(NOT_CONNECTED, problem)

    def _log_drop(self, reason: str) -> None:
        """Log that a message was dropped; the outbox returns FULL once for each link."""
        if reason == FULL:
            self._log.warning(_FULL, self.hostname, self.port)
        else:
            self._warn_once(reason, f"a message is dropped: it is {reason} for outbox_bytes=")

    def _warn_once(self, reason: str, text: str) -> None:
        """Log a warning once for each session."""
        self._state.failed(reason, "%s:%s: %s", self.hostname, self.port, text)

    def become_inert(self) -> None:
        """In a forked child: close the copy of the socket, and do nothing from here on."""
        self._forked = True
        self._state.reset()
        if (session := self._lifecycle.take()) is not None:
            session.die()
