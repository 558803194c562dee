"""A network in memory: its peer does what a test says, and writes down what a connector does."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import Any

from cascade.interfaces.watch import Linked
from cascade.transport.connector import NetworkConnector
from cascade.transport.faults import Fault, Kind
from cascade.transport.incoming.callbacks import CallbackQueue
from cascade.transport.incoming.dispatcher import Queue
from cascade.transport.incoming.message import IncomingMessage
from cascade.transport.incoming.watches import WatchQueue
from cascade.transport.link import Link, LinkParts
from cascade.transport.outbox import Outgoing
from cascade.transport.settings import ConnectorSettings

LOG = "cascade.connectors.memory"
TELEMETRY = "cascade/telemetry/s/state"


class Fails(Exception):
    """An error of the peer that says what kind of fault it is."""

    def __init__(self, kind: Kind, *, stated: bool = False, blames: bool = False) -> None:
        super().__init__(kind.value)
        self.fault = Fault(kind, f"it is {kind.value}", blames=blames, stated=stated)


def explain(exc: BaseException | None) -> Fault:
    """Return the fault of an error."""
    if exc is None:
        return Fault(Kind.SILENT, "the peer is silent")
    return exc.fault if isinstance(exc, Fails) else Fault(Kind.CLOSED, f"it raised {exc!r}", blames=True)


class Peer:
    """The peer of every link; without further orders it grants and acknowledges everything."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self.heard: list[tuple[Any, ...]] = []
        """What arrived, in order: the name of a call and its arguments."""
        self.times: dict[str, list[float]] = {}
        """When the calls of a name arrived, on the loop's clock."""
        self.errors: dict[str, deque[BaseException]] = {}
        """What the next calls of a name raise."""
        self.silent: set[str] = set()
        """The calls that get no answer."""
        self.qos: dict[str, int] = {}
        """The filters that were subscribed to, each with its latest QoS."""
        self.codes: dict[str, int] = {}
        """The filters whose subscription is refused, with its code."""
        self._unanswered: list[asyncio.Future[None]] = []
        self.on_publish: Callable[[Outgoing], None] = lambda item: None

    def fail(self, call: str, *errors: BaseException) -> None:
        """Have the next calls of a name raise these."""
        self.errors.setdefault(call, deque()).extend(errors)

    async def answer(self, call: str, *args: object) -> None:
        """Take in a call, and answer it as ordered."""
        self.heard.append((call, *args))
        self.times.setdefault(call, []).append(asyncio.get_running_loop().time())
        if errors := self.errors.get(call):
            raise errors.popleft()
        if call in self.silent:
            self._unanswered.append(asyncio.get_running_loop().create_future())
            await self._unanswered[-1]

    def resume(self) -> None:
        """Answer every call that has had no answer."""
        for future in self._unanswered:
            if not future.done():
                future.set_result(None)
        self._unanswered.clear()

    def calls(self, *names: str) -> list[tuple[Any, ...]]:
        """Return what arrived of calls with these names."""
        return [each for each in self.heard if each[0] in names]

    def names(self) -> list[str]:
        """Return the names of all calls, in order."""
        return [each[0] for each in self.heard]

    def gaps(self, call: str) -> list[float]:
        """Return the seconds between the calls of a name."""
        return [round(later - earlier, 2) for earlier, later in pairwise(self.times.get(call, ()))]

    def published(self, topic: str = TELEMETRY) -> list[str]:
        """Return the payloads that arrived on a topic."""
        return [each[2] for each in self.calls("publish") if each[1] == topic]

    @property
    def client(self) -> Client:
        """The latest client."""
        return self.clients[-1]


class Client:
    """One client for one link."""

    def __init__(self, peer: Peer, will: dict[str, Any]) -> None:
        self.peer = peer
        self.will = will
        self.answer_timeout = 0.0
        self.closed = False
        self.in_child = False
        self.link: MemoryLink | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._lost: Callable[[BaseException | None], None] = lambda exc: None
        peer.clients.append(self)

    async def connect(self, answer_timeout: float) -> None:
        self.answer_timeout = answer_timeout
        self._connecting = asyncio.ensure_future(self.peer.answer("connect"))
        try:
            await self._connecting
        except asyncio.CancelledError:
            if self.closed:
                raise Fails(Kind.CLOSED) from None
            raise

    def on_lost(self, callback: Callable[[BaseException | None], None]) -> None:
        self._lost = callback

    def lose(self, exc: BaseException | None = None) -> None:
        """End the link."""
        self._lost(exc)

    async def disconnect(self) -> None:
        await self.peer.answer("disconnect")

    def ignore_answers(self) -> None:
        self.peer.heard.append(("ignore_answers",))

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.peer.heard.append(("close",))
        if self._connecting is not None:
            self._connecting.cancel()

    def close_in_child(self) -> None:
        self.in_child = True

    def send(self, item: Outgoing) -> Awaitable[None]:
        self.peer.on_publish(item)
        return self.peer.answer("publish", item.topic, item.payload, item.qos, item.retain)

    def deliver(self, topic: str, payload: str, *, retain: bool = False) -> None:
        """Have a message arrive."""
        assert self.link is not None
        self.link.arrived(IncomingMessage(topic, payload.encode(), retain=retain))


class MemoryLink(Link):
    """A link to the peer."""

    def __init__(self, client: Client, parts: LinkParts) -> None:
        super().__init__(client, parts, send=client.send, explain=explain)
        self.client = client
        client.link = self
        self._released = parts.released
        self._waiting: list[IncomingMessage] = []
        self._reading = False

    def read(self) -> None:
        self._start(self._read(), "memory-read")

    async def _read(self) -> None:
        await self._released.wait()
        self._reading = True
        for message in self._waiting:
            self._dispatcher.dispatch(message)

    def arrived(self, message: IncomingMessage) -> None:
        if self._reading:
            self._dispatcher.dispatch(message)
        else:
            self._waiting.append(message)

    async def subscribe(self, queue: CallbackQueue) -> None:
        await self._ask([*queue.filters])

    def watch_soon(self, queue: WatchQueue) -> None:
        self._start(self._watch(queue), "memory-watch")

    async def unsubscribe(self, queue: Queue, unused: Sequence[str]) -> None:
        if still := self._still_unused(unused):
            await self._call("unsubscribe", self.client.peer.answer, "unsubscribe", *still)

    async def _watch(self, queue: WatchQueue) -> None:
        await self._ask([*queue.filters])
        queue.note(Linked())

    async def prepare(self) -> None:
        self.client.peer.heard.append(("prepare",))

    async def resubscribe(self) -> None:
        await self._ask([*self._dispatcher.filters()])
        for queue in self._dispatcher.watches():
            queue.note(Linked())

    async def _ask(self, filters: list[str]) -> None:
        for topic_filter in filters:
            self.client.peer.qos[topic_filter] = self._dispatcher.qos(topic_filter)
            await self._call("subscribe", self.client.peer.answer, "subscribe", topic_filter)
            if code := self.client.peer.codes.get(topic_filter):
                self._note_refused(topic_filter, code)
            else:
                self._note_granted(topic_filter)


class Settings(ConnectorSettings):
    """The settings, with what a network may add."""

    client_id: str | None = None
    lifetime: float | None = None

    @property
    def fixed_client_id(self) -> str | None:
        return self.client_id

    @property
    def presence_lifetime(self) -> float | None:
        return self.lifetime


class MemoryConnector(NetworkConnector):
    """A connector to a peer in memory."""

    def __init__(
        self, peer: Peer, *, client_id: str | None = None, lifetime: float | None = None, **keywords: Any
    ) -> None:
        kind = type("Chosen", (Settings,), {"client_id": client_id, "lifetime": lifetime})
        super().__init__(kind("memory", 1, **keywords), log=logging.getLogger(LOG))
        self.peer = peer

    def make_client(self) -> Client:
        will = self._presence.begin()
        return Client(self.peer, will)

    def make_link(self, client: Client, parts: LinkParts) -> MemoryLink:
        return MemoryLink(client, parts)

    def explain(self, exc: BaseException | None) -> Fault:
        return explain(exc)


async def connected(peer: Peer, **keywords: Any) -> MemoryConnector:
    """Return a connector once its call of ``connect`` has returned."""
    connector = MemoryConnector(peer, **keywords)
    await connector.connect()
    return connector


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, for at most 1,000 seconds of a leaping clock."""
    async with asyncio.timeout(1_000):
        while not condition():
            await asyncio.sleep(0.01)


def now() -> float:
    """Return the time of the loop's clock, in seconds."""
    return asyncio.get_running_loop().time()


def other_tasks() -> set[asyncio.Task[Any]]:
    """Return the tasks beside the test's own."""
    return asyncio.all_tasks() - {asyncio.current_task()}
