"""The registers compared with a slow and simple model: both have the same constraints and reports after any events."""

import json
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any

import pytest
from fakes import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.interfaces.control_messages import lift_command
from cascade.runtime._admission.rules import Effective, Pause
from cascade.runtime._registers import registers as module
from cascade.runtime._registers.notices import Notice
from cascade.runtime._registers.parsing import Cleared, Constraint, Misspelled, Rejected, parse
from cascade.runtime._registers.registers import Registers, scope_of
from cascade.runtime._registers.table import key_of
from cascade.wire import to_wire

OWN = ("global", "project:here", "source:me")
LIMIT, OWN_LIMIT, PROBLEMS = 2, 3, 2

TOPICS = [
    f"cascade/constraints/{place}"
    for place in (
        *("global", "global/@pause", "global/@concurrency", "%67lobal", "source/me/@pause"),
        *("project/here", "project/other", "source/other/@pause", "team/x"),
        *("task/a", "task/a/@pause", "task/%61", "task/b/@concurrency", "task/c"),
        *("run/r1", "run/r1/@pause", "run/%721", "run/r2", "run/r3/@pause"),
        *("workflow/w", "workflow/w/@pause", "workflow/v/@concurrency"),
    )
]
MESSAGES: list[Any] = [
    *({"type": "pause"}, {"type": "pause", "by": "ann"}, {"type": "pause", "id": "mine"}),
    *({"type": "concurrency", "params": {"limit": number}} for number in (1, 2)),
    *({"type": "concurrency", "params": {"limit": 1}, "by": "bob"}, {"type": "quota", "id": "later"}),
    *("?", "nonsense", ""),
]
EXPIRIES = [
    ("", 0.0),
    ("", 0.0),
    ("expires_at", 5.0),
    ("expires_at", -4.0),
    ("broker", 5.0),
    ("broker", -1.0),
]

SENT = [
    st.tuples(st.just("send"), st.sampled_from(TOPICS), st.sampled_from(MESSAGES), st.sampled_from(EXPIRIES))
    for _ in range(12)
]
"""Each of its own: hypothesis would take one that is listed twice for one."""
STEPS = st.one_of(
    *SENT,
    st.tuples(st.just("begin"), st.sampled_from(["r1", "r2"]), st.sampled_from(["", "w", "v"])),
    st.tuples(st.just("end"), st.sampled_from(["r1", "r2"])),
    st.tuples(st.just("offer"), st.sets(st.sampled_from(["w", "v"]))),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 2.0, 6.0])),
    st.tuples(st.just("jump"), st.sampled_from([-600.0, 5_000.0])),
    st.tuples(st.just("expire")),
    st.tuples(st.just("set"), st.sets(st.sampled_from(TOPICS), max_size=9)),
    st.tuples(st.just("apply"), st.sampled_from([1, 2, 100])),
    st.tuples(st.just("again")),
    st.tuples(st.just("clear")),
)


@dataclass
class Row:
    """What the model knows of one topic."""

    topic: str
    content: Constraint | None = None
    ends: float | None = None
    state: str = "applied"
    problem: tuple[str, str, str] | None = None
    own: bool = False
    came: int = 0
    """When its first message came, then its first valid one."""
    since: int = 0
    """When it came in force."""

    @property
    def works(self) -> bool:
        return self.content is not None and self.state == "applied"

    @property
    def scope(self) -> str:
        return self.content.scope if self.content is not None else scope_of(self.topic)

    @property
    def rank(self) -> tuple[bool, ...]:
        """Its place in a report: the engine's own scopes and pauses first, then problems, then what is in force."""
        pauses = self.works and self.content is not None and isinstance(self.content.rule, Pause)
        rest = not self.own and not pauses and self.problem is None
        return not self.own, not pauses, self.own or pauses or rest, rest and not self.works

    @property
    def entry(self) -> dict[str, str]:
        """What a report says of it."""
        label = (self.content.id if self.content is not None else "") or (self.problem or ("", "", ""))[2]
        entry = {"id": label, "status": self.problem[0] if self.problem is not None else self.state}
        if self.content is not None and self.content.by:
            entry["by"] = self.content.by
        if self.problem is not None:
            entry["reason"] = self.problem[1]
        return entry


class Model:
    """All rows in the order of their latest change; everything else is computed from them each time."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.rows: list[Row] = []
        self.runs: dict[str, str] = {}
        self.offered: Set[str] = frozenset()
        self.notices: list[tuple[str, str]] = []
        self.over_limit = self.forgotten = 0
        self.with_this_set = [0, 0]
        self.unsettled: list[str] = []
        self.changes = 0

    def count(self) -> int:
        self.changes += 1
        return self.changes

    def find(self, topic: str) -> Row | None:
        return next((row for row in self.rows if row.topic == topic), None)

    def renew(self, row: Row) -> None:
        self.rows = [each for each in self.rows if each is not row] + [row]
        self.count()

    def is_own(self, scope: str) -> bool:
        return scope in OWN or self.is_here(scope)

    def is_here(self, scope: str) -> bool:
        kind, _, value = scope.partition(":")
        workflows = {*self.runs.values(), *self.offered}
        return value in {"run": {*self.runs}, "workflow": workflows}.get(kind, ())

    def state_of(self, content: Constraint, ends: float | None) -> str:
        if ends is not None and ends <= self.clock.ticks:
            return "expired"
        foreign = content.scope.startswith(("run:", "workflow:")) and not self.is_here(content.scope)
        return "no_match" if foreign else "applied"

    def ends_at(self, content: Constraint) -> float | None:
        if content.deadline is not None:
            return content.deadline
        if content.expires_at is None:
            return None
        return self.clock.ticks + content.expires_at - self.clock.now()

    def apply(self, topic: str, outcome: Any) -> None:
        self.unsettled = [each for each in self.unsettled if each != topic]
        scope = outcome.scope if isinstance(outcome, Constraint) else scope_of(topic)
        if isinstance(outcome, Cleared):
            self.remove(topic)
        elif scope.startswith(("source:", "project:")) and scope not in OWN:
            return
        elif isinstance(outcome, Constraint):
            self.set(topic, outcome)
        elif isinstance(outcome, Misspelled):
            self.refuse(
                topic, ("refused", "spelling", ""), f"; only {outcome.canonical} is a register of this scope"
            )
        elif isinstance(outcome, Rejected):
            self.refuse(topic, ("rejected", outcome.reason, ""))
        else:
            self.refuse(topic, ("unsupported", outcome.reason, outcome.id))

    def remove(self, topic: str) -> None:
        if self.find(topic) is not None:
            self.rows = [row for row in self.rows if row.topic != topic]
            self.count()

    def refuse(self, topic: str, problem: tuple[str, str, str], hint: str = "") -> None:
        row = self.find(topic)
        if row is not None and row.problem == problem:
            return
        if row is None:
            self.forget_oldest_problem()
            row = Row(topic, own=self.is_own(scope_of(topic)), came=self.count())
        row.problem = problem
        self.renew(row)
        kept = "; its last valid value stays in force" if row.works else ""
        self.notices.append((topic, f"is {problem[0]}: {problem[1]}{hint}{kept}"))

    def forget_oldest_problem(self) -> None:
        bare = sorted((row.came, row.topic) for row in self.rows if row.content is None)
        if len(bare) >= PROBLEMS:
            self.remove(bare[0][1])
            self.forgotten += 1
            self.with_this_set[1] += 1

    def set(self, topic: str, content: Constraint) -> None:
        row = self.find(topic) or Row(topic)
        ends = self.ends_at(content)
        if reason := self.reason_to_refuse(row, content):
            self.over_limit += 1
            self.with_this_set[0] += 1
            self.refuse(topic, ("rejected", reason, content.id))
        elif row.content == content and self.only_moves(row, content, ends):
            if row.problem is not None:
                row.problem = None
                self.renew(row)
        else:
            self.note(row, content, ends)
            if row.content is None:
                row.own, row.came = self.is_own(content.scope), self.count()
            row.content, row.ends, row.problem = content, ends, None
            self.change(row, self.state_of(content, ends))

    def only_moves(self, row: Row, content: Constraint, ends: float | None) -> bool:
        """Process a message equal to the one before, if all that it may change is the expiry."""
        assert row.content is not None
        if content.deadline is None and row.content.deadline is None:
            return True
        if self.state_of(content, ends) != row.state:
            return False
        if row.ends is None or ends is None or abs(ends - row.ends) > 1:
            row.content, row.ends = content, ends
        return True

    def reason_to_refuse(self, row: Row, content: Constraint) -> str:
        own = self.is_own(content.scope)
        limit = OWN_LIMIT if own else LIMIT
        kept = [each for each in self.rows if each.content is not None and each.own is own]
        if row.content is None and len(kept) >= limit:
            useless = [each for each in kept if not each.works and each.problem is None]
            if not useless or self.state_of(content, None) == "no_match":
                return f"the limit of {limit} registers is reached; clear those that are not needed"
            self.remove(useless[0].topic)
        return ""

    def note(self, row: Row, content: Constraint, ends: float | None) -> None:
        old, new = row.content, content.rule.type
        if old is not None and row.works and old.rule.type != new:
            text = (
                f"now holds {new} ({content.id}) and no longer {old.rule.type} ({old.id}), which is lifted by that; "
                f"to have both, use {row.topic}/@{old.rule.type} and {row.topic}/@{new}"
            )
            self.notices.append((row.topic, text))
        if content.expires_at is not None and content.deadline is None:
            late = self.clock.now() - content.expires_at
            text = (
                f"had expired when it arrived ({content.id}): expires_at is {late:.0f} s ago by the clock "
                "of this machine; compare it with the clock of the sender, and remove the message: "
                f"{lift_command(row.topic, new)}"
            )
            if late >= 0:
                self.notices.append((row.topic, text))

    def begin(self, run: str, workflow: str) -> None:
        self.move({**self.runs, run: workflow}, self.offered)

    def end(self, run: str) -> None:
        self.move({each: workflow for each, workflow in self.runs.items() if each != run}, self.offered)

    def offer(self, workflows: Set[str]) -> None:
        self.move(self.runs, workflows)

    def move(self, runs: dict[str, str], offered: Set[str]) -> None:
        """Look again at the rows of runs and workflows that have come or gone, a run first."""
        scopes = {row.scope for row in self.rows}
        before = {scope for scope in scopes if self.is_here(scope)}
        self.runs, self.offered = runs, offered
        for scope in sorted(before ^ {scope for scope in scopes if self.is_here(scope)}):
            for row in sorted(self.rows, key=lambda row: row.came):
                if row.content is not None and row.scope == scope:
                    row.own = self.is_own(scope)
                    self.change(row, self.state_of(row.content, row.ends))

    def change(self, row: Row, state: str) -> None:
        row.state, row.since = state, self.count()
        self.renew(row)

    def expire(self) -> None:
        for ends, topic in sorted(self.expiries()):
            row = self.find(topic)
            if ends <= self.clock.ticks and row is not None:
                self.change(row, "expired")

    def expiries(self) -> list[tuple[float, str]]:
        return [(row.ends, row.topic) for row in self.rows if row.ends is not None and row.state != "expired"]

    def begin_set(self, missing: list[str]) -> None:
        (self.over_limit, self.forgotten), self.with_this_set = self.with_this_set, [0, 0]
        self.unsettled = missing

    def settle(self, most: int) -> None:
        for _ in range(min(most, len(self.unsettled))):
            self.remove(self.unsettled.pop())

    def clear(self) -> None:
        self.rows, self.unsettled, self.with_this_set = [], [], [0, 0]
        self.over_limit = self.forgotten = 0
        self.count()

    def in_report_order(self) -> list[Row]:
        newest_first = self.rows[::-1]
        return sorted(newest_first, key=lambda row: row.rank)

    def rules(self) -> dict[tuple[str, str], list[Row]]:
        """The rows in force by scope and type."""
        found: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows:
            if row.works and row.content is not None:
                found.setdefault(key_of(row.content), []).append(row)
        return {key: sorted(rows, key=lambda row: row.since) for key, rows in found.items()}

    def strictest(self) -> dict[tuple[str, str], Row]:
        """The row in force that decides, of each scope and type: the lowest limit, or the one that came first."""
        return {key: min(rows, key=limit_of) for key, rows in self.rules().items()}


def limit_of(row: Row) -> float:
    assert row.content is not None
    return float(row.content.rule.params().get("limit", 0))


Replica = dict[tuple[str, str], Effective]


class Pair:
    """The real registers and the model, given the same events."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.notices: list[Notice] = []
        self.real = Registers(self.clock, own_scopes=OWN, notice=self.notices.append, limit=LIMIT)
        self.model = Model(self.clock)
        self.engine: Replica = {}
        """What an engine obeys that applies the changes."""
        self.latest = (TOPICS[0], b"", 0.0)

    def send(self, topic: str, message: Any, expiry: tuple[str, float]) -> None:
        kind, seconds = expiry
        if isinstance(message, dict) and kind == "expires_at":
            message = {**message, "expires_at": self.clock.now() + seconds}
        payload = message.encode() if isinstance(message, str) else json.dumps(message).encode()
        self.latest = (topic, payload, seconds if kind == "broker" else 0.0)
        self.again()

    def again(self) -> None:
        topic, payload, seconds = self.latest
        outcome = parse(topic, payload, deadline=self.clock.ticks + seconds if seconds else None)
        self.real.apply(topic, outcome, live=True)
        self.model.apply(topic, outcome)

    def begin(self, run: str, workflow: str) -> None:
        self.end(run)
        self.real.begin_run(run, workflow)
        self.model.begin(run, workflow)

    def offer(self, workflows: Set[str]) -> None:
        self.real.offer(sorted(workflows))
        self.model.offer(workflows)

    def end(self, run: str) -> None:
        self.real.end_run(run)
        self.model.end(run)

    def wait(self, seconds: float) -> None:
        self.clock.ticks += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock: what is in force ends when it would have ended."""
        self.clock.put_forward += seconds

    def expire(self) -> None:
        self.real.expire()
        self.model.expire()

    def set(self, missing: set[str]) -> None:
        self.real.remove(sorted(missing))
        self.model.begin_set(sorted(missing))

    def clear(self) -> None:
        """Remove everything, as an engine does that stops following its broker: it lifts all that it obeys."""
        self.real.clear()
        self.model.clear()
        self.engine.clear()

    def apply(self, most: int) -> None:
        """Let the engine apply some changes: it never lifts anything before all that is in force is applied."""
        assert self.real.settle(most) is (len(self.model.unsettled) <= most)
        self.model.settle(most)
        changes = self.real.take_changes(most)
        assert len(changes) <= most
        for key, effective in changes.items():
            if effective is None:
                self.engine.pop(key, None)
            else:
                self.engine[key] = effective
        if None in changes.values():
            assert self.engine.items() >= self.in_force().items()

    def in_force(self) -> Replica:
        found: Replica = {}
        for key, row in self.model.strictest().items():
            assert row.content is not None
            found[key] = Effective(row.content.rule, row.topic, row.content.by)
        return found

    def check(self) -> None:
        real, model = self.real, self.model
        with_value = {row.topic: row.content for row in model.rows if row.content is not None}
        assert (len(real), real.values) == (len(with_value), with_value)
        assert real.topics() == {row.topic for row in model.rows}
        assert real.to_report == len(model.rows) + model.forgotten
        assert (real.over_limit, real.problems_forgotten) == (model.over_limit, model.forgotten)
        assert [(notice.topic, notice.text) for notice in self.notices] == model.notices
        assert real.next_expiry() == min((ends for ends, _ in model.expiries()), default=None)
        self.check_report()
        self.check_effective()

    def check_report(self) -> None:
        rows = self.model.in_report_order()
        reported = list(self.real.reported())
        assert [(each.topic, to_wire(each.entry())) for each in reported] == [
            (row.topic, row.entry) for row in rows
        ]
        for each in reported:
            assert each.size() == len(json.dumps({each.topic: to_wire(each.entry())}))
            assert self.real.has_in_force(each.topic) is each.in_force
        assert {
            topic: (each.status.value, each.reason, each.id) for topic, each in self.real.problems.items()
        } == {row.topic: row.problem for row in rows if row.problem is not None}

    def check_effective(self) -> None:
        real, expected = self.real, self.in_force()
        assert real.effective() == expected
        assert real.in_force == len(expected)
        assert all(real.is_in_force(key) is (key in expected) for key in [*expected, ("task:b", "pause")])
        assert real.has_changes or (self.engine == expected and not self.model.unsettled)
        listed = [(size, to_wire(row)) for size, row in real.effective_rows()]
        assert [row for _, row in listed] == list(self.expected_rows())
        assert [size for size, _ in listed] == [len(json.dumps(row)) + 2 for _, row in listed]

    def expected_rows(self) -> Iterator[dict[str, Any]]:
        strictest = self.model.strictest()
        for row in self.model.in_report_order():
            if row.works and row.content is not None and (key := key_of(row.content)) in strictest:
                decides = strictest.pop(key)
                content = decides.content
                assert content is not None
                shown = {
                    "scope": key[0],
                    "type": key[1],
                    "params": content.rule.params(),
                    "topic": decides.topic,
                }
                yield {**shown, "id": content.id, "expires_at": content.expires_at} | (
                    {"by": content.by} if content.by else {}
                )


@pytest.mark.parametrize("examples", [40, pytest.param(400, marks=[pytest.mark.full, pytest.mark.process])])
def test_registers_do_what_a_simple_model_does(examples: int) -> None:
    """I2, I4, I5, I6, I8, rows 23, 24 and 25: also when rooms are full, and whatever an engine has applied of the changes so far."""
    settings(max_examples=examples)(given(steps=st.lists(STEPS, min_size=20, max_size=40))(play))()


def play(steps: list[tuple[Any, ...]]) -> None:
    """Give the registers and the model the same events, and compare them after each."""
    with pytest.MonkeyPatch.context() as patch:
        for name, number in (("MAX_OWN", OWN_LIMIT), ("MAX_PROBLEMS", PROBLEMS)):
            patch.setattr(module, name, number)
        pair = Pair()
        for name, *values in steps:
            revision, changes = pair.real.revision, pair.model.changes
            getattr(pair, name)(*values)
            pair.check()
            assert (pair.real.revision > revision) is (pair.model.changes > changes)
        pair.apply(1_000)
        pair.apply(1_000)
        assert not pair.real.has_changes
        pair.check()
