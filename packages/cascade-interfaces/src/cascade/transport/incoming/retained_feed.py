"""The retained messages of one queue, in the order in which its reader needs them, where the network marks their end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from cascade.interfaces.filters import first_match
from cascade.interfaces.topics import is_request, parse_status_topic
from cascade.interfaces.watch import Complete, Linked
from cascade.transport.incoming.dispatcher import Queue
from cascade.transport.incoming.message import IncomingMessage
from cascade.transport.incoming.watches import WATCH_MESSAGES, WatchQueue
from cascade.transport.retained_proof.known_topics import MAX_TOPICS, KnownSet
from cascade.transport.retained_proof.retained_set import Action

Changed = Callable[[Sequence[str], Sequence[str]], None]
"""Called with filters that a watch got, and with those that it has given up."""


def _ignore(added: Sequence[str], removed: Sequence[str]) -> None:
    """Do nothing with changed filters."""


class RetainedFeed:
    """What one queue gets on one link: ``Linked``, the retained messages, ``Complete``, and what is live behind them.

    The link calls ``begin``, then ``entry`` for each retained message, then ``finish``; all three again whenever
    ``renew`` asks for that. It needs nothing else of ``RetainedSet``, which finds the end of a set out where the
    network does not mark it.

    :param renew: called with a position: the set is to be sent anew, and the queue has what came up to there; 0: nothing.
    :param changed: called with filters that a watch got, and with those that it has given up, before that.
    :param follows: whether the changes of the retained messages come through ``entry`` as well.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        renew: Callable[[int], None],
        changed: Changed = _ignore,
        follows: bool = True,
    ) -> None:
        self._queue = queue
        self._watch = queue if isinstance(queue, WatchQueue) else None
        self._known = KnownSet() if self._watch is None else self._watch.known
        self._renew = renew
        self._changed = changed
        self._follows = follows
        self.complete = False
        """Whether the set has arrived."""
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the peer has answered the subscription."""
        # live ones that wait for the first set
        self._held: deque[IncomingMessage] | None = deque()
        self._births: dict[str, bytes] = {}
        self._topics: set[str] = set()  # of this set
        self._added: set[str] = set()  # topics of which the queue has nothing
        # the position up to which the queue had the messages before this set
        self._has = 0
        self._last = 0  # and up to which it has them now
        if self._watch is not None:
            self._watch.watch_link = self

    def begin(self, has: int = 0) -> None:
        """Expect the set, of which the queue has what came up to the position ``has``."""
        self._has = self._last = has
        self.complete, self._topics = False, set()

    def grant(self) -> None:
        """Report that the peer has granted the subscription. Idempotent."""
        if not self.granted.done():
            self.granted.set_result(None)
            if self._watch is not None:
                self._watch.note(Linked())

    def entry(self, topic: str, data: bytes, position: int = 1) -> None:
        """Take a message of the set, or behind its end what a topic holds now; no data: nothing.

        :param position: higher for each message than for those before.
        """
        self.grant()
        self._last, live = max(self._last, position), self.complete
        (self._topics.add if data else self._topics.discard)(topic)
        if live:
            self._known.forgotten.discard(topic)
        if parse_status_topic(topic) is not None:
            birth, self._births[topic] = self._births.get(topic), data
            if live and birth == data:
                return  # it is renewed
        if live or (data and (position > self._has or topic in self._added)):
            self._queue.offer(IncomingMessage(topic, data, retain=not live or is_request(topic)))

    def live(self, message: IncomingMessage) -> None:
        """Take a message that is not retained: behind those of the first set."""
        if self._held is None or len(self._held) >= WATCH_MESSAGES:
            self._queue.offer(message)
        else:
            self._held.append(message)

    def finish(self, store: str = "") -> None:
        """Report that the set has arrived.

        :param store: which store it is of; what the reader knows of an earlier one is forgotten, not cleared.
        """
        if self.complete:
            return
        self.complete, known = True, self._known
        if known.store and known.store != store:
            known.forgotten |= known.topics
        known.store, known.topics = store, self._topics
        known.forgotten -= known.topics
        self._added.clear()
        self._note_complete()
        self._release()

    def give_up(self) -> None:
        """Go on with messages that are not retained: the network does not keep any."""
        self.grant()
        self._release()

    def do(self, actions: Iterable[Action]) -> None:
        """Do nothing: the network marks the end of a set."""

    def check_again(self) -> None:
        """Get the set anew."""
        self._renew(0)

    def change(self, added: Sequence[str], removed: Sequence[str]) -> None:
        """Follow topics that the watch did not have; the messages of those that its filters cover are there already."""
        self._changed(added, removed)
        self._topics.difference_update(
            each for each in removed if first_match(self._queue.filters, each) is None
        )
        had = [each for each in self._queue.filters if each not in added]
        if not self._follows or not all(first_match(had, topic) for topic in added):
            self._added.update(added)
            self._renew(self._last if self._follows else 0)
        elif added and self.complete:
            self._note_complete()

    def end(self) -> Sequence[str]:
        """Return that no check has subscribed to anything."""
        return ()

    def close(self) -> None:
        """End with the link."""
        if self._watch is not None and self._watch.watch_link is self:
            self._watch.watch_link = None

    def _note_complete(self) -> None:
        if self._watch is not None:
            topics, forgotten = frozenset(self._known.topics | self._known.forgotten), self._known.forgotten
            self._watch.note(
                Complete(True, topics if len(topics) <= MAX_TOPICS else None, frozenset(forgotten))
            )

    def _release(self) -> None:
        held, self._held = self._held, None
        for message in held or ():
            self._queue.offer(message)
