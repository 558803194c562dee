"""What is said of messages that do not get there, each thing once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

from cascade.connectors.mqtt._outbox import FULL, POISON, SUPERSEDED, Outgoing

log = logging.getLogger("cascade.connectors.mqtt")

_FULL = (
    "the outbox is full: the oldest messages are dropped and counted until there is room; "
    "publish less, or pass outbox_messages= or outbox_bytes="
)


class Complaints:
    """Says each kind of thing once until :meth:`renew` is called; ``where`` is host and port."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._said: set[str] = set()

    def renew(self) -> None:
        """Begin a new state, in which everything may be said once again."""
        self._said.clear()

    def say(self, kind: str, text: str) -> None:
        """Say something, unless it was said since the last change of state."""
        if kind not in self._said:
            self._said.add(kind)
            log.warning("%s: %s", self._where, text)

    def dropped(self, reason: str) -> None:
        """Say that a message found no room; the outbox tells an overflow once for each link."""
        if reason == FULL:
            log.warning("%s: %s", self._where, _FULL)
        elif reason != SUPERSEDED:
            self.say(reason, f"a message is dropped: it is {reason} for an outbox of so few bytes")


def put_aside(poison: Iterable[Outgoing]) -> None:
    """Say which messages are not sent again."""
    for item in poison:
        log.warning("a message for %s %s and is put aside (%d bytes)", item.topic, POISON, item.size)


def undelivered(where: str, lost: Counter[str]) -> None:
    """Say at the end how many messages were lost, for each reason."""
    if parts := ", ".join(f"{count} {why}" for why, count in lost.items() if why != SUPERSEDED):
        log.warning("messages for %s that were not delivered: %s", where, parts)
