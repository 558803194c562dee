"""The policy compared with a slow and simple model: both admit the same requests after any events."""

from fnmatch import fnmatchcase
from itertools import product
from typing import Any

import pytest
from admission_parts import (
    Cancel,
    Concurrency,
    Effective,
    GateRule,
    LiveReading,
    Pause,
    Policy,
    RateLimit,
    Rule,
    StartRequest,
    SystemResources,
    WorkerSlots,
)
from fakes import Run
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.interfaces.gates import GateReading, gate

POWER, LEVEL = (GateRule(gate(name, topic="t", above=1)) for name in ("power", "level"))
NAMES = ["a", "ab", "b"]
SCOPES = ["global", "task:a*", "task:b", "run:r1", "workflow:w1"]
WORKFLOWS = {"r1": "w1", "r2": "w2", "r3": ""}
CAPACITIES = {"gpu": 3.0, "memory": 4.0}
DEMANDS = [{}, {"gpu": 1}, {"gpu": 3}, {"memory": 2}, {"gpu": 1, "memory": 3}]
RULES: list[Rule] = [
    Pause(),
    Cancel(),
    *map(Concurrency, range(4)),
    RateLimit(1),
    RateLimit(0.5),
    RateLimit(3, capacity=2),
]


class Model:
    """A model of the policy that checks every waiting request each time."""

    def __init__(self) -> None:
        self.waiting: list[StartRequest] = []
        self.running: list[StartRequest] = []
        self.rules: dict[tuple[str, str], Rule] = {}
        self.tokens: dict[tuple[str, str], float] = {}
        self.closed = {POWER.type, LEVEL.type}

    def put(self, scope: str, rule: Rule) -> None:
        key = (scope, rule.type)
        self.rules[key] = rule
        if isinstance(rule, RateLimit):
            self.tokens[key] = min(self.tokens.get(key, rule.burst), rule.burst)

    def lift(self, scope: str, kind: str) -> None:
        self.rules.pop((scope, kind), None)
        self.tokens.pop((scope, kind), None)

    def wait(self, seconds: float) -> None:
        for key in self.tokens:
            rule = self.rules[key]
            assert isinstance(rule, RateLimit)
            self.tokens[key] = min(rule.burst, self.tokens[key] + seconds * rule.per_second)

    def admit(self, admitted: list[StartRequest], slots: int) -> None:
        """Admit the same requests as the policy did; check that each was allowed, in order, and none was left out."""
        for request in admitted:
            assert self.may(request, slots)
            assert not any(self.must(other, slots) for other in self.older(request))
            for key in self.gates(request):
                if key in self.tokens:
                    self.tokens[key] -= 1
            slots -= request.slots is not None
            self.waiting.remove(request)
            self.running.append(request)
        assert not any(self.must(request, slots) for request in self.waiting)

    def reject(self) -> set[StartRequest]:
        """Remove the cancelled requests and return them."""
        gone = {each for each in self.waiting if any(key[1] == "cancel" for key in self.gates(each))}
        self.waiting = [each for each in self.waiting if each not in gone]
        return gone

    def may(self, request: StartRequest, slots: int) -> bool:
        """Return whether a request can start without overtaking an older one that needs the same resources."""
        before = [other for other in self.older_rivals(request) if self.permitted(other, slots)]
        return self.permitted(request, slots) and self.fits(request) and not before

    def must(self, request: StartRequest, slots: int) -> bool:
        """Return whether a request can start, and no older one needs any of its resources.

        An older one whose gate has closed since goes first until the policy checks it again.
        """
        return self.permitted(request, slots) and self.fits(request) and not self.older_rivals(request)

    def permitted(self, request: StartRequest, slots: int) -> bool:
        return (request.slots is None or slots > 0) and all(map(self.open, self.gates(request)))

    def fits(self, request: StartRequest) -> bool:
        taken = [demand for other in (*self.running, request) for demand in other.demands]
        return all(
            sum(amount for each, amount in taken if each == name) <= CAPACITIES[name]
            for name, _ in request.demands
        )

    def older_rivals(self, request: StartRequest) -> list[StartRequest]:
        """Return the older requests that wait for a resource which this one demands as well."""
        wanted = dict(request.demands)
        return [other for other in self.older(request) if not wanted.keys().isdisjoint(dict(other.demands))]

    def older(self, request: StartRequest) -> list[StartRequest]:
        return self.waiting[: self.waiting.index(request)]

    def gates(self, request: StartRequest) -> list[tuple[str, str]]:
        return [key for key in self.rules if covers(key[0], request)]

    def open(self, key: tuple[str, str]) -> bool:
        rule = self.rules[key]
        if isinstance(rule, GateRule):
            return rule.type not in self.closed
        if isinstance(rule, Concurrency):
            return sum(covers(key[0], request) for request in self.running) < rule.limit
        return isinstance(rule, RateLimit) and self.tokens[key] > 1 - 1e-6


def reading(*, holds: bool) -> GateReading:
    return GateReading(holds, "closed" if holds else "open", None, "")


def covers(scope: str, request: StartRequest) -> bool:
    kind, _, value = scope.partition(":")
    return {
        "global": True,
        "task": fnmatchcase(request.name, value),
        "run": request.run.run_id == value,
        "workflow": request.run.workflow == value,
    }[kind]


SUBMIT = list(product(["submit"], NAMES, WORKFLOWS, [False, True], DEMANDS))
RELEASE = list(product(["release"], range(4)))
COMPARE = [("compare",)]
KINDS: list[list[tuple[Any, ...]]] = [
    *[SUBMIT] * 3,
    *[RELEASE] * 2,
    list(product(["withdraw"], range(4))),
    list(product(["end"], WORKFLOWS)),
    list(product(["put"], SCOPES, RULES)),
    list(product(["put"], SCOPES, [POWER, LEVEL])),
    list(product(["lift"], range(3))),
    list(product(["turn"], [POWER.type, LEVEL.type], [False, True])),
    list(product(["wait"], [0.25, 0.5, 1.0, 5.0])),
    *[COMPARE] * 3,
]
EVENTS = [
    event for kind in KINDS for event in kind * (120 // len(kind))
]  # one flat list: hypothesis draws from it quickly


@pytest.mark.parametrize("examples", [100, pytest.param(400, marks=[pytest.mark.full, pytest.mark.process])])
def test_the_policy_admits_what_a_check_of_all_requests_would_admit(examples: int) -> None:
    """I3, I4, I9 and I10: no wake-up is lost or too early, for any mixture of starts, ends, demands and constraints."""

    @settings(max_examples=examples, deadline=None)
    @given(st.lists(st.sampled_from(EVENTS), min_size=30, max_size=90))
    def play(script: list[tuple[Any, ...]]) -> None:
        bench = Bench()
        for event in script:
            bench.play(*event)
        bench.compare()
        assert bench.policy.waiting == len(bench.model.waiting)

    play()


class Bench:
    """The policy and the model, with the same events applied to both."""

    def __init__(self) -> None:
        self.policy = Policy(SystemResources(CAPACITIES))
        self.model = Model()
        self.runs = {name: Run(name, workflow) for name, workflow in WORKFLOWS.items()}
        for run in self.runs.values():
            self.policy.attach(run)
        self.slots = WorkerSlots(2)
        self.now = 0.0
        self.live = {rule.type: LiveReading(reading(holds=True)) for rule in (POWER, LEVEL)}

    def play(self, event: str, *arguments: object) -> None:
        getattr(self, event)(*arguments)

    def submit(self, name: str, run: str, offloaded: bool, demands: dict[str, float]) -> None:
        checked = self.policy.resources.check(name, demands)
        request = StartRequest(self.runs[run], name, demands=checked, slots=self.slots if offloaded else None)
        self.policy.submit(request)
        self.model.waiting.append(request)

    def release(self, which: int) -> None:
        if which < len(self.model.running):
            request = self.model.running.pop(which)
            self.policy.release(request)
            self.slots.free += request.slots is not None

    def withdraw(self, which: int) -> None:
        if which < len(self.model.waiting):
            self.policy.withdraw(self.model.waiting.pop(which))

    def end(self, run: str) -> None:
        """End a run, whose running tasks may continue, and begin another run with the same id."""
        self.policy.detach(self.runs[run])
        self.model.waiting = [each for each in self.model.waiting if each.run.run_id != run]
        self.runs[run] = Run(run, WORKFLOWS[run])
        self.policy.attach(self.runs[run])

    def put(self, scope: str, rule: Rule) -> None:
        effective = Effective(rule, "t", live=self.live.get(rule.type))
        self.policy.apply({(scope, rule.type): effective}, self.now)
        self.model.put(scope, rule)

    def lift(self, which: int) -> None:
        """Lift one of the constraints in force."""
        for key in list(self.model.rules)[which : which + 1]:
            self.policy.apply({key: None}, self.now)
            self.model.lift(*key)

    def turn(self, kind: str, holds: bool) -> None:
        """Have the plant close or open the gates of a name."""
        if holds is not (kind in self.model.closed):
            self.live[kind].reading = reading(holds=holds)
            self.policy.signal_gates([key for key in self.model.rules if key[1] == kind])
            self.model.closed ^= {kind}

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.model.wait(seconds)

    def compare(self) -> None:
        """Admit what can start, in both, and compare."""
        free = self.slots.free
        admitted = self.policy.admit(self.now, 1_000)
        rejected = [request for request, _ in self.policy.notifications.take_rejected()]
        assert set(rejected) == self.model.reject()
        self.model.admit(admitted, free)
