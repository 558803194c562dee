"""Where the tasks of one run ask for permission, workers and resources, and give them back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from cascade.interfaces import Executor, TaskCancelledError
from cascade.runtime.constraints import ConstraintResolver, Lane, Obstacle, Ticket, Turnstile
from cascade.runtime.constraints.tickets import Demands
from cascade.runtime.node import Node


class Host(Protocol):
    """The run behind an entrance."""

    @property
    def running(self) -> Mapping[Node, asyncio.Task[None]]:
        """The tasks that run, look into their cache, or wait between two attempts."""
        ...

    def is_stopped(self, node: Node) -> bool:
        """Return whether a task is not to start any more."""
        ...

    def launch(self, node: Node, *, outside: bool = False) -> None:
        """Start a task now; ``outside``: without permission, for which it asks by itself."""
        ...

    def turned_away(self, node: Node, obstacle: Obstacle) -> None:
        """Record that a task was cancelled before it began."""
        ...

    def told_blocked(self, node: Node, obstacle: Obstacle) -> None:
        """Tell that a task waits for permission."""
        ...

    def cancel_run(self, obstacle: Obstacle) -> None:
        """End the run as cancelled."""
        ...

    def cancel_tasks(self, covers: Callable[[str], bool], obstacle: Obstacle) -> None:
        """Cancel the tasks of such names that run or wait between two attempts."""
        ...

    def reconsider(self) -> None:
        """Look again whether tasks that are held at a checkpoint may go on."""
        ...

    def abort(self, error: Exception) -> None:
        """End the run with a fault that is no task's."""
        ...


class Entrance:
    """One run's side of the engine's turnstile: the owner of its tickets.

    A task that nothing stands in the way of starts at once, without a ticket.
    """

    def __init__(self, run_id: str, host: Host, turnstile: Turnstile) -> None:
        self._run_id = run_id
        self._host = host
        self._turnstile = turnstile
        self._resolver = ConstraintResolver(turnstile.admission.resources)
        self._lanes: dict[str, Lane] = {}  # by mode
        self._working: dict[Lane, set[Node]] = {}  # which of our tasks have its workers
        self._tickets: dict[Node, Ticket] = {}
        self._outside: set[Node] = set()  # who runs, but asks for its next step
        self._running_on: dict[Node, asyncio.Future[None]] = {}  # done when the attempt's call has ended
        self._returning: dict[Ticket, asyncio.Future[None]] = {}
        self._told: set[Ticket] = set()  # who waits, and was told that it does

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._run_id

    def open(self) -> None:
        """Begin to be served."""
        self._turnstile.attach(self)

    def withdraw(self) -> list[Node]:
        """Take back every ticket that waits; return the tasks that were told that they do, and never began."""
        self._turnstile.withdraw_all(self)
        return [ticket.subject for ticket in self._told if ticket not in self._returning]

    def close(self) -> None:
        """Be served no more; a task that refuses to end takes no worker from another run."""
        for lane, nodes in self._working.items():
            lane.free += len(nodes)
            nodes.clear()
        self._turnstile.detach(self)

    def check(self, node: Node) -> None:
        """Refuse, before it is anybody's turn, a task that can never start.

        :raises UsageError: if the engine lacks what it demands.
        """
        demands = node.call.policies.demands
        if demands:
            self._resolver.resolve(node.name, demands, lambda amount: 0.0)  # what is lazy comes later

    def leads_to(self, mode: str) -> bool:
        """Return whether it is known which workers serve this mode."""
        return mode in self._lanes

    def lead_to(self, mode: str, executor: Executor) -> None:
        """Let the workers of an executor, which is ready, serve this mode."""
        lane = self._lanes[mode] = self._turnstile.lane(executor)
        self._working.setdefault(lane, set())

    def has_room(self, mode: str) -> bool:
        """Return whether it makes sense to offer a task of this mode now.

        When other runs have some of the workers, nobody but the turnstile will tell that one is free.
        """
        lane = self._lanes.get(mode)
        if lane is None:
            return True
        return lane.free > 0 or not self._turnstile.idle or len(self._working[lane]) < lane.workers

    def offer(self, node: Node) -> None:
        """Start a task now, or let it wait for its turn.

        One with a cache, or whose executor nobody needed so far, starts outside: it has to look there first.

        :raises UsageError: if a lazy demand turned out to be more than there is.
        """
        definition = node.definition
        if node.call.policies.cache is not None or not (definition.on_loop or self.leads_to(definition.mode)):
            self._outside.add(node)
            self._host.launch(node, outside=True)
            return
        demands = self._demands(node)
        if self._lets_in(node, demands):
            self._host.launch(node)
        else:
            self._turnstile.enter(self._ticket(node, demands))

    async def permit(self, node: Node) -> bool:
        """Wait for the turn of a task that runs outside; return whether it was told that it waits.

        :raises UsageError: if a lazy demand turned out to be more than there is.
        :raises TaskCancelledError: if the task is cancelled by a constraint while it waits.
        """
        demands = self._demands(node)
        if self._lets_in(node, demands):
            self._outside.discard(node)
            return False
        return await self._turn(self._ticket(node, demands))

    def step_out(self, node: Node) -> None:
        """Give back all that a task holds until it asks again."""
        self.give_back(node)
        self._outside.add(node)

    def runs_on(self, node: Node, ended: asyncio.Future[None]) -> None:
        """Note that a call of the task was given up but runs: what the task holds is in use until ``ended``."""
        self._running_on[node] = ended

    def give_back(self, node: Node) -> None:
        """Give back all that a task holds. Twice is harmless.

        If a call of it runs on, only the worker comes back, for its executor has another one.
        """
        ticket = self._tickets.pop(node, None)
        lane = self._lane(node)
        if lane is not None and node in self._working[lane]:
            self._working[lane].discard(node)
            lane.free += 1
        if self._running_on and (ended := self._running_on.pop(node, None)) is not None:
            self._turnstile.leave_after(ended, ticket or self._made(node, ()))
        elif ticket is not None:
            self._turnstile.leave(ticket)
        elif not self._turnstile.idle:
            self._turnstile.poke()

    def ended(self, node: Node) -> None:
        """Forget a task."""
        if self._outside:
            self._outside.discard(node)
        if self._lanes or self._tickets:
            self.give_back(node)

    def running(self) -> Iterable[Ticket]:
        """Return a ticket for each task that runs, with or without having asked for one."""
        tasks = [
            self._tickets.get(node) or self._ticket(node, ())
            for node in self._host.running
            if node not in self._outside
        ]
        return tasks + self._turnstile.run_on_of(self)

    def start(self, ticket: Ticket) -> None:
        """Let the task in whose turn it is."""
        node: Node = ticket.subject
        if ticket.lane is not None:
            self._working[ticket.lane].add(node)
        turn = self._returning.get(ticket)
        if self._host.is_stopped(node):
            self.give_back(node)
            return
        self._outside.discard(node)
        if turn is None:
            self._told.discard(ticket)
            self._host.launch(node)
        elif not turn.done():
            turn.set_result(None)

    def turn_away(self, ticket: Ticket, obstacle: Obstacle) -> None:
        """Let a task know that it is cancelled before it, or its next attempt, began."""
        turn = self._returning.get(ticket)
        if turn is None:
            self._told.discard(ticket)
            self._tickets.pop(ticket.subject, None)
            self._host.turned_away(ticket.subject, obstacle)
        elif not turn.done():
            turn.set_exception(TaskCancelledError(ticket.name, str(obstacle), run_id=self._run_id))

    def blocked(self, ticket: Ticket, obstacle: Obstacle) -> None:
        """Tell that a task waits, and for what."""
        self._told.add(ticket)
        self._host.told_blocked(ticket.subject, obstacle)

    def abort(self, error: Exception) -> None:
        """End the run: nobody can tell any more who may pass."""
        self._host.abort(error)

    def cancel(self, obstacle: Obstacle, covers: Callable[[str], bool] | None) -> None:
        """Cancel the tasks of such names that run or wait for another attempt; None: the run."""
        if covers is None:
            self._host.cancel_run(obstacle)
        else:
            self._host.cancel_tasks(covers, obstacle)

    def reconsider(self) -> None:
        """Look again whether tasks that are held at a checkpoint may go on."""
        self._host.reconsider()

    def _lane(self, node: Node) -> Lane | None:
        return None if node.definition.on_loop else self._lanes.get(node.definition.mode)

    def _lets_in(self, node: Node, demands: Demands) -> bool:
        """Let a task in at once if nothing stands in its way; return whether it is in."""
        lane = self._lane(node)
        if demands or not self._turnstile.idle or (lane is not None and lane.free <= 0):
            return False
        if lane is not None:
            lane.free -= 1
            self._working[lane].add(node)
        return True

    def _demands(self, node: Node) -> Demands:
        declared = node.call.policies.demands
        if not declared:
            return ()
        return self._resolver.resolve(node.name, declared, lambda amount: node.scope.node(amount).value)

    def _ticket(self, node: Node, demands: Demands) -> Ticket:
        ticket = self._tickets[node] = self._made(node, demands)
        return ticket

    def _made(self, node: Node, demands: Demands) -> Ticket:
        return Ticket(self, node.name, demands=demands, lane=self._lane(node), subject=node)

    async def _turn(self, ticket: Ticket) -> bool:
        """Wait until it is a ticket's turn; return whether anybody was told that it waits."""
        turn = self._returning[ticket] = asyncio.get_running_loop().create_future()
        self._turnstile.enter(ticket)
        try:
            await turn
            return ticket in self._told
        finally:
            self._told.discard(ticket)
            self._returning.pop(ticket, None)
            self._turnstile.withdraw(ticket)
