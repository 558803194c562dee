"""Decisions about the retained set of a watch: when it has arrived, and what of it is gone. No I/O.

MQTT does not mark the end of the retained messages that answer a SUBSCRIBE, and not every broker
sends them in full, in time, or at all. A *check* therefore is a SUBSCRIBE to all filters, one after
it to the watcher's own sync topics, and a nonce that is published to one of these:

1. The check ends when the nonce comes back, the *echo*, and the broker has answered the SUBSCRIBE; the nonce
   does not wait for that answer. A watcher with a name also keeps a retained
   *canary* on its own sync topics. The broker sends it behind the set; an echo before the canary
   proves nothing, and a further nonce is sent. A source without a name has no canary: the echo of a
   second nonce, sent behind the first echo, counts, but the set is not proved. If retained
   messages came behind an echo, the check then waits until no more of them arrive.
2. A topic that held a message before and is missing now is asked for once more by its exact name,
   the *recheck*. Only what is missing there too is gone.

So a broker that echoes early, cuts a large set or withholds it never makes a topic disappear from
the set; only a message that clears the topic, or a recheck, does.

Sources: MQTT 3.1.1, sections 3.3.1.3 (retain flag) and 3.8.4 (retained messages on SUBSCRIBE).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from enum import Enum
from typing import NamedTuple

from cascade.interfaces.topics import canary_topic, is_request, matches, sync_filter, sync_topic
from cascade.interfaces.watch import Complete
from cascade.transport.retained_proof.known_topics import Canary, KnownTopics, in_packets

INTERVAL = 60.0
"""Seconds from the end of one check to the next one on a link that stays up."""
CANARY_LIMIT = 1.5
"""Seconds in which the canary has to arrive, after which the set is not proved."""
MISSES = 5
"""Echoes without the canary that count as none: time alone also passes while the event loop is blocked."""
REPEAT = 0.05
"""Seconds between two nonces while the canary is awaited."""
QUIET = 0.2
"""Seconds without a retained message that end a check where the order of messages is not proved."""
ECHO_LIMIT = 5.0
"""Seconds in which a nonce has to come back; a check without its echo is begun again later."""
RETRY = 10.0
"""Seconds until the next check after one that was not proved or had no echo; doubled up to ``INTERVAL``."""


class _Packet:
    """One packet with these filters, in this order; two of one kind with the same filters are equal."""

    __slots__ = ("filters",)

    def __init__(self, filters: tuple[str, ...]) -> None:
        self.filters = filters

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Packet) and type(self) is type(other) and self.filters == other.filters

    def __hash__(self) -> int:
        return hash((type(self), self.filters))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.filters!r})"


class Subscribe(_Packet):
    """Send one SUBSCRIBE, all filters at QoS 0."""

    __slots__ = ()


class Unsubscribe(_Packet):
    """Send one UNSUBSCRIBE."""

    __slots__ = ()


class Publish(NamedTuple):
    """Publish this at QoS 0, behind the packets of the actions before it."""

    topic: str
    payload: dict[str, str]
    retain: bool = False


class Unproved(NamedTuple):
    """Log one warning: the broker does not show that the set is complete."""

    cause: str
    remedy: str


Action = Subscribe | Unsubscribe | Publish | Unproved | Complete
"""What the driver has to do now; ``Complete`` goes to the reader of the watch."""

_SYNC = "cascade/sync/"

WITHHELD = Unproved(
    "the broker did not send a retained message that this process had published",
    "check that retained messages are on and that the access list allows cascade/sync/{source}/+",
)


class _Phase(Enum):
    IDLE = "between two checks, or not linked"
    FIRST = "waits for the echo behind the whole set"
    AGAIN = "has had an echo, and without a canary waits for a second one"
    SETTLING = "has had that one, on a broker that echoes early, and waits until nothing retained arrives"
    CANARY = "has published its canary and waits for the echo behind the whole set again"
    SECOND = "waits for the echo behind the topics that were missing"
    QUIET = "has had that echo and waits until nothing retained arrives"


class _Check:
    """What is true of the check that goes on; ``asked`` are the packets of its recheck."""

    def __init__(self) -> None:
        self.began = 0.0
        # Echoes that came before the canary.
        self.misses = 0
        self.canary_seen = False
        self.nonce = ""
        # Packets of SUBSCRIBE without their SUBACK, and whether the echo waits for it.
        self.unanswered = 0
        self.echo_waits = False
        self.asked: list[tuple[str, ...]] = []


_BEHIND_AN_ECHO = (_Phase.IDLE, _Phase.AGAIN, _Phase.SETTLING, _Phase.QUIET)
"""In these the SUBSCRIBE that a retained message answers has had an echo already."""


class RetainedSet:
    """One watch's retained set. Its driver does the returned actions in order.

    :param filters: of the watch, the exact topics first: a broker sends the retained messages of
        one SUBSCRIBE in the order of its filters, or at least completes those of exact topics.
    :param source: whose sync topics are used; unique among the broker's clients.
    :param canary: what is known of the canary; None: keep none, in a process that must leave
        nothing retained. Two sets that share it must not check at the same time.
    :param new_nonce: returns a new random text at each call.
    """

    def __init__(
        self,
        filters: Iterable[str],
        *,
        source: str,
        canary: Canary | None,
        new_nonce: Callable[[], str],
    ) -> None:
        self._filters = dict.fromkeys(filters)
        self._source = source
        self._canary = canary
        self._losses = canary.losses if canary is not None else 0
        self._new_nonce = new_nonce
        self._canary_topic = canary_topic(source)
        self._own = sync_filter(source)
        self._linked = False
        self._ended = False  # the last check has ended with Complete
        self._retry = RETRY
        self._phase = _Phase.IDLE
        self._due: float | None = None
        # this broker has sent retained messages behind an echo
        self._out_of_order = False
        self._topics = KnownTopics()
        self._check = _Check()

    @property
    def own_filter(self) -> str:
        """The filter of the watcher's own sync topics."""
        return self._own

    @property
    def wanted(self) -> Collection[str]:
        """The reader's filters."""
        return self._filters.keys()

    @property
    def checking(self) -> bool:
        """Whether a check has begun and has not ended."""
        return self._phase is not _Phase.IDLE

    @property
    def filters(self) -> tuple[str, ...]:
        """Every filter to subscribe to, in order; the sync topics come last."""
        return (*(each for each in self._filters if each != self._own), self._own)

    def begin(self, now: float) -> list[Action]:
        """Begin a check: the link is up, messages may have been missed, or the time has come."""
        leftover = self.leave_recheck()
        self._linked = True
        self._ended = False
        self._phase = _Phase.FIRST
        self._check.began = now
        self._check.misses = 0
        self._check.canary_seen = False
        self._topics.begin_check()
        return [*leftover, Subscribe(self.filters), *self._ask(now)]

    def asked(self) -> None:
        """Note that a SUBSCRIBE was sent: its check does not end before :meth:`answered`."""
        self._check.unanswered += 1

    def answered(self, now: float) -> list[Action]:
        """Note that the broker has answered a SUBSCRIBE. The echo may have come before: it counts now."""
        self._check.unanswered = max(0, self._check.unanswered - 1)
        if self._check.unanswered or not self._check.echo_waits:
            return []
        self._check.echo_waits = False
        return self._hear_echo(now)

    def lost(self) -> None:
        """Note that the link is down; what is known stays known."""
        self._linked = False
        self._check.unanswered = 0
        self._retry = RETRY
        self._check.asked.clear()
        self.interrupt()

    def interrupt(self) -> None:
        """End the check without a result, if there is one; the next check begins with :meth:`begin`."""
        self._phase = _Phase.IDLE
        self._ended = False
        self._check.nonce = ""
        self._check.echo_waits = False
        self._due = None

    def postpone(self, now: float) -> None:
        """End the check without a result because the broker refused a filter; try again later."""
        self.interrupt()
        self._rest_unproved(now)

    def extend(self, filters: Iterable[str], now: float) -> list[Action]:
        """Add exact topics to the watch while it is on; the next ``Complete`` comes behind their messages."""
        new = tuple(each for each in dict.fromkeys(filters) if each not in self._filters)
        self._filters = dict.fromkeys((*new, *self._filters))
        if not new or not self._linked:
            return []
        if self._phase is _Phase.IDLE and not self._ended:
            return [Subscribe(new)]  # a whole check comes later
        if self._phase in (_Phase.IDLE, _Phase.QUIET):
            self._phase = _Phase.SECOND
        elif self._phase is _Phase.SETTLING:
            self._phase = _Phase.AGAIN
        return [Subscribe(new), *self._ask(now)]

    def shrink(self, filters: Iterable[str]) -> list[Action]:
        """Take exact topics out of the watch."""
        gone = tuple(each for each in dict.fromkeys(filters) if each in self._filters)
        for each in gone:
            del self._filters[each]
        return [Unsubscribe(gone)] if gone and self._linked else []

    def hear(self, topic: str, *, empty: bool, retain: bool, now: float) -> tuple[bool, list[Action]]:
        """Take in a message; return whether the reader gets it, and what to do.

        The reader gets a message on the own sync topics only if it asked for these by name.
        """
        if matches(self._own, topic):
            passed = any(each.startswith(_SYNC) and matches(each, topic) for each in self._filters)
            return passed, self._hear_own(topic, empty=empty, retain=retain, now=now)
        if is_request(topic):
            # Live ones show the flag, too, so it says nothing of the order. Those without it leave no trace: to ask for
            # their topics again by name would bring the next one twice.
            if retain or empty:
                self._topics.note(topic, empty=empty, retain=retain)
            return True, []
        if retain and self._topics.has_newer(topic):
            return False, []
        if retain and (self._check.echo_waits or self._phase in _BEHIND_AN_ECHO):
            self._out_of_order = True
        if retain and self._phase in (_Phase.SETTLING, _Phase.QUIET):
            self._due = now + QUIET
        self._topics.note(topic, empty=empty, retain=retain)
        return True, []

    def leave_recheck(self) -> list[Unsubscribe]:
        """Return how to unsubscribe from the topics that were asked for by name."""
        asked, self._check.asked = self._check.asked, []
        topics = (topic for part in asked for topic in part if topic not in self._filters)
        return [Unsubscribe(part) for part in in_packets(topics)]

    def due(self) -> float | None:
        """Return when :meth:`tick` has something to do, or None."""
        return self._due

    def tick(self, now: float) -> list[Action]:
        """Do what the time asks for."""
        if self._due is None or now < self._due:
            return []
        if self._phase is _Phase.IDLE:
            return self.begin(now)
        if self._phase is _Phase.SETTLING:
            return self._end_check(now)
        if self._phase is _Phase.QUIET:
            return self._end_recheck(now)
        if not self._check.nonce:  # an echo came before the canary
            return self._ask(now)
        # no echo at all: the reader waits, and reports that by itself
        self._rest_unproved(now)
        return []

    def _ask(self, now: float) -> list[Action]:
        self._check.echo_waits = False
        self._check.nonce = self._new_nonce()
        self._due = now + ECHO_LIMIT
        return [Publish(sync_topic(self._source, self._check.nonce), {})]

    def _rest(self, now: float, pause: float) -> None:
        self._phase = _Phase.IDLE
        self._due = now + pause

    def _rest_unproved(self, now: float) -> None:
        """Wait longer each time: a broker that withholds messages sends the whole set at each check."""
        self._rest(now, self._retry)
        self._retry = min(2 * self._retry, INTERVAL)

    def _hear_own(self, topic: str, *, empty: bool, retain: bool, now: float) -> list[Action]:
        if topic == self._canary_topic:
            if retain and not empty and self._phase in (_Phase.FIRST, _Phase.CANARY):
                self._check.canary_seen = True
                # an echo has come before it
                self._out_of_order |= not self._check.nonce
        elif self._check.nonce and topic == sync_topic(self._source, self._check.nonce):
            self._check.nonce = ""
            self._check.echo_waits = self._check.unanswered > 0
            return [] if self._check.echo_waits else self._hear_echo(now)
        return []

    def _hear_echo(self, now: float) -> list[Action]:
        if self._phase is _Phase.SECOND:
            if self._check.canary_seen and not self._out_of_order:
                return self._end_recheck(now)
            self._phase = _Phase.QUIET
            self._due = now + QUIET
            return []
        if self._canary is None and self._phase is _Phase.FIRST:
            self._phase = _Phase.AGAIN
            return self._ask(now)
        if self._canary is None and self._out_of_order:
            self._phase = _Phase.SETTLING
            self._due = now + QUIET
            return []
        if self._canary is None or self._check.canary_seen:
            return self._end_check(now)
        return self._miss_canary(self._canary, now)

    def _miss_canary(self, known: Canary, now: float) -> list[Action]:
        """Decide after an echo that came before the canary: wait for it, publish it, or give up."""
        self._check.misses += 1
        waited = now - self._check.began if self._check.misses > MISSES else 0.0
        if self._phase is _Phase.FIRST and (not known.kept or waited > CANARY_LIMIT / 2):
            self._phase = _Phase.CANARY
            self._check.began = now
            self._check.misses = 0
            canary = Publish(self._canary_topic, {"source": self._source}, retain=True)
            return [canary, Subscribe(self.filters), *self._ask(now)]
        if waited <= CANARY_LIMIT:
            if self._phase is _Phase.CANARY and self._check.misses % MISSES == 0:
                # A broker that stores retained messages later answered before it had the canary.
                return [Subscribe(self.filters), *self._ask(now)]
            self._due = now + REPEAT
            return []
        problem = Unproved(WITHHELD.cause, WITHHELD.remedy.format(source=self._source))
        return [problem, *self._end_check(now)]

    def _end_check(self, now: float) -> list[Action]:
        topics = self._topics
        missing = topics.missing()
        if self._canary is not None and self._check.canary_seen:
            if self._canary.kept and self._phase is _Phase.CANARY:
                self._canary.losses += 1
            self._canary.kept = True
            if self._losses != self._canary.losses:
                # the canary was gone: so was all the rest
                topics.forgotten.update(missing)
            self._losses = self._canary.losses
        return self._ask_for([topic for topic in missing if topic not in topics.forgotten], now)

    def _ask_for(self, missing: list[str], now: float) -> list[Action]:
        """Ask for missing topics by their names, or complete the check if there are none."""
        if not missing or self._topics.overflow:
            return self._complete(now)
        self._phase = _Phase.SECOND
        self._check.asked = list(in_packets(missing))
        return [*(Subscribe(part) for part in self._check.asked), *self._ask(now)]

    def _end_recheck(self, now: float) -> list[Action]:
        """Take as gone what no packet has brought; a packet that brought some may have been cut."""
        asked = self._check.asked
        done = self.leave_recheck()
        again = []
        for part in asked:
            missing = self._topics.missing(part)
            if len(missing) < len(part):
                again += missing
            else:
                self._topics.remove(missing)
        return [*done, *self._ask_for(again, now)]

    def _complete(self, now: float) -> list[Action]:
        self._ended = True
        if self._check.canary_seen or self._canary is None:
            self._retry = RETRY
            self._rest(now, INTERVAL)
        else:
            self._rest_unproved(now)
        known = self._topics.complete()
        return [Complete(self._check.canary_seen, known, frozenset(self._topics.forgotten))]
