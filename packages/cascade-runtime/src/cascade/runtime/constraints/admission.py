"""Who may start now: every gate of an engine and everything that waits for one. Pure.

One :class:`Admission` serves all runs of an engine. A task that is ready *enters* with a
ticket, :meth:`Admission.admit` returns the tickets that may start, and a ticket *leaves* when
its attempt has ended. Tickets that are alike form a queue, which stands in the line of the one
thing that holds it and is looked at again when that thing opens: so a start costs about two
looks, however many wait.
"""

from __future__ import annotations

from collections.abc import Mapping

from cascade.runtime.constraints._notices import Notices
from cascade.runtime.constraints._openings import Openings
from cascade.runtime.constraints._scopes import AnyGate, Gates, Group
from cascade.runtime.constraints.gates import GATES, CancelGate, Gate
from cascade.runtime.constraints.glob import Glob
from cascade.runtime.constraints.registers import Effective, Key
from cascade.runtime.constraints.system_resources import SystemResources
from cascade.runtime.constraints.tickets import Line, Owner, Ticket, TicketQueue

_LOOKS = 4  # at how many queues one call looks for each ticket that it may return


class Admission:
    """Lets tickets pass in their order, as far as gates, lanes and resources allow."""

    def __init__(self, resources: SystemResources | None = None) -> None:
        self.resources = resources or SystemResources()
        self.checks = 0
        """How often a ticket was looked at."""
        self.waiting = 0
        """How many tickets wait."""
        self.last_start = 0.0
        """When a ticket was last let pass, on the clock of ``now``."""
        self.unfinished = False
        """Whether the last ``admit`` stopped before it had looked at everything."""
        self.notices = Notices()
        """What the owners are to be told."""
        self.gates = Gates()
        """What is in force, and what runs and waits there."""
        self._owners: dict[str, Owner] = {}
        self._openings = Openings()
        self._entered = 0

    @property
    def idle(self) -> bool:
        """Whether a task without demands may start without asking."""
        return not self.gates.by_key and not self.waiting

    @property
    def constrained(self) -> bool:
        """Whether any constraint is in force."""
        return bool(self.gates.by_key)

    def owners(self) -> list[Owner]:
        """Return the runs that are served."""
        return list(self._owners.values())

    def attach(self, owner: Owner) -> None:
        """Begin to serve a run."""
        self._owners[owner.run_id] = owner
        if (gate := self.gates.by_key.get((f"run:{owner.run_id}", "cancel"))) is not None:
            self.notices.cancel([owner], gate.obstacle(), None)

    def detach(self, owner: Owner) -> None:
        """Forget a run: what waits is withdrawn; what still runs is counted until it leaves."""
        self.withdraw_all(owner)
        self._owners.pop(owner.run_id, None)
        self.notices.forget(owner)
        for group in self.gates.groups_of(owner.run_id):
            if not group.running:
                self.gates.drop(group)

    def enter(self, ticket: Ticket) -> None:
        """Let a task wait for its permission, behind all that entered before."""
        group = self.gates.group(ticket.owner.run_id, ticket.name)
        key = (ticket.demands, ticket.lane)
        queue = group.queues.get(key)
        if queue is None:
            queue = group.queues[key] = TicketQueue(group, *key)
        self._entered += 1
        ticket.order = self._entered
        ticket.queue = queue
        queue.tickets.append(ticket)
        self.waiting += 1
        if queue.line is None:
            self._openings.ready.park(queue)
        elif queue.line.obstacle() is not None:
            self.notices.wait(queue)

    def admit(self, now: float, most: int) -> list[Ticket]:
        """Return up to ``most`` tickets that start now; all that they need is taken for them."""
        admitted: list[Ticket] = []
        self._openings.look(now)
        self.unfinished = True
        for _ in range(_LOOKS * most):
            queue = self._openings.next(now)
            if queue is None:
                self.unfinished = False
                break
            if (ticket := self._look_at(queue, now)) is not None:
                admitted.append(ticket)
                if len(admitted) >= most:
                    break
        if admitted:
            self.last_start = now
        return admitted

    def leave(self, ticket: Ticket) -> None:
        """Give back what a ticket holds, however its attempt has ended. Twice is harmless."""
        if not ticket.running:
            return
        ticket.running = False
        group = self.gates.group(ticket.owner.run_id, ticket.name)
        group.running -= 1
        for gate in group.gates:
            gate.left()
        self._openings.signal(group.gates)
        if not group.running and ticket.owner.run_id not in self._owners:
            self.gates.drop(group)
        if ticket.demands:
            self.resources.give_back(ticket.demands)
            self._openings.signal(self.resources.lines())

    def withdraw(self, ticket: Ticket) -> None:
        """Take back a ticket that waits. Twice is harmless."""
        queue = ticket.queue
        if queue is None:
            return
        if queue.tickets[0] is ticket:
            self._pop(queue)
            self._put_back(queue)
            return
        at = queue.tickets.index(ticket)
        del queue.tickets[at]
        queue.told -= at < queue.told
        ticket.queue = None
        self.waiting -= 1

    def withdraw_all(self, owner: Owner) -> None:
        """Take back every ticket of a run that waits."""
        for group in self.gates.groups_of(owner.run_id):
            for queue in group.queues.values():
                self._empty(queue)

    def next_wake(self, now: float) -> float | None:
        """Return when time alone lets something pass, or None."""
        return self._openings.next_wake(now)

    def apply(self, changes: Mapping[Key, Effective | None], now: float) -> None:
        """Put changed constraints in force; what gets stricter comes first."""
        if not self.gates.by_key and any(changes.values()):
            self._count_what_runs(now)
        for key, effective in changes.items():
            if effective is not None:
                self._put(key, effective, now)
        for key, effective in changes.items():
            if effective is None and key in self.gates.by_key:
                self._let_go(self.gates.remove(key))

    def clear(self) -> None:
        """Take everything out of force at once."""
        for gate in self.gates.clear():
            self._let_go(gate)

    def holding(self) -> list[AnyGate]:
        """Return the gates that alone keep a ticket from starting; the one of the oldest ticket comes first.

        What a ticket has to wait for anyway, workers and resources, is nobody's command.
        """
        queues = [queue for group in self.gates.groups() for queue in group.queues.values() if queue.tickets]
        queues = sorted(
            (queue for queue in queues if self._lacks(queue) is None), key=lambda queue: queue.order
        )
        return list(dict.fromkeys(queue.line for queue in queues if isinstance(queue.line, Gate)))

    def _look_at(self, queue: TicketQueue, now: float) -> Ticket | None:
        """Let the first ticket of a queue pass, or put the queue where it has to wait."""
        self.checks += 1
        group: Group = queue.group
        for gate in group.gates:
            if isinstance(gate, CancelGate):
                self.notices.turn_away(self._pop(queue), gate.obstacle())
                self._put_back(queue)
                return None
            if not gate.is_open(now):
                self._hold(queue, gate)
                return None
        if (line := self._lacks(queue)) is not None:
            self._hold(queue, line)
            return None
        for gate in group.gates:
            gate.entered(now)
        group.running += 1
        self.resources.take(queue.demands)
        ticket = self._pop(queue)
        ticket.running = True
        if ticket.lane is not None:
            ticket.lane.free -= 1
        self._put_back(queue)
        return ticket

    def _lacks(self, queue: TicketQueue) -> Line | None:
        """Return where the first ticket of a queue has to wait for a worker or for resources, or None."""
        if queue.lane is not None and queue.lane.free <= 0:
            return queue.lane
        if queue.demands and not self.resources.has_room(queue, queue.tickets[0].order):
            return self.resources.line(queue.demands)
        return None

    def _hold(self, queue: TicketQueue, line: Line) -> None:
        self._leave_line(queue)
        line.park(queue)
        self.notices.wait(queue)
        self._openings.keep_an_eye_on(line)

    def _leave_line(self, queue: TicketQueue) -> None:
        """Take a queue out of its line; whoever came after it among the resources may be next."""
        line, queue.line = queue.line, None
        if queue.demands and line is not self._openings.ready:
            self._openings.signal(self.resources.lines())

    def _put_back(self, queue: TicketQueue) -> None:
        """Let the rest of a queue be looked at in its turn."""
        self._leave_line(queue)
        if queue.tickets:
            self._openings.ready.park(queue)

    def _pop(self, queue: TicketQueue) -> Ticket:
        ticket = queue.tickets.popleft()
        queue.told = max(0, queue.told - 1)
        ticket.queue = None
        self.waiting -= 1
        return ticket

    def _put(self, key: Key, effective: Effective, now: float) -> None:
        gate = self.gates.by_key.get(key)
        if gate is not None:
            gate.change(effective.rule, effective.topic, now)
            self._openings.signal((gate,))
            return
        gate = GATES[key[1]](key[0], effective.rule, effective.topic)
        groups = self.gates.add(key, gate)
        for group in groups:
            gate.count(group.running)
            for queue in group.queues.values():
                if queue.line is not self._openings.ready:
                    self._put_back(queue)  # it may wait for this one before what it waits for now
        if isinstance(gate, CancelGate):
            self._cancel(gate)

    def _cancel(self, gate: CancelGate) -> None:
        """Ask for the end of what has begun; what waits is turned away in its turn."""
        kind, _, value = gate.scope.partition(":")
        if kind != "run":
            self.notices.cancel(self._owners.values(), gate.obstacle(), Glob(value).matches)
        elif (owner := self._owners.get(value)) is not None:
            self.notices.cancel([owner], gate.obstacle(), None)

    def _let_go(self, gate: AnyGate) -> None:
        self._openings.forget(gate)
        for queue in gate.take_all():
            self._openings.ready.park(queue)

    def _empty(self, queue: TicketQueue) -> None:
        for ticket in queue.tickets:
            ticket.queue = None
        self.waiting -= len(queue.tickets)
        queue.tickets.clear()
        self._leave_line(queue)

    def _count_what_runs(self, now: float) -> None:
        """Count the tasks that started while nobody had to ask: a limit holds for them too."""
        for owner in self._owners.values():
            for ticket in owner.running():
                if not ticket.running:
                    ticket.running = True
                    self.gates.group(owner.run_id, ticket.name).running += 1
        self.last_start = now
