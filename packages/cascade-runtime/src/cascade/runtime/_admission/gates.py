"""Gates: one for each constraint in force, the tasks to which it applies, and when it may have opened. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Generic, TypeVar

from cascade.interfaces.gates import GateReading
from cascade.interfaces.wire import timestamp
from cascade.runtime._admission.limits import (
    Cancel,
    Concurrency,
    Effective,
    GateRule,
    Key,
    LiveReading,
    Pause,
    RateLimit,
    Rule,
    TokenBucket,
    is_plain,
    task_matcher,
)
from cascade.runtime._admission.requests import BlockReason, Demands, RequestQueue, WaitQueue, WorkerSlots
from cascade.runtime._support.text import printable
from cascade.spec.policies import Rate

R = TypeVar("R", bound=Rule)


class Gate(WaitQueue, Generic[R]):
    """One constraint in force: a scope, a type and its parameters."""

    __slots__ = ("by", "rule", "scope", "topic")
    rank: ClassVar[int]
    """Gates of a lower rank are checked first."""

    def __init__(self, scope: str, rule: R, topic: str) -> None:
        super().__init__()
        self.scope = scope
        self.rule = rule
        self.topic = topic
        self.by = ""
        """Who has written the register, as its message claims."""

    def covers(self, run_id: str) -> bool:
        """Return whether the gate applies to a run that its scope covers."""
        return True

    def change(self, rule: R, topic: str, now: float) -> None:
        """Put other parameters in force; running tasks and spent tokens stay counted."""
        self.rule = rule
        self.topic = topic

    def is_open(self, now: float) -> bool:
        return False

    def add_running(self, count: int) -> None:
        """Count tasks of the scope that had started before the gate existed."""

    def task_started(self, now: float) -> None:
        """Count the start of a task in the scope."""

    def task_ended(self) -> None:
        """Count the end of a task in the scope, however it ended."""

    def reason(self) -> str:
        """Return why the gate is closed, as a text that is safe to print."""
        # the scope comes from the broker: use printable(self.scope)
        raise NotImplementedError

    def block_reason(self) -> BlockReason:
        return BlockReason(self.reason(), self.topic, self.rule.type, self.by)


AnyGate = Gate[Any]


class CancelGate(Gate[Cancel]):
    """Rejects every request in its scope, in the runs that the cancel covers."""

    __slots__ = ()
    rank = 0

    def covers(self, run_id: str) -> bool:
        return self.rule.covers(run_id)

    def reason(self) -> str:
        until = self.rule.until
        return f"{printable(self.scope)} is cancelled{f' until {timestamp(until)[:19]}Z' if until else ''}"


class HoldingGate(Gate[R]):
    """Holds running tasks, too: they wait at their next checkpoint."""

    __slots__ = ()
    rank = 1

    @property
    def holds(self) -> bool:
        """Whether it holds tasks now; from any thread."""
        return True


class PauseGate(HoldingGate[Pause]):
    """Always closed."""

    __slots__ = ()

    def reason(self) -> str:
        return f"{printable(self.scope)} is paused"


class PlantGate(HoldingGate[GateRule]):
    """Closed while a value of the plant, or the time, says so."""

    __slots__ = ("live",)

    def __init__(self, scope: str, rule: GateRule, topic: str) -> None:
        super().__init__(scope, rule, topic)
        self.live = LiveReading(
            GateReading(rule.gate.on_stale == "hold", "unknown", None, f"{rule.gate} and was not read yet")
        )

    @property
    def holds(self) -> bool:
        return self.live.reading.holds

    def is_open(self, now: float) -> bool:
        return not self.live.reading.holds

    def reason(self) -> str:
        return self.live.reading.text


class ConcurrencyGate(Gate[Concurrency]):
    """Counts the running tasks of its scope, including those that had started before it existed."""

    __slots__ = ("running",)
    rank = 2

    def __init__(self, scope: str, rule: Concurrency, topic: str) -> None:
        super().__init__(scope, rule, topic)
        self.running = 0

    def is_open(self, now: float) -> bool:
        return self.running < self.rule.limit

    def add_running(self, count: int) -> None:
        self.running += count

    def task_started(self, now: float) -> None:
        self.running += 1

    def task_ended(self) -> None:
        self.running -= 1

    def reason(self) -> str:
        return f"{self.running} of at most {self.rule.limit} of {printable(self.scope)} are running"


class RateLimitGate(Gate[RateLimit]):
    """Takes a token of its bucket for each start."""

    __slots__ = ("bucket",)
    rank = 3
    opens_by_itself = True

    def __init__(self, scope: str, rule: RateLimit, topic: str) -> None:
        super().__init__(scope, rule, topic)
        self.bucket = TokenBucket(rule)

    def change(self, rule: RateLimit, topic: str, now: float) -> None:
        self.bucket.refill(self.rule, now)
        super().change(rule, topic, now)
        self.bucket.refill(rule, now)

    def is_open(self, now: float) -> bool:
        return self.bucket.has_token(self.rule, now)

    def task_started(self, now: float) -> None:
        self.bucket.take(self.rule, now)

    def opens_at(self, now: float) -> float:
        return self.bucket.next_token(self.rule, now)

    def reason(self) -> str:
        return f"{printable(self.scope)} may start at most {self.rule}"


_GATES: dict[str, Callable[[str, Any, str], AnyGate]] = {
    Pause.type: PauseGate,
    Concurrency.type: ConcurrencyGate,
    RateLimit.type: RateLimitGate,
    Cancel.type: CancelGate,
}


def make_gate(key: Key, effective: Effective) -> AnyGate:
    """Return the gate of a constraint that comes into force."""
    make = _GATES.get(key[1], PlantGate)
    gate = make(key[0], effective.rule, effective.topic)
    update_gate(gate, effective)
    return gate


def update_gate(gate: AnyGate, effective: Effective) -> None:
    """Note who has written a gate's register, and what it says."""
    gate.by = effective.by
    if isinstance(gate, PlantGate) and effective.live is not None:
        gate.live = effective.live


class GateGroup:
    """All tasks of one name in one run; the same gates apply to each of them."""

    __slots__ = ("gates", "name", "queues", "run_id", "running")

    def __init__(self, run_id: str, name: str, gates: Iterable[AnyGate]) -> None:
        self.run_id = run_id
        self.name = name
        self.gates = tuple(sorted(gates, key=_rank))
        """In the order of checking. The tuple is replaced, never changed, so any thread may read it."""
        self.running = 0
        self.queues: dict[tuple[Demands, WorkerSlots | None, Rate | None], RequestQueue] = {}

    def add(self, gate: AnyGate) -> None:
        """Apply a new gate to these tasks."""
        self.gates = tuple(sorted((*self.gates, gate), key=_rank))

    def remove(self, gate: AnyGate) -> None:
        """Stop applying a gate to these tasks."""
        if gate in self.gates:
            self.gates = tuple(each for each in self.gates if each is not gate)


class GateIndex:
    """Every gate in force, indexed by what its scope names, and every group of tasks."""

    def __init__(self) -> None:
        self.by_key: dict[Key, AnyGate] = {}
        self._groups: dict[str, dict[str, GateGroup]] = {}
        self._everywhere: dict[Key, AnyGate] = {}
        self._by_run: dict[str, dict[Key, AnyGate]] = {}
        self._by_workflow: dict[str, dict[Key, AnyGate]] = {}
        self._by_name: dict[str, dict[Key, AnyGate]] = {}
        self._by_pattern: dict[Key, tuple[Callable[[str], object], AnyGate]] = {}
        self.workflows: dict[str, str] = {}
        """The workflow of each run, by run id; empty for a run that has none."""
        # of runs that have ended: the cancel of a run goes with it, and its calls in threads do not
        self._outlived: set[GateGroup] = set()

    @property
    def running(self) -> int:
        """How many running tasks are in the scope of a constraint, or are calls of cancelled tasks that cannot be stopped."""
        if not (self.by_key or self._outlived):
            return 0
        return sum(group.running for group in self.groups() if group.gates or group in self._outlived)

    def end_run(self, run_id: str) -> None:
        """Forget a run that has ended, unless its calls run on: :meth:`drop` does it then."""
        if run_id not in self._groups:
            self.workflows.pop(run_id, None)

    def outlive(self, group: GateGroup) -> None:
        """Count the running tasks of a group of which the run has ended, if a cancel has ended them."""
        if any(isinstance(gate, CancelGate) for gate in group.gates):
            self._outlived.add(group)

    def is_in_force(self, gate: AnyGate) -> bool:
        """Return whether a gate is still the one in force for its scope and type."""
        return self.by_key.get((gate.scope, gate.rule.type)) is gate

    def cancel_of(self, run_id: str) -> AnyGate | None:
        """Return the gate that cancels a whole run, or None."""
        found = (each for each in self._of_run(run_id) if isinstance(each, CancelGate))
        return next(found, None)

    def pause_of(self, run_id: str, name: str = "") -> str:
        """Return what holds tasks of a name in a run, without a name the run as a whole; empty if nothing does."""
        if name:
            reason = self.pause_reason(run_id, name)
            return str(reason) if reason is not None else ""
        holding = (
            str(each.block_reason())
            for each in self._of_run(run_id)
            if isinstance(each, HoldingGate) and each.holds
        )
        return next(holding, "")

    def pause_reason(self, run_id: str, name: str) -> BlockReason | None:
        """Return what holds tasks of this name in this run: a pause or a closed gate; or None."""
        if not self.by_key:
            return None
        group = self._find(run_id, name)
        gates = group.gates if group is not None else self._applying_to(run_id, name)
        return next(
            (gate.block_reason() for gate in gates if isinstance(gate, HoldingGate) and gate.holds), None
        )

    def is_unpaused(self, run_id: str, name: str) -> bool:
        """Return whether a running task of this name is known not to be paused; from any thread.

        False means that only the event loop can decide, with :meth:`pause_reason`.
        """
        if not self.by_key:
            return True
        group = self._find(run_id, name)
        return group is not None and not any(
            isinstance(gate, HoldingGate) and gate.holds for gate in group.gates
        )

    def group(self, run_id: str, name: str) -> GateGroup:
        """Return the group of a run's tasks of one name; create it if needed."""
        groups = self._groups.setdefault(run_id, {})
        group = groups.get(name)
        if group is None:
            group = groups[name] = GateGroup(run_id, name, self._applying_to(run_id, name))
        return group

    def groups(self) -> Iterator[GateGroup]:
        """Return every group."""
        for groups in self._groups.values():
            yield from groups.values()

    def groups_of(self, run_id: str) -> list[GateGroup]:
        """Return the groups of one run."""
        return list(self._groups.get(run_id, {}).values())

    def drop(self, group: GateGroup) -> None:
        """Remove a group that has no running and no waiting task."""
        self._outlived.discard(group)
        groups = self._groups.get(group.run_id, {})
        groups.pop(group.name, None)
        if not groups:
            self._groups.pop(group.run_id, None)
            self.end_run(group.run_id)

    def add(self, key: Key, gate: AnyGate) -> list[GateGroup]:
        """Add a gate; return the groups to which it applies."""
        self.by_key[key] = gate
        kind, _, value = key[0].partition(":")
        if kind == "run":
            self._by_run.setdefault(value, {})[key] = gate
            found = self.groups_of(value)
        elif kind == "workflow":
            self._by_workflow.setdefault(value, {})[key] = gate
            found = [group for group in self.groups() if self.workflows.get(group.run_id) == value]
        elif kind == "task":
            found = self._add_pattern(key, value, gate)
        else:
            self._everywhere[key] = gate
            found = list(self.groups())
        found = [group for group in found if gate.covers(group.run_id)]
        for group in found:
            group.add(gate)
        return found

    def remove(self, key: Key) -> AnyGate:
        """Remove and return a gate."""
        gate = self.by_key.pop(key)
        value = key[0].partition(":")[2]
        self._everywhere.pop(key, None)
        self._by_pattern.pop(key, None)
        for index in (self._by_run, self._by_workflow, self._by_name):
            if key in index.get(value, ()):
                del index[value][key]
                if not index[value]:
                    del index[value]
        for group in self.groups():
            group.remove(gate)
        return gate

    def clear(self) -> list[AnyGate]:
        """Remove and return all gates."""
        gates = list(self.by_key.values())
        indexes = (self._everywhere, self._by_run, self._by_workflow, self._by_name, self._by_pattern)
        for index in (self.by_key, *indexes):
            index.clear()
        for group in self.groups():
            group.gates = ()
        return gates

    def _add_pattern(self, key: Key, pattern: str, gate: AnyGate) -> list[GateGroup]:
        if is_plain(pattern):
            self._by_name.setdefault(pattern, {})[key] = gate
            return [group for group in self.groups() if group.name == pattern]
        matches = task_matcher(pattern)
        self._by_pattern[key] = (matches, gate)
        return [group for group in self.groups() if matches(group.name)]

    def _find(self, run_id: str, name: str) -> GateGroup | None:
        return self._groups.get(run_id, {}).get(name)

    def _applying_to(self, run_id: str, name: str) -> Iterator[AnyGate]:
        yield from self._of_run(run_id)
        of_name = (
            *self._by_name.get(name, {}).values(),
            *(gate for matches, gate in self._by_pattern.values() if matches(name)),
        )
        yield from (gate for gate in of_name if gate.covers(run_id))

    def _of_run(self, run_id: str) -> Iterator[AnyGate]:
        """Yield the gates that apply to all tasks of a run."""
        workflow = self.workflows.get(run_id, "")
        found = (
            *self._everywhere.values(),
            *self._by_workflow.get(workflow, {}).values(),
            *self._by_run.get(run_id, {}).values(),
        )
        return (gate for gate in found if gate.covers(run_id))


def _rank(gate: AnyGate) -> int:
    return gate.rank


class Wakeups:
    """The wait queues to check next, so that closed ones cost nothing.

    A request queue is in :attr:`ready` until it has been checked. If it is blocked, it moves to
    the wait queue of what blocks it, until that wait queue is signalled and open.
    """

    def __init__(self) -> None:
        self.ready = WaitQueue()
        self._signalled: dict[WaitQueue, None] = {self.ready: None}
        self._timed: dict[WaitQueue, None] = {}
        self._slots: dict[WorkerSlots, None] = {}

    def signal(self, wait_queues: Iterable[WaitQueue]) -> None:
        """Note that these wait queues may have opened."""
        self._signalled.update(dict.fromkeys(wait_queues))

    def watch(self, wait_queue: WaitQueue) -> None:
        """Poll a wait queue that opens without a signal: with time, or when a worker ends."""
        if isinstance(wait_queue, WorkerSlots):
            self._slots[wait_queue] = None
        elif wait_queue.opens_by_itself:
            self._timed[wait_queue] = None

    def forget(self, gate: AnyGate) -> None:
        """Stop checking a gate that was removed."""
        self._signalled.pop(gate, None)
        self._timed.pop(gate, None)

    def poll(self, now: float) -> None:
        """Signal the watched wait queues that have opened."""
        for gate in tuple(self._timed):
            if gate.first() is None:
                del self._timed[gate]
            elif gate.is_open(now):
                self._signalled[gate] = None
        for slots in tuple(self._slots):
            if slots.first() is None:
                del self._slots[slots]
            else:
                self._signalled[slots] = None

    def next(self, now: float) -> RequestQueue | None:
        """Return the queue with the oldest request among those whose wait queue is open."""
        best: RequestQueue | None = None
        for wait_queue in tuple(self._signalled):
            first = wait_queue.first()
            if first is None or not wait_queue.is_open(now):
                if wait_queue is not self.ready:
                    del self._signalled[wait_queue]
            elif best is None or first.order < best.order:
                best = first
        return best

    def next_wake(self, now: float) -> float | None:
        """Return when time alone opens a gate that blocks a request, or None."""
        return min((gate.opens_at(now) for gate in self._timed if gate.first()), default=None)
