"""The admission against a slow and obvious one: any sequence of events lets the same tickets pass."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.runtime.constraints.admission import Admission
from cascade.runtime.constraints.registers import Effective
from cascade.runtime.constraints.rules import Concurrency, Pause, RateLimit, Rule
from cascade.runtime.constraints.tickets import Lane, Obstacle, Ticket

NAMES = ["a", "ab", "b"]
SCOPES = ["global", "task:a*", "task:b", "run:r1"]
RULES: list[Rule] = [
    Pause(),
    *map(Concurrency, range(4)),
    RateLimit(1),
    RateLimit(0.5),
    RateLimit(3, capacity=2),
]


class Run:
    def __init__(self, run_id: str) -> None:
        self.run_id = run_id

    def running(self) -> Iterable[Ticket]:
        return ()

    def start(self, ticket: Ticket) -> None:
        raise AssertionError("not used")

    def turn_away(self, ticket: Ticket, obstacle: Obstacle) -> None:
        raise AssertionError("not used")

    def blocked(self, ticket: Ticket, obstacle: Obstacle) -> None:
        raise AssertionError("not used")

    def cancel(self, obstacle: Obstacle, name: str | None) -> None:
        raise AssertionError("not used")

    def reconsider(self) -> None:
        raise AssertionError("not used")

    def abort(self, error: Exception) -> None:
        raise AssertionError("not used")


class Obvious:
    """Looks at every waiting ticket in order, each time."""

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

    def admit(self, lane: int) -> list[Ticket]:
        passed = []
        for ticket in list(self.waiting):
            keys = [key for key in self.rules if covers(key[0], ticket)]
            if (ticket.lane is None or lane > 0) and all(self.open(key) for key in keys):
                for key in set(keys) & set(self.tokens):
                    self.tokens[key] -= 1
                lane -= ticket.lane is not None
                self.waiting.remove(ticket)
                self.running.append(ticket)
                passed.append(ticket)
        return passed

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


events = st.one_of(
    st.tuples(st.just("enter"), st.sampled_from(NAMES), st.sampled_from(["r1", "r2"]), st.booleans()),
    st.tuples(st.just("leave"), st.integers(0, 9)),
    st.tuples(st.just("withdraw"), st.integers(0, 9)),
    st.tuples(st.just("put"), st.sampled_from(SCOPES), st.sampled_from(RULES)),
    st.tuples(
        st.just("lift"), st.sampled_from(SCOPES), st.sampled_from(["pause", "concurrency", "rate_limit"])
    ),
    st.tuples(st.just("wait"), st.sampled_from([0.25, 0.5, 1.0, 5.0])),
    st.tuples(st.just("compare")),
    st.tuples(st.just("compare")),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(events, max_size=60))
def test_the_same_tickets_pass_as_if_all_were_looked_at_each_time(script: list[tuple]) -> None:  # type: ignore[type-arg]
    """No wake-up is lost and none comes too soon, for any mixture of starts, ends and constraints."""
    bench = Bench()
    for event in script:
        bench.play(*event)
    bench.compare()
    assert bench.admission.waiting == len(bench.obvious.waiting)


class Bench:
    """Both of them, told the same."""

    def __init__(self) -> None:
        self.admission = Admission()
        self.obvious = Obvious()
        self.runs = {name: Run(name) for name in ("r1", "r2")}
        for run in self.runs.values():
            self.admission.attach(run)
        self.lane = Lane(2)
        self.now = 0.0

    def play(self, event: str, *words: object) -> None:
        getattr(self, event)(*words)

    def enter(self, name: str, run: str, offloaded: bool) -> None:
        ticket = Ticket(self.runs[run], name, lane=self.lane if offloaded else None)
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

    def put(self, scope: str, rule: Rule) -> None:
        self.admission.apply({(scope, rule.type): Effective(rule, "t")}, self.now)
        self.obvious.put(scope, rule)

    def lift(self, scope: str, kind: str) -> None:
        self.admission.apply({(scope, kind): None}, self.now)
        self.obvious.lift(scope, kind)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.obvious.wait(seconds)

    def compare(self) -> None:
        """Let pass whoever may, in both."""
        free = self.lane.free
        passed = self.admission.admit(self.now, 1_000)
        assert passed == self.obvious.admit(free)
