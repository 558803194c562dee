"""Lets tickets pass on the event loop: turns when something has happened, and one timer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from weakref import WeakValueDictionary

from cascade.interfaces import Clock, Executor, Timer
from cascade.runtime._clock import call_later_on
from cascade.runtime._pace import Pace
from cascade.runtime.constraints._words import lifting, shown
from cascade.runtime.constraints.admission import Admission
from cascade.runtime.constraints.registers import Effective, Key
from cascade.runtime.constraints.standstill import LIMIT, Standstill
from cascade.runtime.constraints.tickets import Lane, Owner, Ticket

_log = logging.getLogger("cascade.constraints")


class Turnstile:
    """One for each engine: its runs enter and leave here, constraints are applied here.

    All methods run on the loop of the runs that are attached. Owners are called back in a turn
    of their own, never from inside a call of theirs.

    """

    def __init__(self, admission: Admission, *, clock: Clock) -> None:
        self.admission = admission
        self.on_turn: Callable[[], None] | None = None
        """Called after each turn in which constraints are in force."""
        self._clock = clock
        self._call_later = call_later_on(clock)
        self._owners: set[Owner] = set()
        self._lanes: WeakValueDictionary[int, Lane] = WeakValueDictionary()  # by the executor's identity
        self._run_on: dict[Ticket, asyncio.Future[None]] = {}  # whose calls could not be stopped
        self._pace = Pace()
        self._standstill = Standstill(admission)
        self._turn: asyncio.Handle | None = None
        self._timer: Timer | None = None

    @property
    def idle(self) -> bool:
        """Whether a task without demands may start without a ticket."""
        return self.admission.idle

    def attach(self, owner: Owner) -> None:
        """Begin to serve a run."""
        for ticket, ended in list(self._run_on.items()):
            if ended.get_loop().is_closed():  # nobody will ever hear of its end
                self._ended(ticket)
        self._owners.add(owner)
        self.admission.attach(owner)
        self.poke()

    def detach(self, owner: Owner) -> None:
        """Forget a run; with the last one nothing is left on the loop. One that never attached is harmless."""
        self.admission.detach(owner)
        self._owners.discard(owner)
        if self._owners:
            self.poke()
        else:
            self._rest()

    def lane(self, executor: Executor) -> Lane:
        """Return the workers of an executor: the same for all runs, and whatever their tasks call it."""
        lane = self._lanes.get(id(executor))
        if lane is None:
            lane = self._lanes[id(executor)] = Lane(executor.workers, executor=executor)
        lane.resize(executor.workers)
        return lane

    def enter(self, ticket: Ticket) -> None:
        """Let a task wait for its turn; its owner hears of it from the next one on."""
        self.admission.enter(ticket)
        self.poke()

    def leave(self, ticket: Ticket) -> None:
        """Give back what a ticket holds. Twice is harmless."""
        self.admission.leave(ticket)
        if not self.idle:
            self.poke()

    def leave_after(self, ended: asyncio.Future[None], ticket: Ticket) -> None:
        """Let a ticket leave when the call that it was for has ended, also if its run is over by then."""
        self._run_on[ticket] = ended
        ended.add_done_callback(lambda _: self._ended(ticket))

    def run_on_of(self, owner: Owner) -> list[Ticket]:
        """Return the tickets of a run's calls that were given up and run on."""
        return [ticket for ticket in self._run_on if ticket.owner is owner]

    def withdraw(self, ticket: Ticket) -> None:
        """Take back a ticket that waits. Twice is harmless."""
        self.admission.withdraw(ticket)
        self.poke()

    def withdraw_all(self, owner: Owner) -> None:
        """Take back every ticket of a run that waits."""
        self.admission.withdraw_all(owner)
        self.poke()

    def apply(self, changes: Mapping[Key, Effective | None]) -> None:
        """Put changed constraints in force; those who run are told in this turn."""
        self.admission.apply(changes, self._clock.monotonic())
        self._reconsider()

    def clear(self) -> None:
        """Take everything out of force at once; those who run are told in this turn."""
        self.admission.clear()
        self._reconsider()

    def _ended(self, ticket: Ticket) -> None:
        self._run_on.pop(ticket, None)
        self.leave(ticket)

    def poke(self) -> None:
        """Look in the next turn of the loop who may pass."""
        if self._turn is None and self._owners:
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        try:
            self._let_pass(self._clock.monotonic())
        except Exception as exc:  # nobody awaits this callback: the runs have to be told
            for owner in self.admission.owners():
                owner.abort(exc)

    def _let_pass(self, now: float) -> None:
        for ticket in self.admission.admit(now, self._pace.batch):
            ticket.owner.start(ticket)
        self._tell_owners()
        self._tell_standstill(now)
        if self.admission.unfinished or self.admission.notices.blocked:
            self._pace.learn(self._clock.monotonic() - now)
            self.poke()
        self._set_timer(now)
        if self.admission.constrained and self.on_turn is not None:
            self.on_turn()

    def _reconsider(self) -> None:
        for owner in self.admission.owners():
            owner.reconsider()
        self.poke()

    def _tell_owners(self) -> None:
        notices = self.admission.notices
        for owner, obstacle, covers in notices.take_cancellations():
            owner.cancel(obstacle, covers)  # first, so that a run knows that it is cancelled itself
        for ticket, obstacle in notices.take_turned_away():
            ticket.owner.turn_away(ticket, obstacle)
        for ticket, obstacle in notices.take_blocked(self._pace.batch):
            ticket.owner.blocked(ticket, obstacle)

    def _tell_standstill(self, now: float) -> None:
        for topic in self._standstill.ended():
            _log.info("%s was lifted or changed and no longer holds everything up", shown(topic))
        if (holding := self._standstill.holds(now)) is not None:
            _log.warning(
                "nothing has started for %g s, because %s; to lift it, clear the retained message: %s",
                LIMIT,
                holding.reason,
                lifting(holding.topic),
            )

    def _set_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        times = [at for at in (self.admission.next_wake(now), self._standstill.due()) if at is not None]
        self._timer = None
        if times:
            delay = min(max(0.0, min(times) - now), 86_400.0)
            self._timer = self._call_later(delay, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self.poke()

    def _rest(self) -> None:
        for handle in (self._turn, self._timer):
            if handle is not None:
                handle.cancel()
        self._turn = self._timer = None
        self._standstill = Standstill(self.admission)  # the next run's patience begins anew
