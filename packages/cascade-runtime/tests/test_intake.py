"""Requests against a model: which are accepted, what waits, and what is remembered."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

import cascade as cs
from cascade.runtime.serving import _intake as intake
from cascade.runtime.starting import startable
from cascade.wire import StartRequest, View, parse_request, parse_response

PAGE = (
    (Path(__file__).parents[2] / "cascade-interfaces" / "PROTOCOL.md")
    .read_text("utf-8")
    .partition("## 6. ")[2]
)


@cs.task
def count(number: int) -> int:
    return number


def offer(overlap: Any) -> intake.Offer:
    def made(number: int = 1) -> Any:
        return count(number)

    return intake.Offer(overlap, startable(made, overlap), overlap)


OVERLAPS = ("skip", "queue", "allow")


class Requests(RuleBasedStateMachine):
    """Keeps sets and lists of run ids, and says for each request what the page promises."""

    def __init__(self) -> None:
        super().__init__()
        self.pause = ""
        self.now = 1_000.0
        self.intake = intake.Intake(
            map(offer, OVERLAPS), pause_of=lambda _: self.pause, remembered=(4, 100.0)
        )
        self.running: dict[str, list[intake.RequestedRun]] = {name: [] for name in OVERLAPS}
        self.waiting: dict[str, list[intake.RequestedRun]] = {name: [] for name in OVERLAPS}
        self.numbers: dict[str, int] = {}
        self.ended: list[tuple[float, str]] = []
        self.started: list[str] = []

    def expected(self, workflow: str, run_id: str, number: int) -> str:
        if run_id in self.numbers:
            return "known" if self.numbers[run_id] == number else "invalid"
        if self.intake.stopping:
            return "stopping"
        if self.pause and workflow != "queue":
            return "paused"
        if workflow == "skip" and self.running[workflow]:
            return "busy"
        if workflow == "queue" and len(self.waiting[workflow]) >= intake.MAX_WAITING:
            return "full"
        return "wait" if workflow == "queue" and self.running[workflow] else "start"

    @rule(
        workflow=st.sampled_from(OVERLAPS),
        id_=st.sampled_from(["", *"abcdefghijklmnop"]),
        number=st.sampled_from([None, 1, 2]),
        wrong=st.sampled_from([None, None, None, "retained", "expired", "unknown", "invalid"]),
    )
    def ask(self, workflow: str, id_: str, number: int | None, wrong: str | None) -> None:
        """A default and its value are the same request; what cannot be accepted changes nothing."""
        self.forget()
        params: dict[str, Any] = {} if number is None else {"number": number}
        request = StartRequest(
            id=id_,
            params={"number": "x"} if wrong == "invalid" else params,
            expires_at=self.now if wrong == "expired" else self.now + 1,
        )
        name = f"{workflow}s" if wrong == "unknown" else workflow
        decided = self.intake.decide(name, request, now=self.now, retained=wrong == "retained")
        if wrong is not None:
            assert isinstance(decided, intake.Refused)
            assert decided.code == wrong
            return
        expected = self.expected(workflow, f"{workflow}~{id_}", number or 1)
        if isinstance(decided, intake.Refused):
            assert decided.code == expected
        elif not decided.is_new:
            assert expected == "known"
        else:
            run = decided.run
            self.numbers[run.run_id] = number or 1
            assert (expected, run.state) in (("start", "running"), ("wait", "waiting"))
            if expected == "start":
                self.start(run)
            else:
                self.waiting[workflow].append(run)

    def start(self, run: intake.RequestedRun) -> None:
        self.running[run.workflow].append(run)
        self.started.append(run.run_id)

    def following(self, workflow: str, following: intake.RequestedRun | None) -> None:
        if workflow == "queue" and self.waiting[workflow] and not self.intake.stopping:
            assert following is self.waiting[workflow].pop(0)
            self.start(following)
        else:
            assert following is None

    @precondition(lambda self: any(self.running.values()))
    @rule(data=st.data(), begins=st.booleans())
    def end(self, data: st.DataObject, begins: bool) -> None:
        """A run that has ended is remembered, one that could not begin is not; the next one starts."""
        run = data.draw(st.sampled_from([each for runs in self.running.values() for each in runs]))
        self.running[run.workflow].remove(run)
        if begins:
            self.ended.append((self.now, run.run_id))
            self.following(run.workflow, self.intake.ended(run, intake.Outcome("Failed", self.now)))
        else:
            del self.numbers[run.run_id]
            self.started.remove(run.run_id)
            self.following(run.workflow, self.intake.withdrawn(run))

    @precondition(lambda self: any(self.waiting.values()))
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        """A request that waits and could not be recorded is forgotten, and none starts in its place."""
        run = data.draw(st.sampled_from([each for runs in self.waiting.values() for each in runs]))
        self.waiting[run.workflow].remove(run)
        del self.numbers[run.run_id]
        assert self.intake.withdrawn(run) is None

    @rule(pause=st.sampled_from(["", "global", "source:press"]))
    def steer(self, pause: str) -> None:
        """An operator pauses, or lifts the pause."""
        self.pause = pause

    @rule(seconds=st.sampled_from([1.0, 30.0, 101.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    @rule(stopping=st.sampled_from([True, False, False, False]))
    def stop(self, stopping: bool) -> None:
        """The process is asked to end; a new one takes its place."""
        self.intake.stopping = stopping

    def forget(self) -> None:
        """What may be forgotten, the machine forgets: an id may start once more a day later."""
        while self.ended and (len(self.ended) > 4 or self.now - self.ended[0][0] > 100.0):
            _, run_id = self.ended.pop(0)
            del self.numbers[run_id]
            self.started.remove(run_id)

    @invariant()
    def no_id_runs_twice(self) -> None:
        """While an id is remembered, it has started one run at most; and what is active is known."""
        assert len(self.started) == len(set(self.started))
        active = {each.run_id for runs in (*self.running.values(), *self.waiting.values()) for each in runs}
        assert {each.run_id for each in self.intake.active()} == active
        assert len(self.running["skip"]) <= 1
        assert len(self.running["queue"]) <= 1


TestRequests = Requests.TestCase
TestRequests.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_memory_is_bounded_by_what_is_needed_to_answer_again() -> None:
    """Of a run that has ended neither parameters are kept, nor the value of an old one."""
    made = intake.Intake([offer("allow")])
    runs = []
    for number in range(intake.MAX_VALUES + 2):
        decided = made.decide("allow", StartRequest(id=str(number)), now=0.0)
        assert isinstance(decided, intake.Accepted)
        made.ended(decided.run, intake.Outcome("Succeeded", 0.0, value="x"))
        runs.append(decided.run)
    assert [run.outcome.value for run in runs if run.outcome].count("x") == intake.MAX_VALUES
    assert not any(run.params or run.values for run in runs)


def test_the_page_is_true() -> None:
    """Section 6 of the protocol: its codes are all there are, and its examples are read as they are written."""
    assert {*re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)} - {"code"} == {*intake.Code}
    examples = dict(re.findall(r"```json (\w+)\n(.*?)```", PAGE, re.DOTALL))
    assert parse_request(examples["request"].encode()).params == {"number": 20}
    response = parse_response(examples["response"].encode())
    assert response is not None
    assert response.outcome == "Failed"
    view = View()
    view.fold("cascade/state/press-line-3/workflows", examples["workflows"].encode(), now=0.0)
    report = view.engines["press-line-3"].workflows
    assert report is not None
    assert report.workflows[0].params == json.loads(examples["workflows"])["workflows"][0]["params"]
    assert parse_response(b"[]") is None
    assert parse_response(b'{"id": 3}') is None
