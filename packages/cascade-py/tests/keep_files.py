"""Keep what this version writes, for the tests of all later ones: run this file once for each release.

A folder ``kept/VERSION`` gets a recorded run that failed at its last step, an outbox with messages that no broker has
had, the file of a collector, and every message that went over the broker. Once a version is released, its folder stays.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "cascade-testkit/tools"))

from cascade import Outbox
from cascade.connectors.mqtt import MqttConnector
from cascade.interfaces.distribution import VERSION
from cascade.testkit import eventually, start_broker
from testing_tools.recorder import Recorder

KEPT = Path(__file__).parent / "kept"
NAME = "press-line-3"
CASCADE = (sys.executable, "-P", "-m", "cascade.cli")
CLOSED_PORT = 9
JOB = (KEPT / "0.1.0/job.py").read_text("utf-8")
"""All versions keep what the same job writes; each folder has a copy, so that it can go on."""


def run_job(folder: Path, *options: str, broken: bool) -> subprocess.CompletedProcess[str]:
    """Run the job in its folder, where its state is."""
    environment = {**os.environ, "CASCADE_KEPT_BROKEN": "yes" if broken else "", "CASCADE_BROKER": ""}
    command = (*CASCADE, "run", "job.py", "--state", "runs", "--run-id", "night", "--quiet", *options)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)


async def fill_outbox(folder: Path) -> None:
    """Leave three messages in an outbox: there is no broker."""
    connector = MqttConnector(
        "127.0.0.1", CLOSED_PORT, source_id=NAME, connect_timeout=0.1, drain_timeout=0.1
    )
    async with connector, Outbox(folder).sender(connector) as sender:
        for kw in (2.5, 2.6, 2.4):
            sender.send("plant/1/power", {"kw": kw})


async def collected(file: Path) -> None:
    """Wait until a collector has the end of the run."""

    def ended() -> bool:
        command = (*CASCADE, "history", "--from", str(file), "--json")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return '"Failed"' in done.stdout

    await eventually(ended, timeout=60)


def keep(folder: Path) -> None:
    """Run the job with a collector and an observer of the broker; write all that is kept into a folder."""
    (folder / "job.py").write_text(JOB, "utf-8")
    asyncio.run(fill_outbox(folder / "outbox"))
    file = folder / "collected.sqlite"
    with start_broker() as broker, Recorder(broker.host, broker.port, "cascade/#") as recorder:
        collect = (*CASCADE, "collect", "--to", str(file), "--broker", broker.url)
        with subprocess.Popen(collect) as collector:
            limit = (*CASCADE, "limit", "task:measure", "--concurrency", "2", "--broker", broker.url)
            subprocess.run(limit, check=True, capture_output=True)
            done = run_job(folder, "--name", NAME, "--broker", broker.url, broken=True)
            assert "has no paper" in done.stderr, done.stderr
            asyncio.run(collected(file))
            collector.send_signal(signal.SIGINT)
        lines = [
            json.dumps({"topic": each.topic, "payload": each.payload.decode(), "retain": each.retain})
            for each in recorder.messages
        ]
    (folder / "wire.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def released() -> bool:
    """Tell whether the changelog has a date for this version."""
    changelog = (Path(__file__).parents[3] / "CHANGELOG.md").read_text("utf-8")
    return f"## [{VERSION}] - not released yet" not in changelog


if __name__ == "__main__":
    if released() and (KEPT / VERSION).exists():
        sys.exit(f"{KEPT / VERSION} has what the released {VERSION} wrote, which cannot be made again")
    with tempfile.TemporaryDirectory() as temporary:
        keep(Path(temporary))
        shutil.rmtree(KEPT / VERSION, ignore_errors=True)
        shutil.copytree(temporary, KEPT / VERSION)
