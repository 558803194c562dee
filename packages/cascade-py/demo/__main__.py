"""Slow, pause and resume a running job from a second process: ``python packages/cascade-py/demo``."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from cascade.connectors.mqtt import MqttConnector
from cascade.testkit.brokers import start_broker

JOB = Path(__file__).with_name("audit.py")
RATE = "30/s"
SLOWED = 15  # tasks that start before the pause
PAUSE = 3.0  # seconds
LIMIT = 30.0  # seconds that a command or a wait may take


class Demo:
    """A job in one process, the commands that steer it in others, and a connector that counts its events."""

    def __init__(self, url: str, folder: str) -> None:
        self.name = f"demo-{secrets.token_hex(3)}"
        self.started: list[str] = []
        self.received = 0
        self._retained: set[str] = set()
        self._changed = asyncio.Event()
        self._folder = folder
        self._url = url
        self._environment = os.environ | {"CASCADE_BROKER": url, "PYTHONUNBUFFERED": "1"}

    async def run(self) -> int:
        """Run the job, steer it, and return the job's exit code."""
        listener = MqttConnector.from_url(self._url, presence=False)
        await listener.connect()
        await listener.subscribe("cascade/telemetry/+/+/+/events", self._received, qos=1)
        for topic in (f"status/{self.name}", f"state/{self.name}/+", f"sync/{self.name}/@canary"):
            await listener.subscribe(f"cascade/{topic}", self._kept, qos=1)
        print(f"$ export CASCADE_BROKER={self._url}")
        print("Slow the job down before it starts: the broker keeps this for every engine of that name.")
        await self._cascade("limit", self.scope, "--rate", RATE)
        job = await asyncio.create_subprocess_exec(
            *self._command("run", str(JOB), "--name", self.name, "-p", f"folder={self._folder}", "--quiet"),
            env=self._environment,
        )
        try:
            steering = asyncio.create_task(self._steer())
            code = await job.wait()
            steering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await steering
            return code
        finally:
            if job.returncode is None:
                job.send_signal(signal.SIGINT)
                await job.wait()
            await self._quietly("clear", self.scope)
            for topic in self._retained:
                await listener.publish(topic, None, qos=1, retain=True)
            await listener.disconnect()
            print(f"{self.received:,} events arrived, {len(self.started):,} of them starts of tasks")

    @property
    def scope(self) -> str:
        """The scope of the demo's engine alone: other engines of the broker are not steered."""
        return f"source:{self.name}"

    async def _steer(self) -> None:
        await self._until(SLOWED)
        await self._cascade("pause", self.scope, "--wait", "--drained")
        before = len(self.started)
        await asyncio.sleep(PAUSE)
        print(f"{len(self.started) - before} tasks were started in {PAUSE:.0f} s of the pause")
        await self._cascade("resume", self.scope, "--wait")
        await self._until(before + SLOWED)
        await self._cascade("clear", self.scope, "rate_limit")

    async def _received(self, topic: str, data: dict[str, Any]) -> None:
        if data.get("source") == self.name:
            self.received += 1
            if data["body"].get("state") == "RUNNING":
                self.started.append(data["body"]["task_id"])
            self._changed.set()

    async def _kept(self, topic: str, data: dict[str, Any]) -> None:
        """Note a topic at which the engine leaves a retained message, so that the demo leaves none."""
        self._retained.add(topic)

    async def _until(self, count: int) -> None:
        """Wait until so many tasks were started."""
        async with asyncio.timeout(LIMIT):
            while len(self.started) < count:
                self._changed.clear()
                await self._changed.wait()

    async def _cascade(self, *words: str) -> None:
        """Print a command as a person types it, run it, and print what it prints."""
        print(f"$ cascade {' '.join(words)}")
        command = await asyncio.create_subprocess_exec(*self._command(*words), env=self._environment)
        async with asyncio.timeout(LIMIT):
            await command.wait()

    async def _quietly(self, *words: str) -> None:
        """Run a command that only cleans up."""
        command = await asyncio.create_subprocess_exec(
            *self._command(*words),
            env=self._environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await command.wait()

    @staticmethod
    def _command(*words: str) -> list[str]:
        return [sys.executable, "-m", "cascade.cli", *words]


@contextlib.asynccontextmanager
async def broker_at(url: str | None) -> AsyncIterator[str]:
    """Yield the given URL, or that of a broker which is started for the demo."""
    if url is not None:
        yield url
        return
    with start_broker() as broker:
        print(f"Started a broker: {broker.name}")
        yield broker.url


async def main(folder: str, url: str | None) -> int:
    """Run the demo; return its exit code."""
    async with broker_at(url) as broker:
        return await Demo(broker, folder).run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument(
        "folder", nargs="?", default="", help="of Python files (default: the standard library)"
    )
    parser.add_argument(
        "--broker", metavar="URL", help="of your own, as mqtt://host:port (default: one is started)"
    )
    given = parser.parse_args()
    try:
        sys.exit(asyncio.run(main(given.folder, given.broker)))
    except KeyboardInterrupt:
        sys.exit(130)
