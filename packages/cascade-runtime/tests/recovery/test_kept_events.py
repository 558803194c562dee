"""No recorded result without its event: what a killed process could not send is sent when its run goes on."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from dying import ENVIRONMENT

PROGRAM = Path(__file__).with_name("telling.py")
NEVER = "never", 1
KILLED = -9
ONCE = "expanded-committed"
"""It is reached once in a run: the process dies there first."""
POINTS = ("committed-unheard", "reported", "turn-deleted", "in-transaction", "encoded")
LONG = [pytest.mark.nightly, pytest.mark.timeout(900)]

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(240),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs SIGKILL"),
]


def proceed(
    folder: Path, moment: str, times: int, *, up: bool, workflow: str = "night"
) -> tuple[int, list[dict[str, Any]]]:
    """Run the workflow, or the rest of it, in a process; return its status and the events that it sent."""
    command = [
        sys.executable,
        str(PROGRAM),
        str(folder),
        workflow,
        moment,
        str(times),
        "up" if up else "down",
    ]
    ended = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
        check=False,
    )
    return ended.returncode, [json.loads(line) for line in ended.stdout.splitlines()]


def completed(events: list[dict[str, Any]]) -> Counter[str]:
    """Count the reports of each step's end."""
    return Counter(event["body"]["task_id"] for event in events if event["body"].get("state") == "COMPLETED")


def without_copies(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Do what a reader does: drop the second copy of an event; both must be the same."""
    first: dict[str, dict[str, Any]] = {}
    for event in events:
        assert first.setdefault(event["event_id"], event) == event
    return [*first.values()]


def check(events: list[dict[str, Any]]) -> None:
    """Each attempt of the run has every number below its highest, and no step's end is reported twice."""
    by_token: dict[str, list[int]] = {}
    for event in events:
        by_token.setdefault(event["token"], []).append(event["seq"])
    for numbers in by_token.values():
        assert sorted(numbers) == list(range(len(numbers)))
    assert set(completed(events).values()) == {1}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The steps of the workflow."""
    status, events = proceed(tmp_path_factory.mktemp("undisturbed"), *NEVER, up=True)
    assert status == 0
    check(without_copies(events))
    return set(completed(events))


@pytest.mark.full
@pytest.mark.parametrize("up", [True, False], ids=["linked", "offline"])
@pytest.mark.parametrize("seed", [1, *(pytest.param(n, marks=LONG) for n in range(2, 12))])
def test_each_recorded_step_is_reported_once_however_often_the_process_is_killed(
    seed: int, up: bool, tmp_path: Path, undisturbed: set[str]
) -> None:
    """Killed between the commit of a result and the outbox, whether what was sent before has arrived or not."""
    dice, received = random.Random(seed), list[dict[str, Any]]()
    for point in (ONCE, *dice.sample(POINTS, len(POINTS))):
        times = 1 if point == ONCE else dice.choice([1, 2, 3])
        status, events = proceed(tmp_path, point, times, up=up)
        assert status == KILLED, f"it did not reach {point}"
        received += events
    status, events = proceed(tmp_path, *NEVER, up=True)
    assert status == 0
    received = without_copies(received + events)
    check(received)
    assert set(completed(received)) == undisturbed


@pytest.mark.full
def test_the_events_of_the_killed_process_come_first(tmp_path: Path) -> None:
    """In their order, before those of the attempt that goes on."""
    assert proceed(tmp_path, "committed-unheard", 2, up=False) == (KILLED, [])
    status, events = proceed(tmp_path, *NEVER, up=True)
    assert status == 0
    attempts = [event.get("attempt", 1) for event in events]
    assert attempts == sorted(attempts)
    numbers = [event["seq"] for event in events if event.get("attempt", 1) == 1]
    assert numbers == list(range(len(numbers)))
    assert completed([event for event in events if event.get("attempt", 1) == 1])


@pytest.mark.full
@pytest.mark.parametrize("times", [1, 2, 3])
def test_no_end_is_reported_of_a_step_that_failed_because_its_result_has_to_be_recorded(
    times: int, tmp_path: Path
) -> None:
    """The process is killed as soon as that is known, or a little later; the step runs again, and ends once."""
    moment = "committed-unheard", times
    status, _ = proceed(tmp_path, *moment, up=False, workflow="opaque")
    assert status == KILLED
    (tmp_path / "repaired").touch()
    status, events = proceed(tmp_path, *NEVER, up=True, workflow="opaque")
    assert status == 0
    check(without_copies(events))
    assert completed(events)["opaque:0"] == 1
