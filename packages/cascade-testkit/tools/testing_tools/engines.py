"""Engines in processes of their own, on a real broker, and the command ``cascade`` beside them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from types import TracebackType
from typing import Any, Self

from cascade.cli import main
from cascade.cli.errors import NO_BROKER
from cascade.testkit.brokers import Broker
from cascade.testkit.waiting import busyness
from testing_tools.patient import PATIENT

PASSWORD = "s3cret"
CASCADE = (sys.executable, "-P", "-m", "cascade.cli")
SECONDS = 40.0
"""Bound of every wait of these tests; none needs it while all is well."""

# Each name runs one workflow, all on the event loop of one process. A task lasts SECONDS; tasks follow one another.
ENGINES = """
import asyncio, sys
import cascade as cs

@cs.task
async def audit(x: int, seconds: float) -> int:
    await asyncio.sleep(seconds)
    return x

@cs.task
async def fail() -> None:
    raise ValueError("[red]odd\\x1b]0;title")

async def engine(url: str, name: str, run_id: str, tasks: int, seconds: float) -> None:
    target = audit.map(x=range(tasks), seconds=[seconds] * tasks).with_concurrency(1) if tasks else fail()
    # A broker calls a frozen client lost after one and a half times this: longer than a busy machine needs for a test.
    # An engine that gave up to connect would run, and end, unseen.
    link = {"keepalive": 120, "connect_timeout": 60, "required": True}
    connector = cs.connector(f"{url}?source_id={name}" if name != "-" else url, **link)
    async with connector:
        try:
            await cs.arun(target, connector=connector, run_id=run_id or None)
        except (ValueError, cs.RunCancelledError, asyncio.CancelledError):
            pass

async def main() -> None:
    url, tasks, seconds, *names = sys.argv[1:]
    running = asyncio.gather(*(engine(url, *name.split("="), int(tasks), float(seconds)) for name in names))
    await running

asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Done:
    """What a command has printed, and how it ended."""

    returncode: int
    stdout: str
    stderr: str


def eventually(condition: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """Call a condition until it is true; return what it returned.

    :param seconds: more where more processes run than the machine has cores.
    """
    began = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - began
        assert waited < seconds * busyness(), f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
    return value


class Plant:
    """A broker, engines that run on it, and the command beside them."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._engines: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._engines:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def start(
        self, *names: str, tasks: int = 2_000, seconds: float = 0.1, run_id: str = ""
    ) -> subprocess.Popen[bytes]:
        """Start a process with engines of these names (``-``: without a name); it has begun when they are listed.

        :param tasks: of each engine; 0: one task, which fails.
        :param run_id: of the run of a single engine; without it, ``run-`` and the name, or none for ``-``.
        """
        runs = [f"{name}={run_id or (f'run-{name}' if name != '-' else '')}" for name in names]
        arguments = [self.broker.url, str(tasks), str(seconds), *runs]
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", ENGINES, *arguments],
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )
        self._engines.append(process)
        return process

    def cascade(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Done:
        """Run the command in this process, which is a second faster than in one of its own."""
        before = dict(os.environ)
        os.environ.update(self.environment(environment))
        out, err = StringIO(), StringIO()
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = main(arguments)
        finally:
            os.environ.clear()
            os.environ.update(before)
        return Done(code, out.getvalue(), err.getvalue())

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command with pipes."""
        process = subprocess.Popen(
            [*PATIENT, *arguments], stdout=subprocess.PIPE, text=True, env=self.environment()
        )
        self._engines.append(process)  # type: ignore[arg-type] # it is only killed
        return process

    def environment(self, further: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment in which the command finds the broker."""
        return {**os.environ, "CASCADE_BROKER": self.broker.url, **(further or {})}

    def json(self, *arguments: str) -> Any:
        """Return what the command prints as JSON; on a busy machine it may need another attempt to connect in time."""

        def printed() -> str:
            done = self.cascade(*arguments, "--json")
            assert done.stdout or done.returncode == NO_BROKER, done.stderr
            return done.stdout

        return json.loads(eventually(printed, "the broker answers"))

    def wait_for_runs(self, *names: str) -> None:
        """Wait until each of these engines has run tasks."""

        def running() -> bool:
            rows = {row["source"]: row["counts"] for row in self.json("runs")}
            return all({"RUNNING", "COMPLETED"} & rows.get(name, {}).keys() for name in names)

        eventually(running, f"{names} run", SECONDS + 5 * len(names))

    @staticmethod
    def freeze(process: subprocess.Popen[bytes]) -> None:
        """Stop a process (SIGSTOP): its connection stays, and it answers nothing."""
        process.send_signal(signal.SIGSTOP)
