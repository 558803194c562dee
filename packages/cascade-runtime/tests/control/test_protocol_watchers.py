"""Section 5 of PROTOCOL.md is true: the code produces every example as the section says."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from admission_parts import Wait
from control_parts import (
    ActiveRun,
    RowMaker,
    RunHistory,
    RunTable,
    ended_report,
    graph_report,
    host_report,
    runs_report,
    summary_report,
)
from fakes import ended_run
from msgspec.structs import replace

from cascade.interfaces import ProgressEvent, RunStatus, TaskState, TaskStateEvent
from cascade.interfaces.topics import state_topic
from cascade.runtime import LocalConnector
from cascade.wire import Cleared, parse_report, to_wire

PAGE = (Path(__file__).parents[3] / "cascade-interfaces" / "PROTOCOL.md").read_text(encoding="utf-8")
SECTION = PAGE[PAGE.index("## 5. Reports for watchers") : PAGE.index("## 6. ")]
EXAMPLES: dict[str, dict[str, Any]] = {
    kind: json.loads(text) for kind, text in re.findall(r"```json (\w+)\n(.*?)```", SECTION, re.DOTALL)
}
SOURCE = "press-line-3"
HEAD = {"v": "1.0", "source": SOURCE, "session": "3c1de9a07f2b6d54", "presence": "5f0c9b1e"}
NOW = datetime.fromisoformat("2026-11-21T03:00:31.004120+00:00").timestamp()


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def the_run() -> ActiveRun:
    """Return the run of the example: two names, of which one has tasks in three states."""
    row = EXAMPLES["runs"]["runs"][0]
    started = seconds(row["started"])
    run = ActiveRun("9a81", "report", started, name="nightly", tags={"line": 3}, token=row["token"])
    run.facts.known = {"audit": 6, "report": 1}
    since = seconds(row["running"][0]["since"])
    for number, milliseconds in enumerate((41.2, 30.0, 19.2)):
        ended = (TaskState.COMPLETED, since, milliseconds)
        run.count(TaskStateEvent("9a81", f"audit:0[{number}]", "audit", *ended))
    run.count(TaskStateEvent("9a81", "audit:0[3]", "audit", TaskState.RUNNING, since))
    for number in (4, 5):
        run.count(TaskStateEvent("9a81", f"audit:0[{number}]", "audit", TaskState.BLOCKED, since))
    run.note_progress(
        ProgressEvent("9a81", "audit:0[3]", "audit", since, 120, 1000, message="part 2", unit="files")
    )
    run.facts.retries["audit:0[6]"] = seconds(row["waiting"][3]["until"])
    run.facts.graph.add_call("audit:0", "audit", "map")
    run.facts.graph.add_call("report:0", "report", "task")
    return run


def waits(run: ActiveRun) -> Counter[Wait]:
    topic = "cascade/constraints/task/audit/@rate_limit"
    return Counter(
        {
            Wait("constraint", topic, "rate_limit"): 2,
            Wait("resource", "gpu"): 1,
            Wait("rate", "fetch: 20/s"): 1,
        }
    )


def test_no_example_goes_unchecked() -> None:
    """Each block of JSON in the section is one that a test here compares, or that of the page (`ack`)."""
    assert set(EXAMPLES) == {"runs", "graph", "ended", "summary", "host", "ack"}


def test_a_report_of_runs_is_what_the_code_writes() -> None:
    """Key for key and in the same order."""
    example = EXAMPLES["runs"]
    history = RunHistory()
    history.carry_over(example["recent"])
    rows = RowMaker(NOW, waits=waits, ids=lambda topic: "ratelimit-task:audit")
    head = {**HEAD, "org_id": "local", "project_id": "default"}
    made = runs_report([the_run()], history, rows, head=head, count=1, paused=False, now=NOW)
    assert json.dumps(made) == json.dumps(example)


def test_a_report_of_graphs_is_what_the_code_writes() -> None:
    """Key for key and in the same order."""
    run = the_run()
    run.facts.graph.items["audit:0"] = 792
    run.facts.graph.add_edge(("audit:0", "audit"), ("report:0", "report"), "argument")
    made = graph_report([run], head=HEAD, now=NOW)
    assert json.dumps(made) == json.dumps(EXAMPLES["graph"])


def test_a_report_of_an_end_is_what_the_code_writes() -> None:
    """Key for key and in the same order."""
    example = EXAMPLES["ended"]
    (row,) = example["runs"]
    run = ActiveRun("77fe", "report", seconds(row["started"]), token=row["token"])
    run.facts.known = {"read": 6, "report": 1}
    run.facts.graph.add_call("read:0", "read", "map")
    run.facts.graph.add_call("report:0", "report", "task")
    run.facts.graph.add_edge(("read:0", "read"), ("report:0", "report"), "argument")
    at = seconds(row["failures"][0]["ended"])
    ends = ((TaskState.COMPLETED, 41.2), (TaskState.FAILED, 30.0), (TaskState.CANCELLED, 19.2))
    for number, (state, milliseconds) in enumerate(ends):
        error = "ValueError: no such file" if state is TaskState.FAILED else ""
        run.count(TaskStateEvent("77fe", f"read:0[{number}]", "read", state, at, milliseconds, error))
    runs = RunTable()
    runs.begin(run)
    now = seconds(row["ended"])
    runs.end("77fe", status=RunStatus.FAILED, error=row["error"], now=now)
    assert json.dumps(ended_report(runs.history.whole, head=HEAD, now=now)) == json.dumps(example)


def test_a_summary_is_what_the_code_writes() -> None:
    """Key for key and in the same order; the tasks of runs that have ended are counted, too."""
    history = RunHistory()
    history.ended(replace(ended_run(0, "Failed"), counts={"COMPLETED": 40, "FAILED": 1}))
    runs = RunTable(history)
    runs.begin(the_run())
    made = summary_report(runs, up=True, paused=False, now=NOW)
    assert json.dumps(made) == json.dumps(EXAMPLES["summary"])


def test_a_report_of_the_host_has_the_keys_of_the_example() -> None:
    """Its values are those of this computer."""
    made = host_report(LocalConnector(), head=HEAD, labels={"site": "hall-2"}, clean=str, now=NOW)
    example = EXAMPLES["host"]
    assert list(made) == list(example)
    assert list(made["memory"]) == list(example["memory"])
    assert set(made["link"]) <= set(example["link"])
    assert (made["labels"], made["ts"]) == (example["labels"], example["ts"])


@pytest.mark.parametrize("kind", ["runs", "graph", "ended", "summary", "host"])
def test_the_reader_understands_every_example(kind: str) -> None:
    """And every reason to wait, kind of node and key has its word in the section."""
    report = parse_report(state_topic(SOURCE, kind), json.dumps(EXAMPLES[kind]).encode())
    assert report is not None
    assert not isinstance(report, Cleared)
    assert to_wire(report) == EXAMPLES[kind]
