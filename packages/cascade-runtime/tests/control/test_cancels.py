"""The runs that a cancel of a source or of tasks covers, in every order of runs, cancels and connections."""

import json

import pytest
from fakes import FakeClock

from cascade.interfaces.topics import constraint_topic
from cascade.interfaces.wire import timestamp
from cascade.runtime._admission.rules import Cancel
from cascade.runtime._registers.cancels import Arrival, Arrivals, Cancels
from cascade.runtime._registers.parsing import parse
from cascade.runtime._registers.registers import Registers

SOURCE, WORKFLOW = "source:press-3", "workflow:audit"
HOUR = 3600.0


class Process:
    """An engine's registers, as messages and runs come; each connection of the process begins with a first set."""

    def __init__(self, scope: str = SOURCE) -> None:
        self.scope, self.topic = scope, constraint_topic(scope, "cancel")
        self.clock = FakeClock()
        self.known: Arrivals = {}
        self.notices: list[str] = []
        self.connect()

    def connect(self) -> None:
        self.registers = Registers(
            self.clock,
            own_scopes=("source:press-3",),
            notice=lambda notice: self.notices.append(notice.text),
            cancels=Cancels(self.clock, self.known),
        )

    def do(self, step: str) -> None:
        word, _, value = step.partition(" ")
        self.clock.ticks += 1.0
        match word:
            case "begin":
                self.registers.begin_run(value, "audit")
            case "other":
                self.registers.begin_run(value, "clean")
            case "end":
                self.registers.end_run(value)
            case "connect":
                self.connect()
            case "synced":
                self.registers.cancels.in_first_set = False
            case "clear":
                self.registers.apply(self.topic, parse(self.topic, b""), live=True)
            case "live" | "kept":
                message = {"type": "cancel", "expires_at": self.clock.now() + 9 * HOUR}
                if word == "kept" and self.topic in self.known:
                    # the broker sends the same message again
                    message["expires_at"] = self.known[self.topic].constraint.expires_at
                if value:
                    message["ts"] = timestamp(self.clock.now() + float(value) * HOUR)
                self.registers.apply(
                    self.topic, parse(self.topic, json.dumps(message).encode()), live=word == "live"
                )

    @property
    def covered(self) -> set[str]:
        found = self.registers.effective().get((self.scope, "cancel"))
        return set(found.rule.runs or ()) if found is not None and isinstance(found.rule, Cancel) else set()

    @property
    def answer(self) -> tuple[str, str]:
        register = self.registers.get(self.topic)
        assert register is not None
        entry = register.entry()
        return entry.status, entry.reason


@pytest.mark.parametrize("scope", [SOURCE, WORKFLOW])
@pytest.mark.parametrize(
    ("steps", "covered"),
    [
        ("synced, begin a, live", "a"),
        ("synced, begin a, live -1", "a"),
        ("synced, begin a, live 1", "a"),
        ("begin a, live -1", "a"),
        ("synced, begin a, begin b, live, begin c", "ab"),
        ("synced, live, begin a", ""),
        ("synced, live 1, begin a", ""),
        ("synced, live, begin a, kept", ""),
        ("synced, live, begin a, live", "a"),
        ("synced, begin a, kept -1", "a"),
        ("begin a, kept", "a"),
        ("begin a, kept 1", "a"),
        ("begin a, kept -1", ""),
        ("begin a, kept, synced, begin b", "a"),
        ("synced, begin a, live, end a, begin a", ""),
        ("synced, begin a, live, end a, connect, begin b, kept", ""),
        ("synced, begin a, live, clear, begin b", ""),
        ("synced, begin a, live, clear, begin b, live", "ab"),
        ("synced, other x, begin a, live, other y", "ax"),
        ("synced, other x, live, begin a", "x"),
    ],
)
def test_what_arrives_decides_and_not_the_clocks(steps: str, covered: str, scope: str) -> None:
    """Row 50: ``live -1`` is published now by a machine whose clock is an hour slow, ``kept`` comes with a set; letters are runs.

    A cancel of a workflow covers its runs only: ``x`` is one of another workflow.
    """
    process = Process(scope)
    for step in steps.split(", "):
        process.do(step)
    assert process.covered == set(covered) - (set("x") if scope == WORKFLOW else set())


def test_the_report_says_why_a_cancel_covers_nothing_and_the_log_says_it_once() -> None:
    """Nothing runs, or all that runs began later; a set that comes again says nothing new."""
    process = Process()
    for step in ("synced", "live"):
        process.do(step)
    assert (process.answer, process.notices) == (("no_match", "no run is active"), [])
    for step in ("begin a", "kept", "kept"):
        process.do(step)
    assert process.answer == ("no_match", "older than this run")
    assert set(process.notices) == {"is older than run a, which goes on"}
    process.do("live")
    assert process.answer == ("applied", "")
    # a command that waits must still read that its run was cancelled
    process.do("end a")
    assert process.answer == ("applied", "")


def test_cancels_by_the_thousand_take_no_more_memory_than_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    """I6: none is remembered that is refused; of those that came and went between connections, the latest are."""
    monkeypatch.setattr("cascade.runtime._registers.cancels.MAX_ARRIVALS", 8)
    clock, known = FakeClock(), dict[str, Arrival]()
    payload = json.dumps({"type": "cancel", "expires_at": clock.now() + HOUR}).encode()
    for connection in range(5):
        registers = Registers(clock, limit=3, cancels=Cancels(clock, known))
        for number in range(50):
            topic = constraint_topic(f"task:{connection}-{number}", "cancel")
            registers.apply(topic, parse(topic, payload))
        assert len(known) <= 8
    assert [topic for topic in known if "/4-" in topic] == list(known)[-3:]
