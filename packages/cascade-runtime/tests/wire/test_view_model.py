"""A view against a model of it: random messages of every kind, lost, repeated, damaged and cleared."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.interfaces import TaskState
from cascade.interfaces.events import ENDED_STATES
from cascade.interfaces.topics import ack_topic, constraint_topic, state_topic, status_topic, telemetry_topic
from cascade.wire import View, constraint_rows, engine_rows, run_rows

SOURCES = st.sampled_from(["line", "zone"])
REPORTS = ("constraints", "runs", "graph", "summary", "host")
KINDS = (*REPORTS, "presence", "ack")
_TASK = {"task_id": st.sampled_from(["a:0", "b:0"]), "task_name": st.just("t")}
_BODIES = {
    "events": st.fixed_dictionaries(
        {"type": st.just("TaskStateEvent"), "state": st.sampled_from([*TaskState]), **_TASK}
    )
    | st.fixed_dictionaries(
        {
            "type": st.just("LifecycleEvent"),
            "event": st.sampled_from(["ENGINE_STARTED", "ENGINE_STOPPED"]),
            "name": st.sampled_from(["nightly", ""]),
            "status": st.sampled_from(["Succeeded", "Failed", "Cancelled", "Exploded"]),
        }
    )
    | st.just({"type": "OfALaterVersion"}),
    "progress": st.fixed_dictionaries(
        {"type": st.just("ProgressEvent"), "done": st.integers(0, 9), "message": st.text(max_size=2), **_TASK}
    ),
    "logs": st.fixed_dictionaries({"type": st.just("LogEvent"), "message": st.text(max_size=2)}),
    "data": st.fixed_dictionaries(
        {"type": st.just("DataEvent"), "name": st.sampled_from("xy"), "data": st.integers()}
    ),
}
_EVENT = st.sampled_from([*_BODIES]).flatmap(lambda kind: st.tuples(st.just(kind), _BODIES[kind]))
_STEPS = st.one_of(
    st.tuples(st.just("event"), SOURCES, _EVENT, st.sampled_from([True, True, True, False])),
    st.tuples(st.just("again"), st.integers(0, 99), st.booleans()),
    st.tuples(st.just("report"), SOURCES, st.sampled_from(REPORTS), st.booleans()),
    st.tuples(st.just("clear"), SOURCES, st.sampled_from(KINDS)),
    st.tuples(st.just("presence"), SOURCES, st.sampled_from("12"), st.sampled_from(["online", "", "ended"])),
    st.tuples(st.just("ack"), SOURCES),
    st.tuples(st.just("register"), st.sampled_from(["global", "task:a"]), st.sampled_from([{}, {"type": "pause"}])),
)  # fmt: skip


class RunModel:
    """One run, from its events alone."""

    def __init__(self) -> None:
        self.status, self.name, self.ended = "Running", "", False
        self.counts: Counter[str] = Counter()
        self.active: dict[str, list[Any]] = {}
        self.failed: list[str] = []
        self.messages = self.copies = 0
        self.arrived: dict[str, set[int]] = defaultdict(set)

    def take(self, kind: str, body: dict[str, Any]) -> None:
        match body:
            case {"state": state, "task_id": task_id} if not self.ended:
                before = self.active.pop(task_id, [None, None, ""])
                self.counts[before[0]] -= 1
                self.counts[state] += 1
                if state not in ENDED_STATES:
                    self.active[task_id] = [state, *before[1:]]
                self.failed += [task_id] * (state == TaskState.FAILED)
            case {"event": "ENGINE_STARTED", "name": name}:
                self.name = name
            case {"event": "ENGINE_STOPPED", "status": status}:
                self.status, self.ended, self.active = status.replace("Exploded", "Ended"), True, {}
            case {"done": done, "message": message, "task_id": task_id} if task_id in self.active:
                self.active[task_id][1:] = [done, message]

    @property
    def shown(self) -> tuple[Any, ...]:
        missing = sum(max(numbers) + 1 - len(numbers) for numbers in self.arrived.values())
        counts = {state: n for state, n in self.counts.items() if state and n}
        active = {key: tuple(each) for key, each in self.active.items()}
        return self.status, self.name, counts, active, self.failed, self.messages, self.copies, missing


class Model:
    """What a view has to show, kept as plain values while the same messages go to a view."""

    def __init__(self) -> None:
        self.view = View()
        self.runs: dict[str, RunModel] = {}
        self.engines: dict[str, dict[str, Any]] = {}
        self.heard: set[str] = set()
        self.registers: set[str] = set()
        self.logs: list[str] = []
        self.data: dict[tuple[str, str], int] = {}
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.seq: Counter[tuple[str, str]] = Counter()
        self.damaged = 0

    def put(self, topic: str, data: Any, *, retained: bool = False, cut: int = 0) -> None:
        payload = json.dumps(data).encode()
        self.view.fold(topic, payload[: len(payload) - cut], now=0.0, retained=retained)

    def engine(self, source: str) -> dict[str, Any]:
        self.engines[source] = self.engines.pop(source, {})
        return self.engines[source]

    def event(self, source: str, event: tuple[str, dict[str, Any]], arrives: bool) -> None:
        kind, body = event
        seq = self.seq[source, kind]
        self.seq[source, kind] += 1
        if arrives:
            names = "-".join(["r", "t", *([kind] if kind != "events" else []), str(seq)])
            self._deliver(kind, source, {"seq": seq, "event_id": names, "token": "t", "body": body})

    def _deliver(self, kind: str, source: str, message: dict[str, Any]) -> None:
        self.sent.append((kind, source, message))
        self.put(telemetry_topic("o", "p", "r", kind), {"run_id": "r", "source": source} | message)
        self.engine(source)
        self.heard.add(source)
        run = self.runs[source] = self.runs.pop(source, RunModel())
        run.messages += 1
        body, seq = message["body"], message["seq"]
        if seq in run.arrived[kind]:
            run.copies += 1
            return
        run.arrived[kind].add(seq)
        run.take(kind, body)
        if kind == "logs":
            self.logs.append(body["message"])
        elif kind == "data":
            self.data.pop((source, body["name"]), None)
            self.data[source, body["name"]] = body["data"]

    def again(self, number: int, damaged: bool) -> None:
        if self.sent:
            kind, source, message = self.sent[number % len(self.sent)]
            if damaged:
                self.put(telemetry_topic("o", "p", "r", kind), {"run_id": "r"} | message, cut=1)
                self.damaged += 1
            else:
                self._deliver(kind, source, message)

    def report(self, source: str, kind: str, retained: bool) -> None:
        report = {"source": source, "up": 1, "sync": "synced", "session": f"of {kind}"}
        self.put(state_topic(source, kind), report, retained=retained)
        self.engine(source)[kind] = True
        if not retained:
            self.heard.add(source)

    def ack(self, source: str) -> None:
        self.put(ack_topic(source), {"by": "c"})
        self.engine(source)["ack"] = True

    def presence(self, source: str, session: str, what: str) -> None:
        """Take a birth, a will or the message of an end; a late will of an earlier session changes nothing."""
        status = "online" if what == "online" else "offline"
        self.put(status_topic(source), {"status": status, "session": session, "reason": what})
        engine = self.engine(source)
        if what == "online" or engine.get("presence", ("", session))[:2] != (
            "online",
            {"1": "2", "2": "1"}[session],
        ):
            engine["presence"] = (what, session)

    def clear(self, source: str, kind: str) -> None:
        others = {"presence": status_topic(source), "ack": ack_topic(source)}
        self.put(others.get(kind) or state_topic(source, kind), {})
        if source in self.engines:
            had = self.engines[source].pop(kind, None)
            if not self.engines[source]:
                del self.engines[source]
            if had and self.engines.get(source, {}).keys() <= {"ack"}:
                self.heard.discard(source)
            self.heard &= self.engines.keys()

    def register(self, scope: str, content: dict[str, Any]) -> None:
        topic = constraint_topic(scope, "pause")
        self.put(topic, content)
        (self.registers.add if content else self.registers.discard)(topic)

    def status(self, source: str, *, late: bool) -> str:
        """At once, or once an engine that reports would have done so again."""
        kept = self.engines[source]
        what = kept.get("presence", ("none", ""))[0]
        if what in ("online", "ended"):
            return str(what)
        if source in self.heard and kept.keys() <= {"ack"}:
            return "unknown"
        if what == "none" and not late:
            return "online" if source in self.heard else "unknown"
        return "lost"

    def compare(self) -> None:
        view = self.view
        for now, late in ((0.0, False), (12.1, True)):
            assert [(each.source, each.status(now)) for each in view.engines.values()] == [
                (source, self.status(source, late=late)) for source in self.engines
            ]
        for source, kept in self.engines.items():
            engine = view.engines[source]
            assert engine.reason == kept.get("presence", ("", ""))[0].replace("online", "")
            sessions = [f"of {kind}" for kind in ("constraints", "runs") if kind in kept]
            assert engine.session == next(iter(sessions), "")
            assert {kind for kind in KINDS if getattr(view.engines[source], kind) is not None} == {*kept}
        assert [source for source, _ in view.runs] == [*self.runs]
        for (source, _), run in view.runs.items():
            active = {key: (task.state, task.done, task.message) for key, task in run.tasks.items()}
            failed = [task.task_id for task in run.failures]
            shown = (run.status, run.name, run.counts, active, failed)
            assert (*shown, run.messages, run.duplicates, run.missing) == self.runs[source].shown
        assert view.registers.keys() == self.registers
        assert [each.body["message"] for each in view.logs if each.content] == self.logs
        assert [(key[0], key[2], each.body["data"]) for key, each in view.data.items()] == [
            (*key, data) for key, data in self.data.items()
        ]
        assert view.not_understood == self.damaged
        rows = [*engine_rows(view, 0.0), *run_rows(view, 0.0), *constraint_rows(view, 0.0)]
        json.dumps(rows, allow_nan=False)


@settings(max_examples=200)
@given(st.lists(_STEPS, min_size=20, max_size=40))
def test_a_view_shows_what_its_model_shows(steps: list[tuple[Any, ...]]) -> None:
    """Engines, runs, tasks, registers, logs and data agree after every message."""
    model = Model()
    for name, *arguments in steps:
        getattr(model, name)(*arguments)
        model.compare()
