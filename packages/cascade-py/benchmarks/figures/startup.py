"""The cost of a small program from its start to its exit, installed as the README says, in a new environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cascade.testkit.brokers import Broker, start_broker
from figures.measure import Settings
from figures.table import Row, Target, at_most, no_more_than

TITLE = "programs of one task from start to exit, from wheels in a new environment; the command"

_PROGRAMS = Path(__file__).parent / "programs"
_PACKAGES = Path(__file__).parents[3]
_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """One process, from start to exit, in milliseconds."""

    cpu: float
    wall: float


def rows(settings: Settings) -> Iterator[Row]:
    """Measure from installed wheels; a comparison of two versions measures their checkouts."""
    rounds = settings.rounds_or(25)
    with tempfile.TemporaryDirectory(prefix="cascade-bench-") as folder, start_broker() as broker:
        python = sys.executable if settings.brief else _install(Path(folder))
        yield from _programs(python, broker, rounds)
        yield from _commands(python, broker, rounds)


def _install(folder: Path) -> str:
    """Make an environment, install the README's distributions from this checkout into it, and return its Python."""
    venv.create(folder, with_pip=True)
    names = (
        "cascade-interfaces",
        "cascade-runtime",
        "cascade-connector-mqtt",
        "cascade-py[cli,mqtt]",
        "cascade-cli",
    )
    python = next(path for path in (folder / "bin/python", folder / "Scripts/python.exe") if path.exists())
    paths = [str(_PACKAGES / name) for name in names]
    subprocess.run([python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *paths], check=True)
    return str(python)


def _programs(python: str, broker: Broker, rounds: int) -> Iterator[Row]:
    def program(name: str, *arguments: str) -> Callable[[], Cost]:
        return partial(_run, [python, str(_PROGRAMS / name), *arguments])

    port = str(broker.port)
    sides = [
        program("hello_asyncio.py"),
        program("hello.py"),
        program("hello_aiomqtt.py", port),
        program("hello.py", port),
    ]
    plain, alone, aiomqtt, named = _alternate(sides, rounds)
    yield _cpu("hello.py, no connector", alone, "plain asyncio", plain, no_more_than(85))
    yield from _sizes(python, None, None)
    yield _cpu("hello.py, named MqttConnector", named, "plain asyncio", plain, at_most(2.3))
    yield _cpu("- the same beside aiomqtt", named, "plain aiomqtt", aiomqtt, at_most(1.4))
    yield from _sizes(python, 28, 110, port)


def _sizes(python: str, memory: float | None, modules: float | None, *arguments: str) -> Iterator[Row]:
    """Measure the peak memory and count the modules of Cascade, once: both hardly vary."""
    command = [python, str(_PROGRAMS / "measured.py"), str(_PROGRAMS / "hello.py"), *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment())
    sizes = json.loads(done.stdout)
    yield Row(
        "- peak memory", "MB", [sizes["peak"] / _MEBIBYTE], target=(memory and no_more_than(memory)) or None
    )
    yield Row(
        "- modules of Cascade", "", [sizes["modules"]], target=(modules and no_more_than(modules)) or None
    )


def _commands(python: str, broker: Broker, rounds: int) -> Iterator[Row]:
    environment = {"CASCADE_BROKER": broker.url}

    def command(*words: str) -> Callable[[], Cost]:
        return partial(_run, [python, "-m", "cascade.cli", *words], environment)

    hello = f"{_PROGRAMS / 'hello.py'}:hello"
    run, help_page, pause = _alternate(
        [
            command("run", hello, "--name", "x", "-p", "name=x", "--quiet"),
            command("--help"),
            command("pause", "source:absent"),
        ],
        rounds,
    )
    yield Row(
        "cascade run hello.py --name x, CPU", "ms", [each.cpu for each in run], target=no_more_than(160)
    )
    yield Row("- the same, wall clock", "ms", [each.wall for each in run], target=no_more_than(350))
    yield Row("cascade --help", "ms", [each.wall for each in help_page], target=no_more_than(140))
    yield Row("cascade pause", "ms", [each.wall for each in pause], target=no_more_than(230))


def _cpu(name: str, ours: list[Cost], against: str, theirs: list[Cost], target: Target) -> Row:
    return Row(name, "ms CPU", [each.cpu for each in ours], against, [each.cpu for each in theirs], target)


def _alternate(sides: list[Callable[[], Cost]], rounds: int) -> list[list[Cost]]:
    for side in sides:
        side()  # compiles modules and fills the caches of files
    costs: list[list[Cost]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, samples in zip(sides, costs, strict=True):
            samples.append(side())
    return costs


def _run(command: list[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a process to its end.

    :raises RuntimeError: if it fails.
    """
    before, began = _children(), time.perf_counter()
    done = subprocess.run(
        command, capture_output=True, text=True, env=_environment() | dict(environment or {}), check=False
    )
    wall, cpu = time.perf_counter() - began, _children() - before
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return Cost(cpu * 1e3, wall * 1e3)


def _children() -> float:
    """Return the CPU time of all children that have ended, in seconds."""
    import resource  # not on Windows, where these rows cannot be measured

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _environment() -> dict[str, str]:
    # A checkout is compiled once, as it is for a user: this variable would have every import compile it again.
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
