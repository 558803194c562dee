"""Decide which tasks may start now: the gates of an engine, and everything that waits for one. No I/O.

One :class:`AdmissionPolicy` serves all runs of an engine. A run *submits* a request for a task
that is ready, :meth:`AdmissionPolicy.admit` returns the requests that may start, and the run
*releases* a request when the task's attempt has ended. Equal requests form a queue. A queue waits
for the one thing that blocks it, and is checked again when that opens. So a start costs about two
checks, however many requests wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cascade.runtime._admission.capacities import SystemResources
from cascade.runtime._admission.gate_index import GateGroup, GateIndex
from cascade.runtime._admission.gates import (
    AnyGate,
    CancelGate,
    Gate,
    PlantGate,
    RateLimitGate,
    make_gate,
    update_gate,
)
from cascade.runtime._admission.request_queues import (
    AdmittedRun,
    Notifications,
    RateQueue,
    RequestQueue,
    StartRequest,
    WaitQueue,
)
from cascade.runtime._admission.rules import (
    ENGINE,
    Effective,
    Key,
    RateLimit,
    TokenBucket,
    TokenBuckets,
    task_matcher,
)
from cascade.runtime._admission.wakeups import Wakeups
from cascade.spec.policies import Rate

# most checks in one call of admit(), for each request that it may return
_CHECKS_PER_START = 4


class AdmissionPolicy:
    """Admits requests in their order, as far as gates, worker slots and resources allow."""

    def __init__(
        self,
        resources: SystemResources | None = None,
        *,
        declared_buckets: dict[tuple[str, Rate], TokenBucket] | None = None,
    ) -> None:
        self.resources = resources or SystemResources()
        self.declared_buckets = {} if declared_buckets is None else declared_buckets
        """The token buckets of rates that tasks declare, by name and rate; several engines may share them."""
        self.checks = 0
        """How often a request was checked."""
        self.waiting = 0
        """How many requests wait."""
        self.last_start = 0.0
        """When a request was last admitted, on the clock of ``now``."""
        self.unfinished = False
        """Whether the last ``admit`` stopped before it had checked every open wait queue."""
        self.notifications = Notifications()
        """What the runs have not yet been notified of."""
        self.gates = GateIndex()
        """The constraints in force, and the tasks to which they apply."""
        self.buckets: TokenBuckets = {}
        """The token buckets of rate limits by scope; replaced by those that outlive the engine."""
        self.rates: dict[tuple[str, Rate], RateQueue] = {}
        """Where attempts wait for the rates that tasks declare."""
        self._runs: dict[str, AdmittedRun] = {}
        self._wakeups = Wakeups()
        self._submitted = 0

    @property
    def idle(self) -> bool:
        """Whether a task without demands may start without a request."""
        return not self.gates.by_key and not self.waiting

    @property
    def constrained(self) -> bool:
        """Whether any constraint is in force."""
        return bool(self.gates.by_key)

    def runs(self) -> list[AdmittedRun]:
        """Return the attached runs."""
        return list(self._runs.values())

    def attach(self, run: AdmittedRun) -> None:
        """Begin to serve a run; if a constraint cancels it already, its cancel becomes a notification."""
        self._runs[run.run_id] = run
        self.gates.workflows[run.run_id] = run.workflow
        if (gate := self.gates.cancel_of(run.run_id)) is not None:
            self.notifications.cancel([run], gate.block_reason(), None)

    def detach(self, run: AdmittedRun) -> None:
        """Stop serving a run: its waiting requests are withdrawn, its running ones count until released."""
        self.withdraw_all(run)
        self._runs.pop(run.run_id, None)
        self.notifications.forget(run)
        for group in self.gates.groups_of(run.run_id):
            if group.running:
                self.gates.outlive(group)
            else:
                self.gates.drop(group)
        self.gates.end_run(run.run_id)

    def submit(self, request: StartRequest) -> None:
        """Add a request behind all that were submitted before."""
        group = self.gates.group(request.run.run_id, request.name)
        key = (request.demands, request.slots, request.rate)
        queue = group.queues.get(key)
        if queue is None:
            rate = self._rate_queue(request) if request.rate is not None else None
            queue = group.queues[key] = RequestQueue(group, request.demands, request.slots, rate)
        self._submitted += 1
        request.order = self._submitted
        request.queue = queue
        queue.requests.append(request)
        self.waiting += 1
        if queue.wait_queue is None:
            self._wakeups.ready.add(queue)
        elif queue.wait_queue.block_reason() is not None:
            self.notifications.block(queue)

    def admit(self, now: float, most: int) -> list[StartRequest]:
        """Return up to ``most`` requests that start now, and take for them all that they need."""
        admitted: list[StartRequest] = []
        self._wakeups.poll(now)
        self.unfinished = True
        for _ in range(_CHECKS_PER_START * most):
            queue = self._wakeups.next(now)
            if queue is None:
                self.unfinished = False
                break
            if (request := self._check(queue, now)) is not None:
                admitted.append(request)
                if len(admitted) >= most:
                    break
        if admitted:
            self.last_start = now
        return admitted

    def release(self, request: StartRequest) -> None:
        """Give back what a request holds, however its attempt has ended. Idempotent."""
        if not request.running:
            return
        request.running = False
        group = self.gates.group(request.run.run_id, request.name)
        group.running -= 1
        for gate in group.gates:
            gate.task_ended()
        self._wakeups.signal(group.gates)
        if not group.running and request.run.run_id not in self._runs:
            self.gates.drop(group)
        if request.demands:
            self.resources.give_back(request.demands)
            self._wakeups.signal(self.resources.wait_queues())

    def count(self, request: StartRequest) -> None:
        """Count a task as running that has started without a request, until it is released. Idempotent."""
        if request.running:
            return
        request.running = True
        # the first constraint counts every task, so there is none now
        self.gates.group(request.run.run_id, request.name).running += 1

    def withdraw(self, request: StartRequest) -> None:
        """Remove a request that waits. Idempotent."""
        queue = request.queue
        if queue is None:
            return
        if queue.requests[0] is request:
            self._pop(queue)
            self._requeue(queue)
            return
        at = queue.requests.index(request)
        del queue.requests[at]
        queue.notified -= at < queue.notified
        request.queue = None
        self.waiting -= 1

    def withdraw_all(self, run: AdmittedRun) -> None:
        """Remove every waiting request of a run."""
        for group in self.gates.groups_of(run.run_id):
            for queue in group.queues.values():
                self._empty(queue)

    def next_wake(self, now: float) -> float | None:
        """Return when time alone opens a gate that blocks a request, or None."""
        return self._wakeups.next_wake(now)

    def apply(self, changes: Mapping[Key, Effective | None], now: float) -> None:
        """Put changed constraints in force: first the new and changed ones, then remove the lifted ones.

        In this order no task starts in between that both the old and the new set would block.
        """
        if not self.gates.by_key and any(changes.values()):
            self._count_running(now)
        for key, effective in changes.items():
            if effective is not None:
                self._put_in_force(key, effective, now)
        for key, effective in changes.items():
            if effective is None and key in self.gates.by_key:
                gate = self.gates.remove(key)
                self._drop_bucket(gate)
                self._release_waiting(gate)

    def clear(self) -> None:
        """Remove every constraint at once; token buckets stay, because nothing was cleared at the broker.

        Gates that the program declares stay in force.
        """
        declared = self.declared_gates()
        for gate in self.gates.clear():
            self._release_waiting(gate)
        for gate in declared:
            self._add_gate((gate.scope, gate.rule.type), gate)

    def declared_gates(self) -> list[PlantGate]:
        """Return the gates that the program itself has declared."""
        return [
            gate
            for key, gate in self.gates.by_key.items()
            if key[0] == ENGINE and isinstance(gate, PlantGate)
        ]

    def signal_gates(self, keys: Iterable[Key]) -> None:
        """Check again what waits for gates that have opened."""
        self._wakeups.signal([gate for key in keys if (gate := self.gates.by_key.get(key)) is not None])

    def take_gates(self) -> GateIndex | None:
        """Give all constraints away and keep none; return None if a task is counted or waits.

        Gates of ten thousand constraints take longer to make than a short run: the next engine adopts them.
        """
        if self.waiting or any(True for _ in self.gates.groups()):
            return None
        gates, self._wakeups = self.gates, Wakeups()
        self.adopt_gates(GateIndex())
        return gates

    def adopt_gates(self, gates: GateIndex) -> None:
        """Put constraints in force whose gates another policy has given away; this one has none."""
        self.gates = gates
        gates.workflows = {run.run_id: run.workflow for run in self._runs.values()}

    def blocking_gates(self) -> list[AnyGate]:
        """Return the gates that alone prevent a start; the gate of the oldest request comes first.

        Requests that also lack a worker or a resource do not count: they could not start anyway.
        """
        queues = [queue for group in self.gates.groups() for queue in group.queues.values() if queue.requests]
        queues = sorted(
            (queue for queue in queues if self._missing_capacity(queue) is None),
            key=lambda queue: queue.order,
        )
        return list(dict.fromkeys(queue.wait_queue for queue in queues if isinstance(queue.wait_queue, Gate)))

    def _check(self, queue: RequestQueue, now: float) -> StartRequest | None:
        """Admit the head of a queue and return it; or move the queue to where it has to wait."""
        self.checks += 1
        group: GateGroup = queue.group
        for gate in group.gates:
            if isinstance(gate, CancelGate):
                self.notifications.reject(self._pop(queue), gate.block_reason())
                self._requeue(queue)
                return None
            if not gate.is_open(now):
                self._block(queue, gate)
                return None
        if (missing := self._missing_capacity(queue)) is not None:
            self._block(queue, missing)
            return None
        if queue.rate is not None and not queue.rate.is_open(now):
            self._block(queue, queue.rate)
            return None
        for gate in group.gates:
            gate.task_started(now)
        if queue.rate is not None:
            queue.rate.task_started(now)
        group.running += 1
        self.resources.take(queue.demands)
        request = self._pop(queue)
        request.running = True
        if request.slots is not None:
            request.slots.free -= 1
        self._requeue(queue)
        return request

    def _rate_queue(self, request: StartRequest) -> RateQueue:
        """Return where the attempts of a task wait for the rate that it declares: one place for all runs."""
        rate = request.rate
        assert rate is not None
        found = self.rates.get((request.name, rate))
        if found is None:
            rule = RateLimit(*rate)
            bucket = self.declared_buckets.setdefault((request.name, rate), TokenBucket(rule))
            found = self.rates[request.name, rate] = RateQueue(request.name, rule, bucket)
        return found

    def _missing_capacity(self, queue: RequestQueue) -> WaitQueue | None:
        """Return where the head of a queue has to wait for a worker or for resources, or None."""
        if queue.slots is not None and queue.slots.free <= 0:
            return queue.slots
        if queue.demands and not self.resources.has_room(queue, queue.requests[0].order):
            return self.resources.wait_queue(queue.demands)
        return None

    def _block(self, queue: RequestQueue, wait_queue: WaitQueue) -> None:
        self._leave_wait_queue(queue)
        wait_queue.add(queue)
        self.notifications.block(queue)
        self._wakeups.watch(wait_queue)

    def _leave_wait_queue(self, queue: RequestQueue) -> None:
        """Remove a queue from where it waits; a younger request may be the next for its resources."""
        wait_queue, queue.wait_queue = queue.wait_queue, None
        if queue.demands and wait_queue is not self._wakeups.ready:
            self._wakeups.signal(self.resources.wait_queues())

    def _requeue(self, queue: RequestQueue) -> None:
        """Have the rest of a queue checked again, in its order."""
        self._leave_wait_queue(queue)
        if queue.requests:
            self._wakeups.ready.add(queue)

    def _pop(self, queue: RequestQueue) -> StartRequest:
        request = queue.requests.popleft()
        queue.notified = max(0, queue.notified - 1)
        request.queue = None
        self.waiting -= 1
        return request

    def _put_in_force(self, key: Key, effective: Effective, now: float) -> None:
        gate = self.gates.by_key.get(key)
        notified: frozenset[str] = frozenset()
        if isinstance(gate, CancelGate):
            # it may cover other runs now
            notified = frozenset(run_id for run_id in self._runs if gate.covers(run_id))
            self._release_waiting(self.gates.remove(key))
        elif gate is not None:
            gate.change(effective.rule, effective.topic, now)
            update_gate(gate, effective)
            self._wakeups.signal((gate,))
            return
        gate = make_gate(key, effective)
        if isinstance(gate, RateLimitGate):
            gate.bucket = self.buckets.setdefault(gate.scope, gate.bucket)
        self._add_gate(key, gate)
        if isinstance(gate, CancelGate):
            self._cancel(gate, notified)

    def _add_gate(self, key: Key, gate: AnyGate) -> None:
        for group in self.gates.add(key, gate):
            gate.add_running(group.running)
            for queue in group.queues.values():
                if queue.wait_queue is not self._wakeups.ready:
                    # the new gate may rank before what blocks the queue now
                    self._requeue(queue)

    def _drop_bucket(self, gate: AnyGate) -> None:
        """Forget the tokens of a rate limit that was cleared; another engine may have begun a new bucket."""
        if isinstance(gate, RateLimitGate) and self.buckets.get(gate.scope) is gate.bucket:
            del self.buckets[gate.scope]

    def _cancel(self, gate: CancelGate, notified: frozenset[str]) -> None:
        """Notify the runs of a cancel; ``admit`` rejects the requests that wait when it checks them.

        :param notified: runs that know of this cancel already: a second one would disturb their end.
        """
        kind, _, value = gate.scope.partition(":")
        runs = [
            run
            for run_id, run in self._runs.items()
            if gate.covers(run_id)
            and run_id not in notified
            and {"run": run_id, "workflow": run.workflow}.get(kind, value) == value
        ]
        self.notifications.cancel(runs, gate.block_reason(), task_matcher(value) if kind == "task" else None)

    def _release_waiting(self, gate: AnyGate) -> None:
        """Have everything checked again that waits for a gate which was removed."""
        self._wakeups.forget(gate)
        for queue in gate.take_all():
            self._wakeups.ready.add(queue)

    def _empty(self, queue: RequestQueue) -> None:
        for request in queue.requests:
            request.queue = None
        self.waiting -= len(queue.requests)
        queue.requests.clear()
        self._leave_wait_queue(queue)

    def _count_running(self, now: float) -> None:
        """Count the tasks that started without a request: a new limit counts them as well."""
        for run in self._runs.values():
            for request in run.running():
                if not request.running:
                    request.running = True
                    self.gates.group(run.run_id, request.name).running += 1
        self.last_start = now
