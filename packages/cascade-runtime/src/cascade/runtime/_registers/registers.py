"""The registers of an engine: one for each constraint topic, and the constraints they add up to. No I/O."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator

from cascade.interfaces import Clock
from cascade.interfaces.gates import MAX_TOPICS
from cascade.interfaces.topics import parse_constraint_topic
from cascade.runtime._admission.rules import Cancel, Effective, Key
from cascade.runtime._registers.cancels import Cancels
from cascade.runtime._registers.expiries import Expiries
from cascade.runtime._registers.local_scopes import LocalScopes
from cascade.runtime._registers.notices import (
    Notice,
    expiry_notice,
    problem_notice,
    replacement_notice,
)
from cascade.runtime._registers.parsing import (
    Cleared,
    Constraint,
    MessageOutcome,
    Misspelled,
    Rejected,
)
from cascade.runtime._registers.table import (
    Problem,
    Register,
    RegisterTable,
    RulesInForce,
    Status,
    key_of,
)
from cascade.wire.reports import EffectiveEntry

MAX_REGISTERS = 10_000
"""Registers of ``task:``, ``run:`` and ``workflow:`` scopes that an engine keeps; further ones are rejected."""
MAX_OWN = 1_000
"""Registers of ``global``, the own project, the own source, local runs and workflows, in a room of their own."""
MAX_PROBLEMS = 1_000
"""Topics without any valid message that are listed by name; further ones are only counted."""
SPELLING = "spelling"
"""The reason for which a message on another spelling of a register's topic is refused."""

# a broker sends the rest of a message's expiry in whole seconds
_TRUNCATED = 1.0


class Registers:
    """A replica of the broker's retained set, and the effective constraints computed from it.

    What a retained set does not have is removed in slices, with :meth:`settle`; :meth:`take_changes`
    returns what changed in the effective set.

    :param own_scopes: the scopes that mean the whole engine.
    :param notice: called with each notice; a message that repeats the one before causes none.
    :param clean: masks secrets in the reason of a problem, which a report repeats.
    :param limit: the most registers of the scopes ``task:``, ``run:`` and ``workflow:`` that are kept.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        own_scopes: Collection[str] = ("global",),
        notice: Callable[[Notice], None] = lambda notice: None,
        clean: Callable[[str], str] = str,
        limit: int = MAX_REGISTERS,
        cancels: Cancels | None = None,
    ) -> None:
        self.revision = 0
        """Goes up with every change that a report would show."""
        self.over_limit = 0
        """Messages that were rejected because there are too many registers."""
        self.problems_forgotten = 0
        """Topics with a problem beyond :data:`MAX_PROBLEMS`."""
        self.cancels = cancels or Cancels(clock)
        """Which runs a cancel covers that does not name one."""
        self._clock = clock
        self._scopes = LocalScopes(own_scopes)
        self._notice = notice
        self._clean = clean
        self._limit = limit
        self._table = RegisterTable()
        # how many registers with a value are own, and how many are not
        self._rooms = {True: 0, False: 0}
        self._without_value: dict[str, None] = {}  # topics, oldest first
        # topics whose registers are to be removed
        self._unsettled: dict[str, None] = {}
        # since the latest retained set
        self._over_limit_since = self._forgotten_since = 0
        self._in_force = RulesInForce()
        self._expiries = Expiries(self._table)

    def __len__(self) -> int:
        return self._rooms[True] + self._rooms[False]

    @property
    def values(self) -> dict[str, Constraint]:
        """The last valid value of each register by topic."""
        found = ((topic, self._table.get(topic)) for topic in self._table)
        return {topic: each.content for topic, each in found if each is not None and each.content is not None}

    @property
    def problems(self) -> dict[str, Problem]:
        """The problem of each topic that has one."""
        found = ((topic, self._table.get(topic)) for topic in self._table)
        return {topic: each.problem for topic, each in found if each is not None and each.problem is not None}

    @property
    def to_report(self) -> int:
        """The number of topics that a complete report would list."""
        return len(self._table) + self.problems_forgotten

    def get(self, topic: str) -> Register | None:
        """Return the register of a topic."""
        return self._table.get(topic)

    def reported(self) -> Iterator[Register]:
        """Yield the registers in the order of a report: pauses and own scopes first, then the newest."""
        return self._table.newest_first()

    def apply(self, topic: str, outcome: MessageOutcome, *, live: bool = False) -> None:
        """Process one message: it changes the register of its topic and no other.

        :param live: it was published just now, and is not a retained one that the broker sends again.
        """
        self._unsettled.pop(topic, None)  # this message is newer than the set
        if isinstance(outcome, Cleared):
            self._drop(topic)
        elif isinstance(outcome, Constraint):
            if not self._scopes.is_elsewhere(outcome.scope):
                self._apply_constraint(topic, self.cancels.covering(topic, outcome, live=live), live=live)
        elif not self._scopes.is_elsewhere(scope_of(topic)):
            if isinstance(outcome, Misspelled):
                hint = f"; only {outcome.canonical} is a register of this scope"
                self._note_problem(topic, Problem(Status.REFUSED, SPELLING), hint)
            elif isinstance(outcome, Rejected):
                self._note_problem(topic, Problem(Status.REJECTED, self._clean(outcome.reason)))
            else:
                self._note_problem(
                    topic, Problem(Status.UNSUPPORTED, self._clean(outcome.reason), self._clean(outcome.id))
                )

    def topics(self) -> set[str]:
        """Return the topics of all registers, also of those that have only a problem."""
        return set(self._table)

    def has_in_force(self, topic: str) -> bool:
        """Return whether the register of a topic is in force."""
        register = self._table.get(topic)
        return register is not None and register.in_force

    def remove(self, topics: Iterable[str]) -> None:
        """Begin to remove the registers that a retained set does not have; :meth:`settle` goes on with it.

        The counts of registers beyond the limits begin anew: those of this set remain.
        """
        self.over_limit, self._over_limit_since = self._over_limit_since, 0
        self.problems_forgotten, self._forgotten_since = self._forgotten_since, 0
        self._unsettled = dict.fromkeys(topics)

    def settle(self, most: int = sys.maxsize) -> bool:
        """Remove up to ``most`` of the pending registers; return whether all are done."""
        for _ in range(min(most, len(self._unsettled))):
            self._drop(self._unsettled.popitem()[0])
        return not self._unsettled

    def begin_run(self, run_id: str, workflow: str = "") -> None:
        """Put the registers of a run and of its workflow in force: they are in this process from now on."""
        for scope in self._scopes.begin_run(run_id, workflow):
            self._update_scope(scope)
        self.cancels.begin_run(run_id, workflow)
        for topic in self.cancels.topics():
            self._update_cancel(topic)

    def end_run(self, run_id: str) -> None:
        """Lift the registers of a run that has ended, and of its workflow if that is the last one here."""
        for scope in self._scopes.end_run(run_id):
            self._update_scope(scope)
        self.cancels.end_run(run_id)

    def offer(self, workflows: Collection[str]) -> None:
        """Put the registers of these workflows in force also while none of their runs is active, and of no others."""
        for scope in self._scopes.offer(workflows):
            self._update_scope(scope)

    def scopes_of(self, run_id: str) -> tuple[str, ...]:
        """Return the scopes that name an active run: its own, and that of its workflow."""
        return self._scopes.of_run(run_id)

    def clear(self) -> None:
        """Remove everything; the caller lifts all constraints that it has applied."""
        self._table = RegisterTable()
        self._rooms = {True: 0, False: 0}
        for each in (self._scopes, self._without_value, self._unsettled):
            each.clear()
        self._in_force = RulesInForce()
        self._expiries = Expiries(self._table)
        self.over_limit = self.problems_forgotten = 0
        self._over_limit_since = self._forgotten_since = 0
        self.revision += 1

    def next_expiry(self) -> float | None:
        """Return when the next register expires, on the monotonic clock, or None."""
        return self._expiries.next()

    def expire(self) -> None:
        """Lift the registers that have expired."""
        now = self._clock.monotonic()
        while (register := self._expiries.take(now)) is not None:
            self._change_state(register, Status.EXPIRED)

    def effective(self) -> dict[Key, Effective]:
        """Return the constraints in force."""
        return {key: self._effective(key) for key in self._in_force}

    def is_in_force(self, key: Key) -> bool:
        """Return whether a pair of scope and type has a constraint in force."""
        return key in self._in_force

    @property
    def in_force(self) -> int:
        """How many pairs of scope and type have a constraint in force."""
        return len(self._in_force)

    def effective_rows(self) -> Iterator[tuple[int, EffectiveEntry]]:
        """Yield the constraints in force as a report lists them, in its order, with their size in bytes."""
        seen: set[Key] = set()
        for register in self._table.newest_first():
            if not register.in_force or register.content is None:
                continue
            key = key_of(register.content)
            if key not in seen:
                seen.add(key)
                yield self._in_force.row(key, self._content_of)

    @property
    def has_changes(self) -> bool:
        """Whether :meth:`settle` or :meth:`take_changes` has more to do."""
        return bool(self._in_force.changed or self._unsettled)

    def take_changes(self, most: int = MAX_REGISTERS) -> dict[Key, Effective | None]:
        """Return what is in force now for up to ``most`` changed pairs of scope and type; None: nothing.

        Constraints in force come before lifted ones: a caller that applies a large set in slices
        never permits more than the set before or the set after.
        """
        changed = self._in_force.take_changed(most)
        return {key: self._effective(key) if key in self._in_force else None for key in changed}

    def _effective(self, key: Key) -> Effective:
        """Return the strictest combination of all rules, and who claims to have written that register."""
        found = self._in_force.strictest(key)
        by = self._content_of(found.topic).by
        return found._replace(by=by) if by else found

    def _content_of(self, topic: str) -> Constraint:
        """Return the content of a register that is in force."""
        register = self._table.get(topic)
        assert register is not None
        assert register.content is not None
        return register.content

    def _apply_constraint(self, topic: str, constraint: Constraint, *, live: bool) -> None:
        if problem := self._no_room(topic, constraint):
            self.over_limit += 1
            self._over_limit_since += 1
            self.cancels.forget(topic)
            self._note_problem(topic, Problem(Status.REJECTED, problem, constraint.id))
        else:
            self._set(topic, constraint, live=live)

    def _no_room(self, topic: str, constraint: Constraint) -> str:
        """Return why a register cannot be kept, or an empty text; forget one without effect if that helps."""
        if self._in_force.reads_too_much(constraint.rule):
            return f"the gates here read {MAX_TOPICS} topics already; clear those that are not needed"
        own = self._scopes.is_own(constraint.scope)
        limit = MAX_OWN if own else self._limit
        old = self._table.get(topic)
        if (old is None or old.content is None) and self._rooms[own] >= limit:
            useless = self._table.oldest_without_effect(own=own)
            if useless is None or self._state_of(constraint, deadline=None) is Status.NO_MATCH:
                return f"the limit of {limit} registers is reached; clear those that are not needed"
            self._remove(useless)
        return ""

    def _set(self, topic: str, constraint: Constraint, *, live: bool) -> None:
        register = self._table.get(topic)
        if register is None:
            register = Register(topic)
        elif register.content == constraint and self._refresh(register, constraint):
            self._solve_problem(register)
            return
        if notice := replacement_notice(register, constraint):
            self._notice(notice)
        self._lift(register)
        if register.content is None:
            self._without_value.pop(topic, None)
            register.own = self._scopes.is_own(constraint.scope)
            self._rooms[register.own] += 1
        register.content, register.problem = constraint, None
        register.deadline = self._deadline_of(constraint)
        register.state = self._state_of(constraint, deadline=register.deadline)
        register.note = self._note_of(register)
        self._scopes.add(constraint.scope, register)
        self._table.put(register)
        self.revision += 1
        # a retained one that is over is what its author wanted
        is_late = live and register.state is Status.EXPIRED
        if is_late and (notice := expiry_notice(topic, constraint, self._clock.now())):
            self._notice(notice)
        self._enforce(register)
        self._expiries.add(register)
        self._notice_older(register)

    def _deadline_of(self, constraint: Constraint) -> float | None:
        """Return the expiry on the monotonic clock, which is never set back."""
        if constraint.deadline is not None or constraint.expires_at is None:
            return constraint.deadline
        return self._clock.monotonic() + constraint.expires_at - self._clock.now()

    def _state_of(self, constraint: Constraint, *, deadline: float | None) -> Status:
        if deadline is not None and deadline <= self._clock.monotonic():
            return Status.EXPIRED
        if isinstance(constraint.rule, Cancel) and constraint.rule.runs is not None:
            return Status.APPLIED if constraint.rule.runs else Status.NO_MATCH
        return Status.APPLIED if self._scopes.covers_something(constraint.scope) else Status.NO_MATCH

    def _refresh(self, register: Register, constraint: Constraint) -> bool:
        """Process a message equal to the one before, perhaps with a new deadline; return False to set it anew."""
        assert register.content is not None
        if register.content.deadline is constraint.deadline is None:
            return True
        deadline = self._deadline_of(constraint)
        if self._state_of(constraint, deadline=deadline) is not register.state:
            return False
        old = register.deadline
        if old is None or deadline is None or abs(deadline - old) > _TRUNCATED:
            register.content, register.deadline = constraint, deadline
            self._expiries.add(register)
        return True

    def _update_scope(self, scope: str) -> None:
        """Put the registers of a run or a workflow in force, or lift them, if it has come or gone."""
        for register in self._scopes.update(scope):
            self._rooms[register.own] -= 1
            register.own = self._scopes.is_own(scope)
            self._rooms[register.own] += 1
            if register.content is not None:
                self._change_state(register, self._state_of(register.content, deadline=register.deadline))

    def _update_cancel(self, topic: str) -> None:
        """Note that a run has begun, which a cancel that had arrived before does not cover."""
        register = self._table.get(topic)
        if register is None or register.content is None or register.state is Status.EXPIRED:
            return
        self._lift(register)
        register.content = self.cancels.known(topic, register.content)
        self._change_state(register, self._state_of(register.content, deadline=register.deadline))
        self._notice_older(register)

    def _note_of(self, register: Register) -> str:
        """Return why a cancel covers no run here, or an empty text."""
        if register.state is not Status.NO_MATCH or register.content is None:
            return ""
        if not isinstance(register.content.rule, Cancel):
            return ""
        older = any(True for _ in self.cancels.left_out(register.content))
        if older:
            return "older than this run"
        return "" if register.content.scope.startswith("run:") else "no run is active"

    def _notice_older(self, register: Register) -> None:
        """Notice which active runs a cancel does not concern."""
        if register.content is not None and register.state is not Status.EXPIRED:
            for run_id in self.cancels.left_out(register.content):
                self._notice(Notice(register.topic, f"is older than run {run_id}, which goes on"))

    def _change_state(self, register: Register, state: Status) -> None:
        self._lift(register)
        register.state = state
        register.note = self._note_of(register)
        self._table.put(register)
        self.revision += 1
        self._enforce(register)

    def _drop(self, topic: str) -> None:
        register = self._table.get(topic)
        self.cancels.forget(topic)
        if register is not None:
            self._remove(register)
            self.revision += 1

    def _remove(self, register: Register) -> None:
        self._lift(register)
        self._table.remove(register)
        self._without_value.pop(register.topic, None)
        if register.content is None:
            return
        self._rooms[register.own] -= 1
        self._scopes.remove(register.content.scope, register)

    def _enforce(self, register: Register) -> None:
        if register.content is not None and register.in_force:
            self._in_force.add(key_of(register.content), register.topic, register.content.rule)

    def _lift(self, register: Register) -> None:
        if register.content is not None:
            self._in_force.remove(key_of(register.content), register.topic)

    def _note_problem(self, topic: str, problem: Problem, hint: str = "") -> None:
        register = self._table.get(topic)
        if register is None:
            register = Register(topic)
            register.own = self._scopes.is_own(scope_of(topic))
            self._forget_oldest_problem()
            self._without_value[topic] = None
        elif register.problem == problem:
            return
        register.problem = problem
        self._table.put(register)
        self.revision += 1
        self._notice(problem_notice(register, problem, hint))

    def _solve_problem(self, register: Register) -> None:
        if register.problem is not None:
            register.problem = None
            self._table.put(register)
            self.revision += 1

    def _forget_oldest_problem(self) -> None:
        if len(self._without_value) >= MAX_PROBLEMS:
            oldest = self._table.get(next(iter(self._without_value)))
            assert oldest is not None
            self._remove(oldest)
            self.problems_forgotten += 1
            self._forgotten_since += 1


def scope_of(topic: str) -> str:
    """Return the scope that a topic names, or an empty text."""
    found = parse_constraint_topic(topic)
    return found[0] if found is not None else ""
