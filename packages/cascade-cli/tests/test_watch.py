"""``cascade watch``: the real command in a real terminal, against a real broker."""

import os
import re
import subprocess
import sys
import time

import pytest

from cascade.testkit.waiting import busyness
from testing_tools.engines import Plant, eventually
from testing_tools.patient import PATIENT
from testing_tools.terminals import Terminal

pytestmark = [pytest.mark.broker, pytest.mark.process]


@pytest.mark.full
def test_a_late_watcher_sees_everything_and_a_killed_engine_and_a_new_broker(plant: Plant) -> None:
    """Engines, runs, why they wait; then an engine is killed, the broker restarts, and Ctrl-C ends it with 130."""
    dead = plant.start("press-1")
    plant.start("press-2")
    plant.wait_for_runs("press-1", "press-2")
    assert plant.cascade("limit", "task:audit", "--rate", "1/h", "--by", "olaf", "--wait").returncode == 0
    with Terminal(["watch"], plant.environment(), command=PATIENT) as terminal:
        terminal.wait_for("press-1", "online", "1 run", "at most 1/h", "by olaf", "obeyed by 2 engines")
        terminal.wait_for("cascade clear task:audit rate_limit")
        dead.kill()
        terminal.wait_for("press-1                      lost", "Lost at")
        plant.broker.terminate()
        eventually(
            lambda: re.search(
                r"link lost \d+s ago, connecting again; what you see is from then", terminal.text
            ),
            "the link is shown as lost",
        )
        seen = len(terminal.text)
        plant.broker.start()
        eventually(lambda: "  linked" in terminal.text[seen:], "it is linked again")
        terminal.interrupt()
        assert terminal.end() == 130
        assert terminal.raw.rstrip().endswith("\x1b[?25h")  # the cursor is back
        assert "Traceback" not in terminal.text


@pytest.mark.full
def test_a_frozen_engine_without_a_name_is_lost_after_twelve_seconds(plant: Plant) -> None:
    """It has no presence that a broker could take back."""
    process = plant.start("-")
    with Terminal(["watch"], plant.environment(), command=PATIENT) as terminal:
        terminal.wait_for("online", "1 run")
        plant.freeze(process)
        shown = eventually(lambda: re.search(r" lost .*?(\d+)s ago", terminal.text), "it is shown as lost")
        assert int(shown[1]) >= 12  # more, if the screen is late
        terminal.terminate()
        assert terminal.end() == 143


@pytest.mark.full
@pytest.mark.parametrize(
    "style", [{"NO_COLOR": "1"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {}]
)
def test_colours_and_characters_are_those_of_the_terminal(plant: Plant, style: dict[str, str]) -> None:
    """NO_COLOR leaves bold and dim; a terminal without Unicode gets ASCII."""
    plant.start("press-1")
    plant.wait_for_runs("press-1")
    with Terminal(
        ["watch"], {**plant.environment(), **style}, width=40, height=24, command=PATIENT
    ) as terminal:
        terminal.wait_for("press-1", "audit", "running")
        terminal.interrupt()
        assert terminal.end() == 130
        assert ("\x1b[32m" in terminal.raw) == (not style.get("NO_COLOR"))
        assert terminal.text.isascii() == ("LC_ALL" in style)


BURST = """
import asyncio, json, sys, time
import cascade as cs
from cascade.interfaces.topics import state_topic, status_topic, telemetry_topic
from cascade.interfaces.wire import timestamp
from cascade.wire import Series

async def main():
    async with cs.connector(sys.argv[1], presence=False, outbox_messages=100_000) as connector:
        series = Series("burst", org_id="local", project_id="default", source="press-1")
        done = int(sys.argv[2])
        for number in range(done):
            body = {"type": "TaskStateEvent", "task_id": f"t:{number}", "task_name": "t", "state": "COMPLETED",
                    "duration_ms": 0.0, "error": ""}
            await connector.publish(series.topic, series.envelope(time.time(), body), 1)
        row = {"run_id": "burst", "target": "t", "started": timestamp(time.time()), "counts": {"COMPLETED": done},
               "known": done, "open": False, "attempt": 1, "lost": 0, "tasks": {}, "running": [], "waiting": [],
               "graph": {"rev": 1, "nodes": 1}}
        when = timestamp(time.time())
        birth = {"status": "online", "session": "s", "ts": when, "pid": 1, "host": "pi", "version": "1"}
        await connector.publish(status_topic("press-1"), birth, 1, retain=True)
        report = {"v": "1.0", "source": "press-1", "session": "s", "presence": "s", "runs": [row], "recent": [],
                  "paused": False, "ts": when}
        await connector.publish(state_topic("press-1", "runs"), report, 1, retain=True)
        await connector.flush(60)
    print("sent")

asyncio.run(main())
"""


@pytest.mark.full
def test_a_burst_of_events_is_counted_right_and_does_not_freeze_the_watch(plant: Plant) -> None:
    """Twenty thousand events and a report; the screen has the right count soon after the last one."""
    with Terminal(["watch"], plant.environment(), command=PATIENT) as terminal:
        terminal.wait_for("no engines")
        burst = subprocess.run(
            [sys.executable, "-c", BURST, plant.broker.url, "20000"],
            check=True,
            capture_output=True,
            timeout=120 * busyness(),
            env={**os.environ},
        )
        sent = time.monotonic()
        assert burst.stdout == b"sent\n"
        terminal.wait_for("20,000/20,000  99%")
        print(f"the screen was right {time.monotonic() - sent:.1f} s after the last event was acknowledged")
        terminal.interrupt()
        assert terminal.end() == 130


@pytest.mark.full
def test_a_broker_that_comes_back_empty_is_not_taken_for_a_clear(plant: Plant) -> None:
    """Row 48: the engine keeps the pause; list and watch name it, and nobody is said to have cleared it."""
    plant.start("press-1")
    plant.wait_for_runs("press-1")
    assert plant.cascade("pause", "--wait").returncode == 0
    process = plant.begin("watch", "--plain")
    assert process.stdout is not None
    lines: list[str] = []
    # it has the set of the broker that is about to be lost
    while not any("constraint pause global: obeyed by press-1" in line for line in lines):
        lines.append(process.stdout.readline())
    plant.broker.kill()
    plant.broker.restart(keep_store=False)
    kept = "not on the broker, still obeyed by press-1"
    eventually(lambda: kept in plant.cascade("constraints").stderr, "the list names it")
    (row,) = plant.json("constraints")
    assert (row["scope"], row["type"], row["applied"], row["on_broker"]) == (
        "global",
        "pause",
        ["press-1"],
        False,
    )
    while not lines[-1].endswith(f"constraint pause global: {kept}\n"):
        lines.append(process.stdout.readline())
    assert not [line for line in lines if "cleared" in line]
    # cleared by its topic, although the broker does not hold it
    assert plant.cascade("resume", "--wait").returncode == 0
    while not lines[-1].endswith("constraint pause global: cleared\n"):
        lines.append(process.stdout.readline())
