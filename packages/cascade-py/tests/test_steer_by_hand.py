"""The README's two lines, run as they stand, pause a run and lift the pause."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import cascade as cs
from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces import TaskState, TaskStateEvent
from cascade.testkit import Broker, eventually

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")

Shell = Callable[[str], Awaitable[None]]


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
        await asyncio.to_thread(subprocess.run, shlex.split(line), env=environment, timeout=10, check=True)

    return run


@pytest.mark.broker
async def test_a_person_pauses_and_lifts_with_the_two_lines(
    fresh_broker: Broker, mosquitto_pub: Shell
) -> None:
    """After the first line and the engine's report nothing starts; after the second one the run goes on."""
    pause, lift = re.findall(r"^mosquitto_pub .*$", README, re.MULTILINE)
    began, go = asyncio.Event(), asyncio.Event()
    bus = cs.EventBus()
    events: list[TaskStateEvent] = []
    reports: list[dict[str, Any]] = []
    bus.subscribe(TaskStateEvent, events.append)

    @cs.task
    async def first() -> int:
        began.set()
        await go.wait()
        return 1

    @cs.task
    async def second(x: int) -> int:
        return x + 1

    async def hear(topic: str, report: dict[str, Any]) -> None:
        reports.append(report)

    def told(state: TaskState) -> list[str]:
        return [event.task_name for event in events if event.state is state]

    connector = MqttConnector.from_url(fresh_broker.url)
    await connector.connect()
    await connector.subscribe("cascade/state/+/constraints", hear)
    run = asyncio.create_task(cs.arun(second(first()), connector=connector, bus=bus))
    await began.wait()
    await mosquitto_pub(pause)
    await eventually(lambda: any("cascade/constraints/global" in report["applied"] for report in reports))
    go.set()
    await eventually(lambda: told(TaskState.BLOCKED) == ["second"])
    assert told(TaskState.RUNNING) == ["first"]
    assert not run.done()
    await mosquitto_pub(lift)
    assert await asyncio.wait_for(run, 10) == 2
    await connector.disconnect()
