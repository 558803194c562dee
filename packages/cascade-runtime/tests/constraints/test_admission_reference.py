"""The admission against a slow and obvious one: after any sequence of events those pass who may, and all who must."""

from fnmatch import fnmatchcase
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import Run

from cascade.runtime.constraints.admission import Admission
from cascade.runtime.constraints.registers import Effective
from cascade.runtime.constraints.rules import Cancel, Concurrency, Pause, RateLimit, Rule
from cascade.runtime.constraints.system_resources import SystemResources
from cascade.runtime.constraints.tickets import Lane, Ticket

NAMES = ["a", "ab", "b"]
SCOPES = ["global", "task:a*", "task:b", "run:r1"]
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


class Obvious:
    """Looks at every waiting ticket, each time."""

    def __init__(self) -> None:
        self.waiting: list[Ticket] = []
        self.running: list[Ticket] = []
        self.rules: dict[tuple[str, str], Rule] = {}
        self.tokens: dict[tuple[str, str], float] = {}

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

    def follow(self, passed: list[Ticket], lane: int) -> None:
        """Let those pass who did, each of whom may and whom nobody older must have preceded; then nobody must."""
        for ticket in passed:
            assert self.may(ticket, lane)
            assert not any(self.must(other, lane) for other in self.older(ticket))
            for key in self.gates(ticket):
                if key in self.tokens:
                    self.tokens[key] -= 1
            lane -= ticket.lane is not None
            self.waiting.remove(ticket)
            self.running.append(ticket)
        assert not any(self.must(ticket, lane) for ticket in self.waiting)

    def turn_away(self) -> set[Ticket]:
        """Forget those who are cancelled and return them."""
        gone = {each for each in self.waiting if any(key[1] == "cancel" for key in self.gates(each))}
        self.waiting = [each for each in self.waiting if each not in gone]
        return gone

    def may(self, ticket: Ticket, lane: int) -> bool:
        """Return whether a ticket can start without overtaking one that only lacks what this one takes, too."""
        before = [other for other in self.rivals(ticket) if self.permitted(other, lane)]
        return self.permitted(ticket, lane) and self.fits(ticket) and not before

    def must(self, ticket: Ticket, lane: int) -> bool:
        """Return whether a ticket can start, and nobody could be meant to go first.

        A rival whose gate has closed meanwhile goes first until it is looked at again.
        """
        return self.permitted(ticket, lane) and self.fits(ticket) and not self.rivals(ticket)

    def permitted(self, ticket: Ticket, lane: int) -> bool:
        return (ticket.lane is None or lane > 0) and all(map(self.open, self.gates(ticket)))

    def fits(self, ticket: Ticket) -> bool:
        taken = [demand for other in (*self.running, ticket) for demand in other.demands]
        return all(
            sum(amount for each, amount in taken if each == name) <= CAPACITIES[name]
            for name, _ in ticket.demands
        )

    def rivals(self, ticket: Ticket) -> list[Ticket]:
        """Return those who came before and wait for something that this one demands, too."""
        wanted = dict(ticket.demands)
        return [other for other in self.older(ticket) if not wanted.keys().isdisjoint(dict(other.demands))]

    def older(self, ticket: Ticket) -> list[Ticket]:
        return self.waiting[: self.waiting.index(ticket)]

    def gates(self, ticket: Ticket) -> list[tuple[str, str]]:
        return [key for key in self.rules if covers(key[0], ticket)]

    def open(self, key: tuple[str, str]) -> bool:
        rule = self.rules[key]
        if isinstance(rule, Concurrency):
            return sum(covers(key[0], ticket) for ticket in self.running) < rule.limit
        return isinstance(rule, RateLimit) and self.tokens[key] > 1 - 1e-6


def covers(scope: str, ticket: Ticket) -> bool:
    kind, _, value = scope.partition(":")
    return {"global": True, "task": fnmatchcase(ticket.name, value), "run": ticket.owner.run_id == value}[
        kind
    ]


ENTER = list(product(["enter"], NAMES, ["r1", "r2"], [False, True], DEMANDS))
LEAVE = list(product(["leave"], range(4)))
COMPARE = [("compare",)]
KINDS: list[list[tuple[Any, ...]]] = [
    *[ENTER] * 3,
    *[LEAVE] * 2,
    list(product(["withdraw"], range(4))),
    list(product(["end"], ["r1", "r2"])),
    list(product(["put"], SCOPES, RULES)),
    list(product(["lift"], range(3))),
    list(product(["wait"], [0.25, 0.5, 1.0, 5.0])),
    *[COMPARE] * 3,
]
EVENTS = [
    event for kind in KINDS for event in kind * (120 // len(kind))
]  # one choice for each: it is drawn quickly


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(EVENTS), min_size=30, max_size=90))
def test_those_pass_who_would_if_all_were_looked_at_each_time(script: list[tuple[Any, ...]]) -> None:
    """No wake-up is lost and none comes too soon, for any mixture of starts, ends, demands and constraints."""
    bench = Bench()
    for event in script:
        bench.play(*event)
    bench.compare()
    assert bench.admission.waiting == len(bench.obvious.waiting)


class Bench:
    """Both of them, told the same."""

    def __init__(self) -> None:
        self.admission = Admission(SystemResources(CAPACITIES))
        self.obvious = Obvious()
        self.runs = {name: Run(name) for name in ("r1", "r2")}
        for run in self.runs.values():
            self.admission.attach(run)
        self.lane = Lane(2)
        self.now = 0.0

    def play(self, event: str, *words: object) -> None:
        getattr(self, event)(*words)

    def enter(self, name: str, run: str, offloaded: bool, demands: dict[str, float]) -> None:
        checked = self.admission.resources.check(name, demands)
        ticket = Ticket(self.runs[run], name, demands=checked, lane=self.lane if offloaded else None)
        self.admission.enter(ticket)
        self.obvious.waiting.append(ticket)

    def leave(self, which: int) -> None:
        if which < len(self.obvious.running):
            ticket = self.obvious.running.pop(which)
            self.admission.leave(ticket)
            self.lane.free += ticket.lane is not None

    def withdraw(self, which: int) -> None:
        if which < len(self.obvious.waiting):
            self.admission.withdraw(self.obvious.waiting.pop(which))

    def end(self, run: str) -> None:
        """End a run, whose running tasks may go on, and begin another one of its name."""
        self.admission.detach(self.runs[run])
        self.obvious.waiting = [each for each in self.obvious.waiting if each.owner.run_id != run]
        self.runs[run] = Run(run)
        self.admission.attach(self.runs[run])

    def put(self, scope: str, rule: Rule) -> None:
        self.admission.apply({(scope, rule.type): Effective(rule, "t")}, self.now)
        self.obvious.put(scope, rule)

    def lift(self, which: int) -> None:
        """Lift one of the constraints that are in force."""
        for key in list(self.obvious.rules)[which : which + 1]:
            self.admission.apply({key: None}, self.now)
            self.obvious.lift(*key)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.obvious.wait(seconds)

    def compare(self) -> None:
        """Let pass whoever may, in both."""
        free = self.lane.free
        passed = self.admission.admit(self.now, 1_000)
        turned_away = [ticket for ticket, _ in self.admission.notices.take_turned_away()]
        assert set(turned_away) == self.obvious.turn_away()
        self.obvious.follow(passed, free)
