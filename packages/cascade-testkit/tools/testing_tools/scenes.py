"""Random scenes of a plant: engines that are killed, frozen, doubled and cut, commands beside them, and what really ran.

Each engine writes when it starts a task to a file of its own, on the clock that all processes of the machine share. What a
command claims is compared with these files and with nothing that went through the broker.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

from cascade.testkit.brokers import Broker
from cascade.testkit.waiting import busyness
from testing_tools.engines import Done, Plant

SECONDS = 30.0
"""After which a claim that something goes on is a lie, where nothing has gone on."""
LONGEST = 90.0
"""The most that a busy machine may add to that."""
BACK = 40.0
"""After which every engine has tried to connect to a broker that was started again: processes of one name wait for 30 s."""
TIMEOUT = "12s"
HOUR = 3600.0

ENGINE = """
import asyncio, sys, time
import cascade as cs

url, name, run_id, path, shift = sys.argv[1:]
out = open(path, "a", buffering=1)

class Shifted:
    def now(self): return time.time() + float(shift)
    def monotonic(self): return time.monotonic()

@cs.task
async def audit(x: int) -> int:
    await asyncio.sleep(0.02)
    return x

@cs.task
async def check(x: int) -> int:
    await asyncio.sleep(0.02)
    return x

def note(event):
    state = getattr(event, "state", None) or event.event
    print(time.monotonic_ns(), state.value, getattr(event, "task_name", "-"), file=out)

async def main():
    bus = cs.EventBus()
    bus.subscribe(cs_events.TaskStateEvent, note)
    bus.subscribe(cs_events.LifecycleEvent, note)
    items = range(200_000)
    targets = [task.map(x=items).with_concurrency(1) for task in (audit, check)]
    connector = cs.connector(f"{url}?source_id={name}", connect_timeout=30)
    async with connector:
        try:
            await cs.Engine(connector=connector, bus=bus, clock=Shifted()).run(targets, run_id=run_id)
        except (cs.RunCancelledError, cs.TaskCancelledError):
            pass

import cascade.interfaces.events as cs_events
asyncio.run(main())
"""


class Engine:
    """One process, and what it says itself that it did."""

    def __init__(self, url: str, name: str, run_id: str, path: Path, shift: float) -> None:
        self.name = name
        self.run_id = run_id
        self.shift = shift
        self.frozen = False
        self._path = path
        arguments = [url, name, run_id, str(path), str(shift)]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", ENGINE, *arguments],
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
        )

    @property
    def alive(self) -> bool:
        """Whether the process exists."""
        return self.process.poll() is None

    @property
    def ended(self) -> bool:
        """Whether its run is over, by its own word."""
        return any(state == "ENGINE_STOPPED" for _, state, _ in self._events())

    def starts(self, since: int, task: str = "") -> int:
        """Return how many tasks have started since a time of ``time.monotonic_ns``."""
        return sum(
            state == "RUNNING" and at > since and task in ("", name) for at, state, name in self._events()
        )

    def freeze(self) -> None:
        """Stop the process: its link stays, and it answers nothing."""
        self.frozen = True
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.frozen = False
        if self.alive:
            self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process without a word."""
        self.process.kill()
        self.process.wait()

    def _events(self) -> Iterator[tuple[int, str, str]]:
        if not self._path.exists():
            return
        for line in self._path.read_text().splitlines():
            parts = line.split()
            if len(parts) == 3 and parts[0].isdigit():
                yield int(parts[0]), parts[1], parts[2]


@dataclasses.dataclass
class Lie:
    """A claim of a command that the engines' own files contradict."""

    command: str
    claim: str
    truth: str
    stderr: str

    def __str__(self) -> str:
        return f"{self.command}: {self.claim}, but {self.truth}; stderr: {self.stderr!r}"


class Scenes:
    """Plays random scenes on one broker, and collects the lies of the commands."""

    def __init__(self, broker: Broker, url: str, folder: Path, random: Random) -> None:
        self.lies: list[Lie] = []
        self.claims = 0
        """How many claims were compared with the engines' files."""
        self.named_limits = 0
        """How many commands have said that the broker, or an engine, did not let them know."""
        self._broker = broker
        self._url = url
        self._folder = folder
        self._random = random
        self._engines: list[Engine] = []
        self._number = 0
        self._plant = Plant(broker)
        self.beside = ""
        """What goes wrong beside the present command."""
        self._restarted = -BACK
        self._held: dict[str, set[str]] = {"audit": set(), "check": set()}
        """Scopes that hold tasks of this name, as far as the commands could write them."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for engine in self._engines:
            engine.thaw()
            engine.kill()

    def play(self) -> None:
        """Play one scene, and lift what it has set."""
        self._fill()
        for _ in range(self._random.randint(2, 4)):
            with self._disturbed():
                self._random.choice(self._COMMANDS)(self)
        for engine in self._engines:
            engine.thaw()
        self._lift_all()

    # what goes wrong beside a command

    @contextmanager
    def _disturbed(self) -> Iterator[None]:
        kind = self._random.choice(["", "", "", "kill", "freeze", "twin", "broker"])
        engine = self._random.choice(self._engines)
        self.beside = f"{kind} {engine.name}" if kind else ""
        if kind == "broker":
            self._restarted = time.monotonic()
        if kind == "kill":
            engine.kill()
        elif kind == "freeze" and engine.alive:
            engine.freeze()
        elif kind == "twin":
            self._add(engine.name)
            self._wait_until_contested(engine.name)
        elif kind == "broker":
            self._broker.kill()
            self._broker.start()
        yield
        if kind == "freeze":
            engine.thaw()
        self._engines = [each for each in self._engines if each.alive]
        self._fill()

    def _wait_until_contested(self, name: str) -> None:
        """Wait until the two processes have met at the broker: before that, nobody can know that there are two."""
        shown: list[Any] = []

        def contested() -> bool:
            done, _ = self._cascade("ps", "--json")
            shown[:] = [done]
            rows = json.loads(done.stdout) if done.returncode == 0 and done.stdout else []
            return any(row["source"] == name and row.get("contested") for row in rows)

        found = wait_for(contested)
        if sum(each.alive for each in self._engines if each.name == name) > 1:
            self._claim(shown[0], "ps", f"{name} is one process", found, "there are two")

    def _fill(self) -> None:
        """Have two engines, each of which has started a task."""
        self._engines = [each for each in self._engines if each.alive and not each.ended]
        while len({engine.name for engine in self._engines}) < 2:
            free = [name for name in ("press-1", "press-2") if all(e.name != name for e in self._engines)]
            self._add(free[0])

    def _add(self, name: str) -> None:
        self._number += 1
        shift = self._random.choice([0.0, 0.0, HOUR, -HOUR])
        path = self._folder / f"{self._number}.log"
        engine = Engine(self._url, name, f"run-{self._number}", path, shift)
        self._engines.append(engine)
        held = all(self._held.values())
        wait_for(lambda: not engine.alive or engine.starts(0) or (held and path.exists()))

    # commands and their claims

    def _cascade(self, *arguments: str) -> tuple[Done, int]:
        done = self._plant.cascade(*arguments, environment={"CASCADE_BROKER": self._url})
        return done, time.monotonic_ns()

    def _pause(self) -> None:
        scope, engines, tasks = self._scope()
        done, at = self._cascade("pause", scope, "--wait", "--timeout", TIMEOUT, "--json", "--ttl", "10m")
        for task in tasks:
            self._held[task].add(scope)
        applied = self._answer(done).get("applied", [])
        # a broker that came back without its store knows no engine that has not come back, too
        all_known = done.returncode == 0 and self._all_linked
        time.sleep(0.3)
        for engine in engines:
            if engine.name in applied or all_known:
                found = sum(engine.starts(at, task) for task in tasks)
                self._claim(
                    done, f"pause {scope}", f"{engine.name} obeys", found == 0, f"{found} tasks started"
                )

    def _resume(self) -> None:
        scope, engines, tasks = self._scope()
        done, at = self._cascade("resume", scope, "--wait", "--timeout", TIMEOUT, "--json")
        for task in tasks:
            self._held[task].discard(scope)
        if done.returncode != 0:
            return
        applied = self._answer(done).get("applied", [])
        free = [task for task in tasks if not self._held[task]]
        # the command says that these do not go on: a broker may have brought back what was cleared before
        held = {each["source"] for each in self._answer(done).get("held", [])}
        for engine in engines:
            if not free or engine.frozen or not engine.alive or engine.ended or engine.name in held:
                continue
            if engine.name not in applied and not self._all_linked:
                continue
            goes_on = wait_for(partial(_goes_on, engine, at, free))
            self._claim(done, f"resume {scope}", f"{engine.name} goes on", goes_on, "no task started")

    def _cancel(self) -> None:
        engine = self._random.choice(self._engines)
        done, at = self._cascade("cancel", f"run:{engine.run_id}", "--wait", "--timeout", TIMEOUT, "--json")
        if done.returncode == 0 and not engine.frozen:
            over = wait_for(lambda: engine.ended or not engine.alive)
            self._claim(done, f"cancel {engine.run_id}", "it is cancelled", over, "it runs on")
            started = engine.starts(at)
            self._claim(done, f"cancel {engine.run_id}", "nothing starts", not started, f"{started} started")

    def _ps(self) -> None:
        done, _ = self._cascade("ps", "--json")
        if done.returncode != 0 or not self._all_linked:
            return
        listed = {row["source"] for row in json.loads(done.stdout)}
        for engine in self._engines:
            if engine.alive and engine.starts(0) and not engine.frozen:
                self._claim(done, "ps", "these are all engines", engine.name in listed, f"{engine.name} runs")

    def _constraints(self) -> None:
        done, _ = self._cascade("constraints", "--json")
        if done.returncode != 0 or not self._all_linked:
            return
        listed = {row["scope"] for row in json.loads(done.stdout)}
        since = time.monotonic_ns()
        time.sleep(0.5)
        for engine in self._engines:
            for task, scopes in self._held.items():
                running = engine.alive and not engine.frozen and not engine.ended and engine.starts(0, task)
                if running and not engine.starts(since, task) and not scopes & listed and scopes:
                    self._claim(
                        done, "constraints", "nothing holds", False, f"{engine.name} is held by {scopes}"
                    )

    _COMMANDS: tuple[Callable[[Scenes], None], ...] = (
        _pause,
        _pause,
        _resume,
        _resume,
        _cancel,
        _ps,
        _constraints,
    )

    @property
    def _all_linked(self) -> bool:
        """Whether every engine has had the time to come back to a broker that was started again."""
        return time.monotonic() - self._restarted > BACK

    def _lift_all(self) -> None:
        for scope in {scope for scopes in self._held.values() for scope in scopes}:
            self._cascade("clear", scope, "--wait", "--timeout", TIMEOUT)
        for scopes in self._held.values():
            scopes.clear()

    def _scope(self) -> tuple[str, list[Engine], list[str]]:
        """Return a scope, with the engines and the tasks that it covers."""
        kind = self._random.choice(["global", "source", "task"])
        if kind == "global":
            return "global", self._engines, ["audit", "check"]
        if kind == "task":
            return "task:audit*", self._engines, ["audit"]
        name = self._random.choice(self._engines).name
        return f"source:{name}", [each for each in self._engines if each.name == name], ["audit", "check"]

    def _answer(self, done: Done) -> dict[str, Any]:
        try:
            found = json.loads(done.stdout)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else found[0] if found else {}

    def _claim(self, done: Done, command: str, claim: str, holds: bool, truth: str) -> None:
        self.claims += 1
        if holds:
            return
        if any(word in done.stderr for word in LIMITS):
            self.named_limits += 1
            return
        self.lies.append(Lie(f"{command} (beside: {self.beside})", claim, truth, done.stderr))


LIMITS = (
    "does not show whether",
    "sends no retained messages",
    "two processes use the name",
    "not connected, so not waited for",
)
"""Words with which a command says that it could not know."""


def _goes_on(engine: Engine, since: int, tasks: list[str]) -> bool:
    return not engine.alive or engine.ended or any(engine.starts(since, task) for task in tasks)


def wait_for(condition: Callable[[], Any]) -> bool:
    """Return whether a condition becomes true in time."""
    deadline = time.monotonic() + min(SECONDS * busyness(), LONGEST)
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def seed_of_scenes() -> int:
    """Return the seed of this run: that of the suite, or another one each time."""
    return int(os.environ.get("CASCADE_TEST_SEED") or time.time_ns() % 10**9)
