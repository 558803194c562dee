"""A process that is killed: what it was doing is shown at once, and published at the next birth of its name."""

import subprocess
import sys
from typing import Any

import pytest

from cascade.interfaces.topics import state_topic, status_topic
from cascade.testkit import Broker, eventually
from cascade.wire import View, run_rows
from testing_tools.recorder import Recorder

pytestmark = pytest.mark.broker

BOUND = 20.0
NAME = "line-3"
PROGRAM = """
import asyncio, sys
import cascade as cs

@cs.task
async def measure(n):
    if n >= 5:
        await asyncio.Event().wait()
    if n == 3:
        raise ValueError("sensor 3 does not answer")
    return n

@cs.task
def one():
    return 1

port, kind = sys.argv[1:]
measured = measure.map(n=range(9)).keep_failures()
connector = cs.connector(f"mqtt://127.0.0.1:{port}?source_id=line-3")
cs.run(measured if kind == "waits" else one(), connector=connector, run_id=kind, name="night shift")
"""


def program(broker: Broker, kind: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, str(broker.port), kind])


def fold(recorder: Recorder) -> View:
    view = View()
    for message in recorder.of("#"):
        view.fold(message.topic, message.payload, now=0.0, retained=message.retain)
    return view


async def test_what_a_killed_process_was_doing_is_known_before_and_after_its_next_birth(
    fresh_broker: Broker,
) -> None:
    """Before it, readers show what ran in the last report; its successor publishes the same as a run that is lost."""
    broker = fresh_broker
    with Recorder(broker.host, broker.port, "cascade/#") as recorder:

        def latest(kind: str) -> dict[str, Any]:
            found = [each.json() for each in recorder.of(state_topic(NAME, kind))]
            return found[-1] if found else {"runs": []}

        killed = program(broker, "waits")
        await eventually(lambda: [len(row["running"]) for row in latest("runs")["runs"]] == [4], BOUND)
        # the events may come later than the report, and what has not left dies with the process
        await eventually(
            lambda: (
                [row["counts"] for row in run_rows(fold(recorder), 0.0)]
                == [latest("runs")["runs"][0]["counts"]]
            ),
            BOUND,
        )
        killed.kill()
        killed.wait()
        await eventually(lambda: recorder.of(status_topic(NAME))[-1].json()["status"] == "offline", BOUND)
        (before,) = run_rows(fold(recorder), 0.0)
        (listed,) = latest("runs")["runs"]
        assert (before["status"], before["known"], before["counts"]) == ("Lost", 9, listed["counts"])
        assert before["interrupted"] == [row["task_id"] for row in listed["running"]]
        assert before["interrupted"] == [f"measure:0[{n}]" for n in (5, 6, 7, 8)]
        after = program(broker, "short")
        assert after.wait(60) == 0
        await eventually(lambda: len(latest("ended")["runs"]) == 2, BOUND)
    newest, lost = latest("ended")["runs"]
    assert (newest["run_id"], newest["status"]) == ("short", "Succeeded")
    assert (lost["run_id"], lost["status"], lost["name"]) == ("waits", "Lost", "night shift")
    assert lost["error"] == "its process died while 4 tasks ran"
    assert [row["task_id"] for row in lost["interrupted"]] == before["interrupted"]
    assert {key: lost[key] for key in ("counts", "known", "token", "started", "tasks")} == {
        key: listed[key] for key in ("counts", "known", "token", "started", "tasks")
    }
    assert [row["run_id"] for row in latest("runs")["recent"]] == ["short", "waits"]
    rows = {row["run_id"]: row for row in run_rows(fold(recorder), 0.0)}
    same = ("status", "interrupted", "known", "counts", "finished", "tasks", "token", "started")
    assert {key: rows["waits"][key] for key in same} == {key: before[key] for key in same}
