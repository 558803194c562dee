"""The tasks that send what waits, over one link: as many as may be in flight, one message each."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from cascade.connectors.mqtt import _aiomqtt
from cascade.connectors.mqtt._outbox import NOT_ALLOWED, REFUSED, Outbox, Outgoing
from cascade.connectors.mqtt._turns import TurnBudget

log = logging.getLogger("cascade.connectors.mqtt")

STEADY_AFTER = 1.0
"""Seconds for which a link must have held before it is tried with what broke another one."""


class Senders:
    """Empty the outbox while they are ``open``.

    :param fail: is told what shows that the link is down.
    :param on_settled: is called after each message that was sent or given up.
    """

    def __init__(
        self,
        client: Any,
        outbox: Outbox,
        *,
        fail: Callable[[BaseException], None],
        on_settled: Callable[[], None],
    ) -> None:
        self.open = False
        self._steady = False
        self._timer: asyncio.TimerHandle | None = None
        self._client = client
        self._outbox = outbox
        self._fail = fail
        self._on_settled = on_settled
        self._loop = asyncio.get_running_loop()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._complained = False
        self._refused = 0
        self._told_refusal = False

    def start(self) -> None:
        """Let messages go: the link is up."""
        self.open = True
        self._timer = self._loop.call_later(STEADY_AFTER, self._hold_steady)

    def stop(self) -> None:
        """Let no further message go. Twice is harmless."""
        self.open = False
        if self._timer is not None:
            self._timer.cancel()

    def note_refusal(self, reason: int) -> None:
        """Take note that the broker has answered a publication with a refusal: it is about to land."""
        self._refused += 1
        if not self._told_refusal:
            self._told_refusal = True
            log.warning(
                "the broker refuses messages (code %d) and they are lost; check its access list", reason
            )

    def take_refusal(self) -> bool:
        """Return whether the publication that has just been answered was refused."""
        refused = self._refused > 0
        self._refused -= refused
        return refused

    def wake(self) -> None:
        """Let one more sender look whether there is something to send."""
        while self._idle:
            sleeper = self._idle.popleft()
            if not sleeper.done():
                sleeper.set_result(None)
                return

    async def send(self) -> None:
        """Be one of the senders."""
        budget = TurnBudget()
        outbox = self._outbox
        while self.open:
            item = outbox.take(steady=self._steady)
            if item is None:
                await self._sleep()
                continue
            if self._idle and outbox.waiting:
                self.wake()
            try:
                if item.retain:
                    await self._client.publish(item.topic, payload=item.payload, qos=item.qos, retain=True)
                else:
                    await self._client.publish(item.topic, payload=item.payload, qos=item.qos)
            except Exception as exc:
                if _aiomqtt.link_error(exc):
                    self._fail(exc)
                    return  # the message stays in flight; who ends the link puts it back
                self._refuse(item, exc)
            else:
                if self._refused and self.take_refusal():
                    outbox.give_up(item, NOT_ALLOWED)
                else:
                    outbox.land(item)
                self._complained = False
            self._on_settled()
            if budget.spent():
                await asyncio.sleep(0)

    def _hold_steady(self) -> None:
        self._steady = True
        self.wake()

    async def _sleep(self) -> None:
        sleeper = self._loop.create_future()
        self._idle.append(sleeper)
        await sleeper

    def _refuse(self, item: Outgoing, exc: Exception) -> None:
        self._outbox.give_up(item, REFUSED)
        if not self._complained:
            self._complained = True
            log.warning("a message for %s cannot be sent and is dropped: %r", item.topic, exc)
