"""The README's commands, run as they stand, steer a run; a subscriber sees what the page shows."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.testkit import Broker, eventually
from cascade.testkit.waiting import busyness
from testing_tools.recorder import Recorder

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")

COMMANDS = re.findall(r"(?:^|`|^\$ )(mosquitto_pub -[^`\n]*)", README, re.MULTILINE)
CONSTRAINTS = dict.fromkeys(command for command in COMMANDS if " -m " in command)
(LIFT,) = (command for command in COMMANDS if " -n " in command)

BOUND = 30.0
"""Seconds for what a report shows: one is repeated every 10 s."""

Shell = Callable[[str], Coroutine[Any, Any, None]]


@pytest.fixture
def mosquitto_pub(fresh_broker: Broker, tmp_path: Path) -> Shell:
    """Run a line of mosquitto_pub; its own settings file names the broker, for the line does not."""
    if shutil.which("mosquitto_pub") is None:
        message = "mosquitto_pub is not installed: apt-get install mosquitto-clients"
        pytest.fail(message, pytrace=False) if os.environ.get("CI") else pytest.skip(message)
    settings = f"-h {fresh_broker.host}\n-p {fresh_broker.port}\n"
    for name in ("mosquitto_pub", "mosquitto_pub.conf"):  # the second is its name on Windows
        (tmp_path / name).write_text(settings)
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}

    async def run(line: str) -> None:
        await asyncio.to_thread(
            subprocess.run, shlex.split(line), env=environment, timeout=50 * busyness(), check=True
        )

    return run


def topic_of(command: str) -> str:
    """The topic that a command publishes on."""
    (topic,) = re.findall(r" -t (\S+)", command)
    return str(topic)


def test_the_page_has_one_command_for_each_kind_of_constraint() -> None:
    """Each publishes on the topic of its type."""
    types = [json.loads(command.partition(" -m ")[2].strip("'"))["type"] for command in CONSTRAINTS]
    assert types == ["pause", "concurrency", "rate_limit", "cancel"]
    assert [topic_of(command).rpartition("/@")[2] for command in CONSTRAINTS] == types


@pytest.mark.full
@pytest.mark.broker
def test_the_six_lines_are_what_a_subscriber_sees(
    fresh_broker: Broker, tmp_path: Path, mosquitto_pub: Shell
) -> None:
    """The page's command pauses the page's job; the messages shown arrive in the order shown."""
    (job,) = re.findall(r"```python\n(import time\nimport cascade as cs.*?)```", README, re.DOTALL)
    assert "time.sleep(1)" in job
    go = tmp_path / "go"
    until_go = f"while not __import__('pathlib').Path({str(go)!r}).exists(): time.sleep(0.01)"
    (tmp_path / "job.py").write_text(job.replace("time.sleep(1)", until_go))
    pause = next(iter(CONSTRAINTS))
    (shown,) = re.findall(r"```text\n(cascade/.*?)```", README, re.DOTALL)
    lines = [".*".join(map(re.escape, line.split("…"))) for line in shown.splitlines()]
    assert len(lines) == 6

    with Recorder(fresh_broker.host, fresh_broker.port, "cascade/#") as recorder:

        def seen() -> list[str]:
            return [f"{each.topic} {each.payload.decode() or '(null)'}" for each in recorder.messages]

        def first_not_seen(lines: list[str]) -> str | None:
            messages = iter(seen())
            return next(
                (line for line in lines if not any(re.fullmatch(line, each) for each in messages)), None
            )

        command = ["run", "job.py", "--name", "press-line-3", "--quiet", "--broker", fresh_broker.url]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cascade.cli", *command],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            asyncio.run(eventually(lambda: sum('"RUNNING", "dur' in each for each in seen()) == 2, BOUND))
            asyncio.run(mosquitto_pub(pause))
            asyncio.run(eventually(lambda: any(re.fullmatch(lines[1], each) for each in seen()), BOUND))
            go.touch()
            # Reports overtake events that wait, so the last of them may be a repeated one.
            asyncio.run(eventually(lambda: first_not_seen(lines[:5]) is None, BOUND))
            asyncio.run(
                eventually(lambda: first_not_seen(lines[5:]) is None, BOUND)
            )  # a report with its own schedule
            assert process.poll() is None
            asyncio.run(mosquitto_pub(re.sub(r" -m '.*'$", " -n", pause)))
            assert process.communicate(timeout=60 * busyness())[0] == "51 of 60 parts are good\n"
        finally:
            process.kill()
            process.communicate()


@pytest.mark.broker
async def test_every_kind_of_constraint_is_applied_as_the_page_writes_it(
    fresh_broker: Broker, mosquitto_pub: Shell
) -> None:
    """The page's engine and task report each one as in force; the last one, cancel, ends the run."""
    began = asyncio.Event()
    reports: list[dict[str, Any]] = []
    run_ids: list[str] = []

    @cs.task
    async def inspect() -> None:
        began.set()
        await asyncio.Event().wait()

    async def on_report(topic: str, report: dict[str, Any]) -> None:
        reports.append(report)

    async def on_runs(topic: str, report: dict[str, Any]) -> None:
        run_ids.extend(run["run_id"] for run in report["runs"])

    async with MqttConnector.from_url(fresh_broker.url, source_id="press-line-3") as connector:
        await connector.subscribe("cascade/state/press-line-3/constraints", on_report)
        await connector.subscribe("cascade/state/press-line-3/runs", on_runs)
        run = asyncio.create_task(cs.arun(inspect(), connector=connector))
        await began.wait()
        await eventually(lambda: run_ids, BOUND)
        *others, cancel = CONSTRAINTS
        for command in others:
            await mosquitto_pub(command)
        topics = {topic_of(command) for command in others}
        await eventually(lambda: any(report["applied"].keys() == topics for report in reports), BOUND)
        last = reports[-1]  # nothing changes after the third command
        assert {topic: entry["status"] for topic, entry in last["applied"].items()} == dict.fromkeys(
            topics, "applied"
        )
        assert sorted(entry["type"] for entry in last["effective"]) == ["concurrency", "pause", "rate_limit"]
        await mosquitto_pub(cancel.replace("RUN_ID", run_ids[0]))
        with pytest.raises(cs.RunCancelledError):
            await asyncio.wait_for(run, 50)
