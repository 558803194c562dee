"""One link to the peer, from its client's connection to its end: its tasks, and the calls in progress."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

from cascade.interfaces.abilities import Lacking, Limitation
from cascade.transport.faults import Fault, Kind, LinkLost, MessageRejected, unanswered
from cascade.transport.incoming.callbacks import CallbackQueue
from cascade.transport.incoming.dispatcher import Dispatcher, Queue
from cascade.transport.incoming.watches import WatchQueue
from cascade.transport.outbox import Outbox, Outgoing
from cascade.transport.presence import Presence
from cascade.transport.senders import Senders
from cascade.transport.settings import ConnectorSettings
from cascade.transport.state_log import StateLog

ANSWER_TIMEOUT = 10.0
LEAVE_TIMEOUT = 0.5
STUCK_TIMEOUT = 30.0
"""If a message is not acknowledged for this many seconds, or up to twice as many, the link is dead."""

_LIMITATIONS = {
    "store": "no constraints, presence and retained messages: %s; telemetry is sent",
    Lacking.PRESENCE: "no presence: %s",
    Lacking.TELEMETRY: "telemetry is not kept by the server: %s",
}
"""What the log says of each limitation that a link finds by itself."""

Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")


class LinkClient(Protocol):
    """What a link needs of a client library. One client for one link: it connects once, and is closed afterwards."""

    async def connect(self, answer_timeout: float) -> None:
        """Connect. If this raises, the session closes the client.

        :param answer_timeout: seconds to wait for the peer's answer.
        """
        ...

    def on_lost(self, callback: Callable[[BaseException | None], None]) -> None:
        """Call ``callback`` with the cause when the link ends, or now if it has ended already."""
        ...

    async def disconnect(self) -> None:
        """Leave cleanly."""
        ...

    def ignore_answers(self) -> None:
        """Ignore the answers to calls that were cancelled."""
        ...

    def close(self) -> None:
        """Close the socket now, also while ``connect`` is in progress, which then fails. Idempotent."""
        ...

    def close_in_child(self) -> None:
        """Close a forked process's copy of the socket; the parent's link stays up."""
        ...


class LinkParts(NamedTuple):
    """What a connector gives each of its links."""

    settings: ConnectorSettings
    outbox: Outbox
    dispatcher: Dispatcher
    presence: Presence
    state: StateLog
    """Of the session: what failed on one link is not logged again on the next one."""
    released: asyncio.Event
    """Set when messages may be read."""
    first_reports: Callable[[], Mapping[str, Mapping[str, Any]]]
    """Returns the reports to publish behind the birth, by topic."""
    on_settled: Callable[[], None]
    """Called after each message that was sent or dropped."""
    log: logging.Logger


class Link(ABC):
    """A connected client. ``lost`` is set when the link is down, whatever the cause.

    :param send: sends one message; see ``Senders``.
    :param explain: returns why a link is lost, from what the client or the operating system raised.
    :param limit: how many messages may be in flight; None: as many as the settings allow.
    """

    def __init__(
        self,
        client: LinkClient,
        parts: LinkParts,
        *,
        send: Callable[[Outgoing], Awaitable[object] | None],
        explain: Callable[[BaseException], Fault],
        limit: int | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._peer = client
        self._send = send
        self._explain = explain
        self._where = parts.settings.address
        self._outbox = parts.outbox
        self._dispatcher = parts.dispatcher
        self._presence = parts.presence
        self._state = parts.state
        self._first_reports = parts.first_reports
        self._log = parts.log
        self._refusals = StateLog(parts.log)
        self.lost: asyncio.Future[Fault] = self._loop.create_future()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.refused: dict[str, int] = {}
        """The filters that the peer refuses, with its reason code."""
        self.senders = Senders(
            send,
            parts.outbox,
            limit=parts.settings.window if limit is None else limit,
            create_task=self._create_task,
            log=parts.log,
            fail=self.fail,
            on_settled=parts.on_settled,
        )

    @property
    def up(self) -> bool:
        """Whether messages can be sent."""
        return self.senders.open

    def facts(self) -> dict[str, Any]:
        """Return what ``ConnectorStatistics`` states about the current link."""
        return {
            "window": self.senders.count,
            "window_limit": self.senders.limit,
            "refused": dict(self.refused),
        }

    async def establish(self) -> None:
        """Subscribe to everything, publish the birth, then start the senders."""
        self._peer.on_lost(self._went_down)
        await self.prepare()
        if self._presence.named:
            self._start(self._announce(), "cascade-birth")
        await self.resubscribe()
        if self.lost.done():
            return
        self.senders.start()
        self._start(self._watch_progress(), "cascade-watchdog")

    @abstractmethod
    def read(self) -> None:
        """Start to read messages once the session is released."""

    @abstractmethod
    async def subscribe(self, queue: CallbackQueue) -> None:
        """Subscribe to the filter of a callback; return when the peer has answered."""

    @abstractmethod
    def watch_soon(self, queue: WatchQueue) -> object:
        """Start to subscribe to the filters of a watch."""

    @abstractmethod
    async def unsubscribe(self, queue: Queue, unused: Sequence[str]) -> None:
        """Unsubscribe from the filters that only ``queue`` had."""

    @abstractmethod
    async def prepare(self) -> None:
        """Do what comes before the first subscription."""

    @abstractmethod
    async def resubscribe(self) -> None:
        """Subscribe to every filter of the connector; return when the peer has answered, or the link is lost."""

    def fail(self, exc: BaseException) -> None:
        """End the link because of an error."""
        self._lose(self._explain(exc.cause if isinstance(exc, LinkLost) else exc))

    def unsubscribe_soon(self, queue: Queue, unused: Sequence[str]) -> None:
        """Start to do what ``unsubscribe`` does."""
        self._start(self.unsubscribe(queue, unused), "cascade-unsubscribe")

    def publish_birth_soon(self) -> None:
        """Start to publish that this session is online."""
        birth = self._presence.birth(self._loop.time())
        self._start(self.publish_presence(birth), "cascade-birth")

    def send_soon(self, message: Outgoing) -> None:
        """Start to send a message on this link, past the outbox; it is lost with the link."""
        self._start(self._publish(message), "cascade-send")

    def _still_unused(self, filters: Iterable[str]) -> list[str]:
        """Return the filters without those that were subscribed to again since, and forget that they were refused."""
        unused = [each for each in filters if not self._dispatcher.has(each)]
        for topic_filter in unused:
            self.refused.pop(topic_filter, None)
        return unused

    def _note_granted(self, topic_filter: str) -> None:
        """Note that the peer has granted a subscription."""
        self.refused.pop(topic_filter, None)
        self._refusals.works(topic_filter)

    def _note_refused(self, topic_filter: str, code: int) -> None:
        """Note that the peer refuses a subscription, and log it once."""
        self.refused[topic_filter] = code
        self._refusals.failed(
            topic_filter,
            "%s refuses the subscription to %s (code %d); check the broker's access list",
            self._where, topic_filter, code,
        )  # fmt: skip

    def _report_limitations(self, found: Iterable[Limitation]) -> None:
        """Log once what the peer cannot do for this user.

        Without a store nothing else is kept either: that telemetry is not is logged with a store only.
        """
        lacking: dict[str, Limitation] = {"store" if each.of_store else each.lacking: each for each in found}
        if "store" in lacking:
            lacking.pop(Lacking.TELEMETRY, None)
        for name, text in _LIMITATIONS.items():
            problem = lacking.get(name)
            self._state.report(text, problem, f"%s: {text}", self._where, problem and problem.text)

    async def _announce(self) -> None:
        """Publish the birth, and behind it what replaces the reports of an earlier process of this name."""
        calls = [self.publish_presence(self._presence.birth(self._loop.time()))]
        for topic, report in self._first_reports().items():
            message = Outgoing(0, topic, json.dumps(report), qos=1, retain=True)
            calls.append(self._publish(message))
        await asyncio.gather(*calls)

    async def publish_presence(self, payload: str, *, ends: bool = False) -> None:
        """Publish a retained message on the own status topic; ``ends``: it is the offline message, and stays."""
        await self._publish(Outgoing(0, self._presence.topic, payload, qos=1, retain=True))

    async def _publish(self, message: Outgoing) -> None:
        """Publish a message on this link, past the outbox."""
        await self._call("publish", self._send_and_wait, message)

    async def _send_and_wait(self, message: Outgoing) -> None:
        if (sending := self._send(message)) is None:
            return
        try:
            await sending
        except MessageRejected as exc:
            self.senders.log_rejection(exc, message.topic)

    async def publish_offline(self) -> bool:
        """Publish the offline message, and nothing behind it; return whether the peer acknowledged it within half a second.

        An unnamed process has none; on a network without wills it withdraws what stands for its will.
        """
        self.senders.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_TIMEOUT):
                await self.publish_presence(self._presence.offline(), ends=True)
                return not self.lost.done()
        return False

    async def stop(self) -> list[Outgoing]:
        """End all tasks and restore the messages in flight; return those that broke two links and are dropped."""
        self.senders.stop()
        if not self.lost.done():
            self.lost.cancel()
        self._peer.ignore_answers()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        return self._outbox.restore(blame=not self.lost.cancelled() and self.lost.result().blames)

    async def leave(self, *, clean: bool) -> None:
        """Disconnect the client within half a second, then close its socket in any case.

        :param clean: False: close the socket first, so that others learn that the process is gone.
        """
        if not clean:
            self._peer.close()
        leaving = self._loop.create_task(self._peer.disconnect(), name="cascade-leave")
        try:
            await asyncio.wait({leaving}, timeout=LEAVE_TIMEOUT)
        finally:
            self._peer.close()
            if not leaving.done():
                leaving.cancel()
        await asyncio.wait({leaving})
        if not leaving.cancelled():
            leaving.exception()

    def drop(self) -> None:
        """Close everything at once; needed if ``stop`` or ``leave`` was cancelled, else without effect."""
        for task in self._tasks:
            task.cancel()
        self._peer.close()

    async def _call(
        self,
        method: str,
        call: Callable[Arguments, Awaitable[Answer]],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer | None:
        """Await a call of the client; return None if it fails or the link is lost before the answer.

        The call is cancelled with the link, not with the caller.
        """
        task = self._create_task(self._answer(method, call, *args, **kwargs), f"cascade-{method}")
        await self._done_or_lost(task)
        return task.result() if task.done() and not task.cancelled() else None

    async def _done_or_lost(self, awaited: asyncio.Future[Any], *, timeout: float | None = None) -> None:
        """Return when a future is done or the link is lost, or after ``timeout`` seconds."""
        either: set[asyncio.Future[Any]] = {awaited, self.lost}
        await asyncio.wait(either, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    async def _answer(
        self,
        method: str,
        call: Callable[Arguments, Awaitable[Answer]],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Answer | None:
        began = self._loop.time()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                answer = await call(*args, **kwargs)
            if method == "subscribe":
                self.senders.note_answer(began)
            return answer
        except TimeoutError:
            self._lose(unanswered(method.upper()))
        except LinkLost as exc:
            self.fail(exc)
        except Exception as exc:
            self._log.warning("%s failed: %r", method, exc)
        return None

    async def _watch_progress(self) -> None:
        stuck: int | None = None
        while True:
            await asyncio.sleep(STUCK_TIMEOUT)
            oldest = self._outbox.longest_in_flight()
            if oldest is not None and oldest == stuck:
                self._lose(unanswered("a message", blames=True))
            stuck = oldest

    def _went_down(self, exc: BaseException | None) -> None:
        if exc is not None:
            self.fail(exc)
        else:
            self._lose(Fault(Kind.CLOSED, "the connection was closed", blames=True))

    def _lose(self, fault: Fault) -> None:
        if not self.lost.done():
            self.senders.stop()
            self.lost.set_result(fault)

    def _start(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        _ = self._create_task(coroutine, name)

    def _create_task(self, coroutine: Coroutine[Any, Any, Answer], name: str) -> asyncio.Task[Answer]:
        # not by the loop's task factory: an eager sender would send its message before the one that has waked it
        task = asyncio.Task(coroutine, loop=self._loop, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
