"""Leases over a connector: what :mod:`cascade.runtime.serving._lease` decides is sent, and what arrives is passed on."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import secrets
from collections.abc import Callable, Iterable, Iterator

from cascade.interfaces import (
    Clock,
    ConfigurationError,
    Connector,
    Linked,
    Lost,
    Message,
    SupportsSendNow,
    SupportsWatch,
    Timer,
    WatchItem,
    supports,
)
from cascade.interfaces.logs import get_logger
from cascade.interfaces.topics import lease_topic
from cascade.interfaces.wire import source_of, timestamp
from cascade.runtime._support.clock import after, call_later_on, elapsed_of
from cascade.runtime._support.loops import cancel
from cascade.runtime.serving._intake import Offer, RequestedRun
from cascade.runtime.serving._lease import LeaseRules, Stage
from cascade.spec.schedules import every_seconds
from cascade.wire.leases import parse_lease
from cascade.wire.message import to_wire
from cascade.wire.requests import OfferedLease

REOPEN_SECONDS = 1.0
"""Until a stream that has failed is opened again."""
STOP_SECONDS = 2.0
_log = get_logger("cascade.serve")


class LeaseLink:
    """One lease, for as long as :meth:`keep` runs.

    :param connector: one with ``watch`` and ``send_nowait``.
    :param changed: called when another machine, or this one, has the lease, or a tick has begun elsewhere.
    """

    def __init__(
        self, name: str, ttl: float, *, connector: Connector, clock: Clock, changed: Callable[[], None]
    ) -> None:
        watcher: object = connector
        if not supports(connector, SupportsSendNow) or not supports(watcher, SupportsWatch):
            raise ConfigurationError(
                "workflow(lease=)",
                "needs an MQTT broker, which gives all machines one order of messages; NATS gives none to retained ones: "
                "pass connector='mqtt://broker?source_id=press-line-3', or leave lease= out",
            )
        self.name, self.ttl = name, ttl
        self._sender: SupportsSendNow = connector
        self._watcher: SupportsWatch = watcher
        self._topic = lease_topic(name)
        self._clock, self._elapsed, self._call_later = clock, elapsed_of(clock), call_later_on(clock)
        self._changed = changed
        self._rules = LeaseRules(source_of(connector), secrets.token_hex(8), ttl, random.random)
        self._other_lives = False
        self._shown: object = None
        self._timer: Timer | None = None
        self._moved = asyncio.Event()
        self._closing = False

    @property
    def term(self) -> int | None:
        """The term in which this machine holds the lease at this moment; None if it does not."""
        return self._rules.term if self._rules.holds(self._elapsed()) else None

    @property
    def ticks(self) -> dict[str, str]:
        """The time of the last tick that began on any machine, by workflow."""
        return self._rules.ticks

    def row(self) -> OfferedLease:
        """Return what a report says of the lease."""
        holder, term = self._rules.holder, self.term
        if holder is None:
            return OfferedLease(name=self.name, ttl=self.ttl)
        return OfferedLease(
            name=self.name,
            ttl=self.ttl,
            held=term is not None,
            holder=holder.source,
            term=holder.term,
            since=holder.since,
        )

    async def keep(self) -> None:
        """Follow, claim and renew until the asyncio task is cancelled; a stream that fails is opened again."""
        try:
            while True:
                try:
                    async with contextlib.aclosing(self._watcher.watch(self._topic)) as stream:
                        async for item in stream:
                            self._take(item)
                except Exception:
                    _log.exception("%s: the stream of the lease has failed; it is opened again", self.name)
                self._take(Lost("the stream has failed"))
                await after(self._call_later, REOPEN_SECONDS)
        finally:
            self.close()
            if self._timer is not None:
                self._timer.cancel()

    def close(self) -> None:
        """End :meth:`begin` wherever it waits. Idempotent."""
        self._closing = True
        self._move()

    async def begin(self, workflow: str, time: str) -> int | None:
        """Announce that a tick begins; return the term, or None if it must not begin.

        It waits until a machine is known to hold the lease. The caller begins the tick without another await.

        :raises asyncio.CancelledError: if the lease is closed meanwhile.
        """
        await self._until(lambda: self.term is not None or self._other_lives)
        if (term := self.term) is None:
            return None
        number = self._rules.begin_tick(workflow, time, self._elapsed())
        self._step()
        await self._until(lambda: self.term != term or self._rules.confirmed >= number)
        return term if self.term == term else None

    def _take(self, item: WatchItem) -> None:
        now = self._elapsed()
        if isinstance(item, Linked):
            self._rules.linked(now)
        elif isinstance(item, Lost):
            self._rules.lost()
            self._other_lives = False
        elif isinstance(item, Message) and (message := parse_lease(item.payload)) is not None:
            self._rules.heard(message, now)
            # a retained one may be of a machine that is gone
            lives = message.session != self._rules.session and not (item.retain or message.claim)
            self._other_lives = self._rules.stage is Stage.FOLLOWS and (self._other_lives or lives)
            if self._rules.stage is Stage.WINS and not self._rules.since:
                self._rules.since = timestamp(self._clock.now())
        self._step()

    def _step(self) -> None:
        """Send what is due, and come back when the next message is, or the lease ends."""
        now = self._elapsed()
        if (message := self._rules.due(now)) is not None:
            self._sender.send_nowait(self._topic, to_wire(message), retain=not message.claim)
            if message.claim:
                self._other_lives = False
        if self._timer is not None:
            self._timer.cancel()
        seconds = self._rules.wake_up(now)
        self._timer = self._call_later(seconds, self._step) if math.isfinite(seconds) else None
        self._show()

    def _show(self) -> None:
        """Wake what waits, and say who holds the lease if that has changed."""
        self._move()
        term, holder = self.term, self._rules.holder
        shown = (term, holder, tuple(self._rules.ticks.items()))
        if shown == self._shown:
            return
        before, self._shown = self._shown, shown
        if term is not None and (not isinstance(before, tuple) or before[0] != term):
            _log.info("%s: this machine holds the lease, term %d", self.name, term)
        elif isinstance(before, tuple) and before[0] is not None and term is None:
            _log.warning("%s: this machine has lost the lease; its clock starts nothing", self.name)
        self._changed()

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._closing:
                raise asyncio.CancelledError
            await self._moved.wait()


class Leases:
    """The leases of a service's workflows.

    :raises ConfigurationError: if the connector cannot keep one, or workflows give one lease several ttl.
    """

    def __init__(
        self, offers: Iterable[Offer], *, connector: Connector, clock: Clock, changed: Callable[[], None]
    ) -> None:
        self._links: dict[str, LeaseLink] = {}
        self._of: dict[str, LeaseLink] = {}
        self._tasks: list[asyncio.Task[None]] = []
        for offer in offers:
            if offer.lease is None:
                continue
            ttl = float(every_seconds(offer.lease_ttl))
            if (link := self._links.get(offer.lease)) is None:
                link = LeaseLink(offer.lease, ttl, connector=connector, clock=clock, changed=changed)
                self._links[offer.lease] = link
            if link.ttl != ttl:
                problem = f"is not the same in all workflows with lease={offer.lease!r}"
                raise ConfigurationError("workflow(lease_ttl=)", problem, value=offer.lease_ttl)
            self._of[offer.name] = link

    def __iter__(self) -> Iterator[str]:
        """Yield the workflows that have one."""
        return iter(self._of)

    def of(self, workflow: str) -> LeaseLink | None:
        """Return the lease of a workflow's ticks."""
        return self._of.get(workflow)

    def of_run(self, run: RequestedRun) -> LeaseLink | None:
        """Return the lease that a run needs: only those of ticks do."""
        return self._of.get(run.workflow) if run.is_tick else None

    def start(self) -> None:
        """Begin to keep them."""
        for name, link in self._links.items():
            self._tasks.append(asyncio.create_task(link.keep(), name=f"cascade lease {name}"))

    def close(self) -> None:
        """Let no tick begin any more; what this machine holds it goes on to hold. Idempotent."""
        for link in self._links.values():
            link.close()

    async def stop(self) -> None:
        """Give them up."""
        await cancel(self._tasks, timeout=STOP_SECONDS)
