"""A lease, by which one of several machines runs the ticks, decided from messages and a clock. No I/O.

Two machines never hold it at once, because all see the messages of its topic in one order:

- A holder's time ends 0.8 ttl after the moment before it handed over its latest renewal that has come back, and a renewal
  comes back only on the link on which it was sent.
- A machine claims when it has heard nothing for at least 1 ttl, all of it on one link. Its claim stands if no renewal comes
  before the claim itself does: then every renewal that the broker had before the claim has expired. The holder sees the claim
  before any renewal that it sends behind it, and steps down.
- Of two claims of one term the first one wins, and of two renewals of one term, too: a machine that has linked between two
  claims may take the second one for the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from cascade.interfaces.wire import VERSION
from cascade.wire.leases import MAX_TICKS, LeaseMessage

VALID = 0.8
"""Of the ttl: for how long a renewal holds the lease; the rest is for clocks that do not run alike."""
SPREAD = 0.3
"""Of the ttl: the most that a follower waits longer than one ttl, at random."""
RENEWALS = 3
"""In one ttl."""
LATE = 0.25
"""Of the ttl: a follower that comes so late to its claim has not listened, and begins again."""


class Stage(Enum):
    """How far a machine is."""

    FOLLOWS = "follows"
    CLAIMS = "claims"
    """It waits for its claim."""
    WINS = "wins"
    """It waits for its first renewal."""
    HOLDS = "holds"


class Holder(NamedTuple):
    """Who has renewed the lease last."""

    source: str
    session: str
    term: int
    since: str


@dataclass(slots=True, eq=False)
class LeaseRules:
    """What one machine knows of a lease, and does.

    ``now`` is a clock in seconds that never goes back, and counts sleep where the system can.

    :param ttl: seconds that others listen before they claim.
    :param draw: a random number from 0 to 1.
    """

    source: str
    session: str
    ttl: float
    draw: Callable[[], float]
    stage: Stage = Stage.FOLLOWS
    term: int = 0
    """Its own term, from its claim on; else 0."""
    confirmed: int = 0
    """The latest own renewal of this term that has come back."""
    holder: Holder | None = None
    ticks: dict[str, str] = field(default_factory=dict)
    """By workflow: the time of the last tick that began on any machine."""
    since: str = ""
    """When the own term began, for people."""
    _highest: int = 0
    _n: int = 0
    _linked: bool = False
    _sent: dict[int, float] = field(default_factory=dict)
    """Own renewals on the present link that have not come back, with the moment before each."""
    _until: float = -math.inf
    """The end of the claim, or of the time for which the lease is held."""
    _next: float = math.inf
    """When the next message is due."""
    _longest: float = 0.0
    """The ttl of the one that was heard last."""
    _latest: tuple[str, int, int] | None = None
    """The renewal of another one that was heard last: session, term and number."""

    def holds(self, now: float) -> bool:
        """Return whether a tick may begin now."""
        return self.stage is Stage.HOLDS and now < self._until

    def linked(self, now: float) -> None:
        """Note that messages arrive from now on."""
        self._linked = True
        if self.holds(now):
            self._next = now
        else:
            self._follow(now)

    def lost(self) -> None:
        """Note that messages may be missing: what was sent on this link no longer counts."""
        self._linked = False
        self._sent.clear()
        self._next = math.inf

    def heard(self, message: LeaseMessage, now: float) -> None:
        """Take a message of the lease's topic, also an own one, in the order in which they arrive."""
        self._expire(now)
        if message.session == self.session:
            self._came_back(message, now)
            return
        renewal = message.session, message.term, message.n
        if renewal == self._latest:
            # the retained one comes again with each link, and from time to time
            return
        self._longest = message.ttl
        self._highest = max(self._highest, message.term)
        if not message.claim:
            self._latest = renewal
            self._merge(message.tick)
            self.holder = Holder(message.source, message.session, message.term, message.since)
        if self.stage is Stage.FOLLOWS or self._loses_to(message):
            self._follow(now)
        elif self.stage is Stage.HOLDS:
            # that one does not know who holds the lease, or its late renewal is the retained message now
            self._next = now

    def due(self, now: float) -> LeaseMessage | None:
        """Return what to send now, retained unless it is a claim. Hand it to the client at once."""
        self._expire(now)
        if now < self._next:
            return None
        if self.stage is not Stage.FOLLOWS:
            return self._renewal(now)
        if now - self._next > LATE * self.ttl:
            self._follow(now)
            return None
        self.term = self._highest = self._highest + 1
        self.stage, self._n, self.confirmed, self.since = Stage.CLAIMS, 0, 0, ""
        self._next, self._until = math.inf, now + VALID * self.ttl
        return self._message(claim=True)

    def wake_up(self, now: float) -> float:
        """Return the seconds until :meth:`due` has to be asked again, or the lease ends."""
        at = self._next if self.stage is Stage.FOLLOWS else min(self._next, self._until)
        return max(0.0, at - now)

    def begin_tick(self, workflow: str, time: str, now: float) -> int:
        """Have the next renewal say that a tick begins; return its number.

        The tick begins when :attr:`confirmed` has that number and the lease still :meth:`holds`.
        """
        self._merge({workflow: time})
        if self._linked:
            self._next = now
        return self._n + 1

    def _came_back(self, message: LeaseMessage, now: float) -> None:
        if message.term != self.term:
            return
        if message.claim and self.stage is Stage.CLAIMS:
            self.stage, self._next = Stage.WINS, now
        elif self.stage in (Stage.WINS, Stage.HOLDS) and (sent := self._sent.get(message.n)) is not None:
            self.stage, self.confirmed = Stage.HOLDS, message.n
            self._until = sent + VALID * self.ttl
            self._sent = {n: at for n, at in self._sent.items() if n > message.n}
            self.holder = Holder(self.source, self.session, self.term, self.since)

    def _loses_to(self, message: LeaseMessage) -> bool:
        """Return whether a message of another one ends the own claim, or the own term."""
        if message.claim:
            # the first claim of a term wins
            return message.term > self.term or (message.term == self.term and self.stage is Stage.CLAIMS)
        # before the first own renewal, the silence in which it claimed was none; two holders of one term give way
        return message.term >= self.term or self.stage is not Stage.HOLDS

    def _expire(self, now: float) -> None:
        if self.stage is not Stage.FOLLOWS and now >= self._until:
            self._follow(now)

    def _follow(self, now: float) -> None:
        """Listen anew, and claim after that."""
        self.stage, self.term = Stage.FOLLOWS, 0
        self._sent.clear()
        wait = max(self.ttl, self._longest) * (1.0 + SPREAD * self.draw())
        self._next = now + wait if self._linked else math.inf

    def _renewal(self, now: float) -> LeaseMessage:
        self._n += 1
        self._sent[self._n] = now
        self._next = now + self.ttl / RENEWALS
        return self._message(claim=False)

    def _message(self, *, claim: bool) -> LeaseMessage:
        return LeaseMessage(
            v=VERSION,
            claim=claim,
            term=self.term,
            session=self.session,
            source=self.source,
            n=self._n,
            ttl=self.ttl,
            tick={} if claim else dict(self.ticks),
            since=self.since,
        )

    def _merge(self, ticks: dict[str, str]) -> None:
        for workflow, time in ticks.items():
            if workflow in self.ticks or len(self.ticks) < MAX_TICKS:
                self.ticks[workflow] = max(time, self.ticks.get(workflow, ""))
