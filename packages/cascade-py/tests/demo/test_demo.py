"""The demo as a person starts it: the job is slowed, paused and resumed, and nothing is left at the broker."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from paho.mqtt import publish

from cascade.interfaces.topics import STORE_TOPIC
from cascade.testkit import eventually
from cascade.testkit.brokers import Broker, start_broker
from testing_tools.recorder import Recorder

DEMO = Path(__file__).parents[2] / "demo"

pytestmark = [pytest.mark.broker, pytest.mark.full]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DEMO), *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def retained(broker: Broker) -> set[str]:
    """Return the topics of all that a broker retains, as a new subscriber gets it."""
    with Recorder(broker.host, broker.port, "#") as recorder:  # the echo comes after the retained set
        publish.single("test/echo", "", 1, hostname=broker.host, port=broker.port)
        asyncio.run(eventually(lambda: recorder.of("test/echo")))
        return {each.topic for each in recorder.messages if each.topic != "test/echo"}


def test_no_task_starts_during_the_pause_and_nothing_stays_at_the_broker(tmp_path: Path) -> None:
    # So many that the job goes on until the pause is in force, however long its command takes on a busy machine.
    for number in range(300):
        (tmp_path / f"m{number}.py").write_text("def f(x):\n    return x if x else 0\n", "utf-8")
    (tmp_path / "bad.py").write_text("def", "utf-8")
    with start_broker() as broker:
        done = run(tmp_path, "--broker", broker.url)
        left = retained(broker)
    assert done.returncode == 0, done.stderr
    assert "0 tasks were started in 3 s of the pause" in done.stdout
    assert "301 files, 600 lines, 300 functions" in done.stdout
    assert "1 files do not parse" in done.stdout
    assert "302 of them starts of tasks" in done.stdout
    assert left <= {STORE_TOPIC}


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    done = run(tmp_path / "missing")
    assert done.returncode == 1
    assert "missing is not a folder; name a folder of Python files" in done.stderr
