"""Kill an engine five times and cut its link twice, with a pause meanwhile: ``nox -s demo-survive``.

The engine is ``line.py``, a process of its own. Its recorded run continues each time, and at the end this program
compares three things: what was recorded at each kill, what the engine then did, and the value of the run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

try:
    from line import AT_ONCE, LEDGER, MATERIAL, RUN

    import cascade as cs
    from cascade.testkit.brokers import start_broker
    from cascade.testkit.chaos import ChaosProxy
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing}; run the demo where all that it needs is installed: nox -s demo-survive")

PROGRAM = Path(__file__).with_name("line.py")
SOURCE = "survive-line"
LONGEST_WAIT = 60.0
KILLS, CUTS = 5, 2


class NotSurvivedError(Exception):
    """What the demo promises did not happen."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A call of a step's function, as the ledger has it."""

    key: str
    idempotency_key: str
    attempt: int


@dataclass
class Night:
    """A recorded run, its engine, and what this program has done to it."""

    folder: Path
    broker: str
    proxy: ChaosProxy
    parts: int
    seconds: float
    kills: int = 0
    cuts: int = 0
    process: asyncio.subprocess.Process | None = None
    """The engine that runs now."""
    kept: list[set[str]] = field(default_factory=list)
    """Steps that were recorded at each kill."""
    messages: list[str] = field(default_factory=list)
    """Lines that the engines have written to stderr."""

    @property
    def steps(self) -> int:
        """How many steps the run has."""
        return 2 * self.parts + 1

    def recorded(self) -> set[str]:
        """Return the keys of the steps whose results are on the disk."""
        if not (self.folder / f"{RUN}.db").exists():
            return set()
        return {step.key for step in cs.SqliteState(self.folder).steps(RUN) if step.ended is not None}

    def entries(self) -> list[Entry]:
        """Return every call of a step, in order."""
        ledger = self.folder / LEDGER
        lines = ledger.read_text("utf-8").splitlines() if ledger.exists() else []
        return [Entry(key, same, int(attempt)) for key, same, attempt in map(str.split, lines)]

    @contextlib.asynccontextmanager
    async def engine(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """Start the engine, which begins the run or continues it; kill it at the end if it is still there."""
        url = f"mqtt://{self.proxy.host}:{self.proxy.port}"
        options = ("--parts", str(self.parts), "--seconds", str(self.seconds))
        engine = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAM),
            str(self.folder),
            url,
            SOURCE,
            *options,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self.process = engine
        showing = asyncio.create_task(self._show_messages(engine))
        try:
            yield engine
        finally:
            self.process = None
            with contextlib.suppress(ProcessLookupError):
                engine.kill()
            await engine.wait()
            await showing

    async def _show_messages(self, engine: asyncio.subprocess.Process) -> None:
        assert engine.stderr is not None
        async for line in engine.stderr:
            self.messages.append(line.decode())
            print(self.messages[-1], end="", file=sys.stderr, flush=True)

    async def kill(self, engine: asyncio.subprocess.Process) -> None:
        """Kill the engine with -9."""
        self.process = None
        engine.send_signal(signal.SIGKILL)
        await engine.wait()
        self.kills += 1
        self.kept.append(self.recorded())
        say(f"kill -9, number {self.kills}: {len(self.kept[-1])} of {self.steps} steps are recorded.")

    async def cut(self) -> None:
        """Cut the link to the broker, and refuse a new one."""
        await self.proxy.down()
        self.cuts += 1
        say(f"The link to the broker is cut, number {self.cuts}.")

    async def repair(self) -> None:
        """Let the engine reach the broker again."""
        await self.proxy.up()
        say("The link is back.")

    async def steer(self, *words: str) -> None:
        """Run a command, directly at the broker, until the engine has a link again and obeys."""
        say(f"$ cascade {' '.join(words)}")
        async with asyncio.timeout(LONGEST_WAIT):
            while problem := await self._command(*words):
                if "no live engine" not in problem:
                    raise NotSurvivedError(problem)

    async def _command(self, *words: str) -> str:
        """Run a command; return why it failed, or ""."""
        command = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cascade.cli", *words, "--wait"),
            env={**os.environ, "CASCADE_BROKER": self.broker},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await command.communicate()
        return (
            (errors.decode().strip() or f"it ended with {command.returncode}") if command.returncode else ""
        )

    def bring_material(self, share: float) -> None:
        """Bring so much that the engine does this share of the steps, and does not end before it is killed."""
        missing = int(share * self.steps) - len(self.recorded()) + AT_ONCE
        new = self.folder / "material.new"
        new.write_text(f"{len(self.entries()) + missing}")
        new.replace(self.folder / MATERIAL)

    async def recorded_up_to(self, share: float) -> None:
        """Bring material for this share of the steps, and wait until so many are recorded."""
        self.bring_material(share)
        await self.until(lambda: len(self.recorded()) >= int(share * self.steps), f"{share:.0%} of the steps")

    def paused_on_disk(self) -> bool:
        """Return whether the pause is in the file that the engine's next process reads."""
        return any("/@pause" in path.read_text("utf-8") for path in self.folder.glob("control-*.json"))

    async def attempts(self, number: int) -> None:
        """Wait until so many attempts of the run have begun."""

        def enough() -> bool:
            return any(run.attempts >= number for run in cs.SqliteState(self.folder).runs())

        await self.until(enough, f"attempt {number}")

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition is true.

        :raises NotSurvivedError: after a minute, or if the engine ends.
        """
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                while not condition():
                    if self.process is not None and self.process.returncode is not None:
                        raise NotSurvivedError(f"the engine ended with {self.process.returncode}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise NotSurvivedError(f"it took more than {LONGEST_WAIT:g} s: {what}") from None


async def survive(night: Night, pause: float) -> int:
    """Do everything to the engine that this demo promises; return the value of the run."""
    async with night.engine() as engine:
        await night.recorded_up_to(0.15)
        await night.kill(engine)
    async with night.engine() as engine:
        await night.recorded_up_to(0.25)
        await night.cut()
        await night.recorded_up_to(0.35)
        await night.kill(engine)
    await night.repair()
    async with night.engine() as engine:
        await night.recorded_up_to(0.45)
        await night.steer("pause", f"source:{SOURCE}")
        await night.until(night.paused_on_disk, "the pause in the folder")
        await night.kill(engine)
    await night.cut()
    night.bring_material(0.6)
    async with night.engine() as engine:
        await stays_paused(night, pause)
        await night.kill(engine)
    await night.repair()
    async with night.engine() as engine:
        await night.attempts(5)
        await night.steer("resume", f"source:{SOURCE}")
        await night.recorded_up_to(0.8)
        await night.kill(engine)
    (night.folder / MATERIAL).unlink()
    async with night.engine() as engine:
        assert engine.stdout is not None
        output = await engine.stdout.read()
        if await engine.wait():
            raise NotSurvivedError(f"the engine ended with {engine.returncode}")
    return int(output)


async def stays_paused(night: Night, pause: float) -> None:
    """Check that the next process starts no step, although it cannot reach the broker.

    :raises NotSurvivedError: if it does.
    """
    before = len(night.entries())
    await night.attempts(4)
    await night.until(
        lambda: any("the last process obeyed them" in each for each in night.messages),
        "the pause of the last process",
    )
    say(f"A new process has the run. It has no link, and the run was paused: wait {pause:g} s.")
    await asyncio.sleep(pause)
    started = len(night.entries()) - before
    say(f"{started} steps were started: the pause outlived the process.")
    if started:
        raise NotSurvivedError("a paused run went on")


def checked(night: Night, value: int) -> str:
    """Return what the ledger shows.

    :raises NotSurvivedError: if a recorded step was done again, or the value is wrong.
    """
    entries = night.entries()
    again = [each for each in entries if any(each.key in kept for kept in night.kept[: each.attempt - 1])]
    calls = Counter(each.key for each in entries)
    twice = [key for key, count in calls.items() if count > 1]
    identities = {(each.key, each.idempotency_key) for each in entries}
    expected = sum(10 * part for part in range(night.parts))
    if again or len(identities) != night.steps or len(calls) != night.steps or value != expected:
        raise NotSurvivedError(f"recorded steps that were done again: {again}; value {value}, not {expected}")
    return (
        f"{night.kills} kills, {night.cuts} cuts, {len(calls)} of {night.steps} steps done, value {value}, as expected.\n"
        "Recorded steps that were done again: 0.\n"
        f"Steps that ran at a kill, and so were called again, with the same idempotency key: {len(twice)}."
    )


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


async def perform(parts: int, seconds: float, pause: float) -> None:
    """Run the demo with a broker and a folder of its own."""
    with tempfile.TemporaryDirectory() as folder, start_broker() as broker:
        say(f"Started a broker: {broker.name} at {broker.url}")
        async with ChaosProxy(broker.port) as proxy:
            night = Night(Path(folder), broker.url, proxy, parts, seconds)
            value = await survive(night, pause)
            say(checked(night, value))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit code."""
    parser = argparse.ArgumentParser(
        description="Kill an engine with -9 five times and cut its link to the broker twice, with one pause during the run."
    )
    parser.add_argument("--parts", type=int, default=60, help="two steps for each (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.1, help="that a step takes (default: %(default)s)")
    parser.add_argument(
        "--pause", type=float, default=3.0, help="seconds in which nothing may start (default: %(default)s)"
    )
    given = parser.parse_args(arguments)
    try:
        asyncio.run(perform(given.parts, given.seconds, given.pause))
    except (NotSurvivedError, cs.CascadeError) as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("Interrupted; everything that was started has been ended.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
