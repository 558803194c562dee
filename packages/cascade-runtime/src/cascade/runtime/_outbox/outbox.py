"""``Outbox``: a folder in which events wait until the broker, or a collector, has them."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cascade.interfaces import (
    Clock,
    ConfigurationError,
    Connector,
    SupportsDelivery,
    SupportsLink,
    supports,
)
from cascade.interfaces.wire import default_source, source_of
from cascade.runtime._outbox import settings as checks
from cascade.runtime._outbox.collector_acks import Acknowledgements
from cascade.runtime._outbox.file import Stored
from cascade.runtime._outbox.kept_reports import Why, publish_reports
from cascade.runtime._outbox.listing import SenderSummary, drop, senders
from cascade.runtime._outbox.open_sender import Adoption, OpenSender
from cascade.runtime._outbox.queue import HOLD, DurableQueue
from cascade.runtime._storage import process_lock
from cascade.runtime._support.clock import SystemClock

_NOT_OPEN = "the sender is not open; write: async with outbox.sender(connector) as sender"
_left: dict[tuple[Path, str], OpenSender] = {}
"""Senders without a user whose files are still open, by folder and name: the next sender there has them closed."""


class Outbox:
    """Keeps events on disk until the broker has them, in a folder of its own: one SQLite file for each sender.

    A message that is acknowledged within ``delay`` never reaches the disk: on a healthy link that is nearly
    every one. From ``delay`` after an event on, it survives the process: an event is sent at least once,
    and readers drop second copies by their ``event_id``. A sender with a name (``source_id=``) also sends what dead
    processes have left in the folder. If the disk fails, events wait in memory as without an outbox.

    :param max_bytes: size of a sender's file; beyond it the oldest events are dropped and counted.
    :param max_age: events that are older are dropped and counted.
    :param power_safe: whether what is on disk survives a power cut; if not, it survives the process only.
    :param delay: seconds for which an event may wait in memory; 0: write each at once.
    :param order: ``"oldest"`` first; ``"live-first"`` sends new events at once, and old ones beside them.
    :param ack: name of the collector that must have stored an event before it is forgotten (``cascade collect --ack``);
        without it, the broker's acknowledgement is enough. It needs a connector with a name.
    :raises ConfigurationError: if a setting cannot work.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        max_bytes: int = 256 << 20,
        max_age: dt.timedelta = dt.timedelta(days=30),
        power_safe: bool = False,
        delay: float = 0.05,
        order: checks.Order = "oldest",
        ack: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = checks.checked(
            folder,
            max_bytes=max_bytes,
            max_age=max_age,
            power_safe=power_safe,
            delay=delay,
            order=order,
            ack=ack,
        )
        self._clock = clock or SystemClock()
        self._senders: dict[int, OpenSender] = {}

    @property
    def folder(self) -> os.PathLike[str]:
        """The folder."""
        return self._settings.folder

    def check(self, connector: Connector | None) -> None:
        """Return if events can go through this connector.

        :raises ConfigurationError: if they cannot; the message states what to do.
        """
        if connector is None:
            raise ConfigurationError("run(outbox=)", "needs a connector, through which the events leave")
        named = _is_named(connector)
        if not supports(connector, SupportsDelivery):
            raise ConfigurationError(
                "run(outbox=)",
                f"needs a connector with deliver_nowait, such as MqttConnector, not {connector!r}",
            )
        if self._settings.ack is not None and not named:
            raise ConfigurationError("Outbox(ack=)", "needs an engine name; pass the connector source_id=")
        if not process_lock.available():
            raise ConfigurationError("run(outbox=)", process_lock.NO_LOCKS)

    def senders(self) -> list[SenderSummary]:
        """Return what is in the folder, by sender; nothing is changed. Blocks.

        :raises OutboxUnavailable: if the folder is missing or may not be used.
        """
        return senders(self._settings.folder)

    def drop(self, sender: str | None = None, *, aside: bool = False) -> int:
        """Delete the messages of one sender, or of all that no process uses; return how many. Blocks.

        :param aside: delete only those that were put aside.
        :raises OutboxUnavailable: if the folder may not be used, or the named sender is unknown or in use.
        """
        return drop(self._settings.folder, sender, aside=aside)

    @asynccontextmanager
    async def attached(
        self, connector: Connector, *, adopt: bool | None = None
    ) -> AsyncIterator[DurableQueue]:
        """Open the sender of a connector for as long as anything uses it; an engine does this around its runs.

        When the last user leaves a connector that stays connected, the rest is still sent, and sent again until the
        collector of ``ack=`` has it. The file is closed when nothing is left, or with the connector.

        :param adopt: whether to send, too, what dead processes have left; by default where the connector has a name.
        """
        async with self._hold(connector, adopt=adopt) as sender:
            yield sender.queue

    @asynccontextmanager
    async def _hold(
        self, connector: Connector, *, adopt: bool | None, keep_refused: bool = False
    ) -> AsyncIterator[OpenSender]:
        await self._make_room(connector)
        sender = self._senders.get(id(connector))
        new = sender is None
        if sender is None:
            sender = self._senders[id(connector)] = self._open(connector, adopt=adopt)
            sender.queue.keep_refused = keep_refused
        sender.users += 1
        sender.go_on()
        _forget(self._file_of(connector), sender)
        try:
            if new and sender.acknowledgements is not None:
                await sender.acknowledgements.follow(sender.queue)
            yield sender
        finally:
            sender.users -= 1
            if not sender.users and self._senders.get(id(connector)) is sender:
                await self._leave(sender, self._file_of(connector))

    def sender(
        self, connector: Connector, *, adopt: bool | None = None, keep_refused: bool = False
    ) -> OutboxSender:
        """Return what sends messages of another program through this outbox: ``async with`` it.

        :param adopt: as for :meth:`attached`.
        :param keep_refused: whether messages that the broker refuses keep waiting, instead of being put aside: the rules
            may permit them to another user.
        """
        self.check(connector)
        return OutboxSender(self, connector, adopt=adopt, keep_refused=keep_refused)

    def __repr__(self) -> str:
        return f"<Outbox {self._settings.folder}>"

    def _open(self, connector: Any, *, adopt: bool | None) -> OpenSender:
        if adopt is None:
            adopt = _is_named(connector)
        source = source_of(connector)
        ack = self._settings.ack
        acknowledgements = None if ack is None else Acknowledgements(connector, source, ack)
        assert supports(connector, SupportsDelivery)
        queue = DurableQueue(
            connector,
            self._settings,
            source,
            clock=self._clock,
            awaits_ack=None if acknowledgements is None else acknowledgements.concerns,
        )
        adoption = Adoption() if adopt else None
        if adoption is not None:
            _adopt(queue, adoption)
        return OpenSender(connector, queue, acknowledgements, adoption)

    async def _make_room(self, connector: Connector) -> None:
        """Have the file closed that an earlier user has left open: on another loop, or through another outbox."""
        loop = asyncio.get_running_loop()
        sender = self._senders.get(id(connector))
        if sender is not None and (sender.inert or sender.queue.loop is not loop):
            del self._senders[id(connector)]
            await sender.close(HOLD)
        left = _left.get(self._file_of(connector))
        if left is None or left is self._senders.get(id(connector)):
            return
        if left.queue.loop is loop or left.queue.loop.is_closed():
            await left.close(HOLD)

    async def _leave(self, sender: OpenSender, file: tuple[Path, str]) -> None:
        """Close a sender; while its connector stays connected and messages of it wait, only when they are settled."""
        if sender.inert:
            self._drop_sender(sender)
            return
        _left[file] = sender
        sender.on_closed = partial(_forget, file, sender)
        if sender.needed:
            await sender.stay(partial(self._drop_sender, sender))
        else:
            self._drop_sender(sender)
            await sender.close()

    def _drop_sender(self, sender: OpenSender) -> None:
        if self._senders.get(id(sender.connector)) is sender:
            del self._senders[id(sender.connector)]

    def _file_of(self, connector: object) -> tuple[Path, str]:
        return self._settings.folder, source_of(connector)


class OutboxSender:
    """Sends messages of any program through an outbox. Its connector must be connected for them to leave."""

    def __init__(
        self, outbox: Outbox, connector: Connector, *, adopt: bool | None, keep_refused: bool
    ) -> None:
        self._attached = outbox._hold(connector, adopt=adopt, keep_refused=keep_refused)
        self._connector = connector
        self._folder = outbox._settings.folder
        self._sender: OpenSender | None = None

    def send(self, topic: str, payload: Mapping[str, Any], qos: int = 1) -> None:
        """Send a message, now or later; return at once.

        :raises RuntimeError: outside of ``async with``.
        """
        if self._sender is None:
            raise RuntimeError(_NOT_OPEN)
        self._sender.queue.publish(topic, payload, qos)

    @property
    def refused(self) -> str:
        """Why the other side has refused a message; empty if it has refused none. MQTT 3.1.1 does not say that it refuses one."""
        return "" if self._sender is None else self._sender.queue.refused

    async def flush(self, timeout: float) -> bool:
        """Store everything, and wait up to ``timeout`` seconds until it is sent; return whether it is.

        It returns sooner where no message moves.
        """
        return self._sender is None or await self._sender.queue.finish(timeout)

    async def report(self, timeout: float) -> dict[str, Why]:
        """Publish the last reports that processes have kept while they had no link, so that every reader sees how their runs ended.

        Return the names whose reports stay for the next time, with the reason: ``online`` if another process has the name now,
        ``silent`` if the broker does not answer in time, ``refused`` if it does not keep them or this user may not read them.

        :param timeout: seconds that the broker may take to answer.
        """
        return await publish_reports(self._connector, self._folder, timeout)

    async def left(self, timeout: float) -> int:
        """Return how many messages wait on disk, where :meth:`flush` puts them: its own, and with ``adopt`` those that
        dead processes have left. What cannot be read does not count.

        :param timeout: seconds for which the disk may take to answer.
        :raises OutboxUnavailable: if it does not, or if it fails.
        :raises RuntimeError: outside of ``async with``.
        """
        if self._sender is None:
            raise RuntimeError(_NOT_OPEN)
        return await self._sender.left(timeout)

    async def __aenter__(self) -> Self:
        self._sender = await self._attached.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.flush(5.0)
        self._sender = None
        await self._attached.__aexit__(kind, error, trace)


def _adopt(queue: DurableQueue, adoption: Adoption) -> None:
    """Adopt slice by slice: what is written meanwhile shares their commits."""
    queue.adopting = True

    def adopted(found: Stored | None) -> None:
        queue.adopting = found is not None
        if found is not None:
            queue.add_stored(found)
            queue.call(adoption.step, adopted)
        else:
            queue.add_stored(Stored(0, -1, 0))

    queue.call(adoption.step, adopted)


def _forget(file: tuple[Path, str], sender: OpenSender) -> None:
    if _left.get(file) is sender:
        del _left[file]


def _is_named(connector: object) -> bool:
    return supports(connector, SupportsLink) and connector.source_id != default_source()
