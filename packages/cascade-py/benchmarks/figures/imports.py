"""Import time and memory: in a new environment from wheels, and in this one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from figures.measure import Settings
from figures.table import Row, at_most, no_more_than

TITLE = "CPU time and memory of imports; wheels: installed as the README says, in a new environment"

PLAIN = ("asyncio", "json", "logging")
CASCADE = ("cascade",)
MQTT = ("cascade.connectors.mqtt",)

_PROGRAM = Path(__file__).parent / "programs" / "importing.py"
_PACKAGES = Path(__file__).parents[3]
_MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """One import, once."""

    ms: float
    MB: float


def rows(settings: Settings) -> Iterator[Row]:
    """Measure from installed wheels, which is judged, then from where this runs (a checkout is slower).

    A comparison of two versions measures only their checkouts.
    """
    rounds = settings.rounds_or(25)
    if not settings.brief:
        with tempfile.TemporaryDirectory(prefix="cascade-bench-") as folder:
            yield from _rows("wheels", _install(Path(folder)), rounds, judge=True)
    yield from _rows("here", Path(sys.executable), rounds, judge=False)


def _install(folder: Path) -> Path:
    """Make an environment and install from the checkout into it; return its Python."""
    venv.create(folder, with_pip=True)
    names = ("cascade-interfaces", "cascade-runtime", "cascade-connector-mqtt", "cascade-py[mqtt]")
    paths = [str(_PACKAGES / name) for name in names]
    python = next(path for path in (folder / "bin/python", folder / "Scripts/python.exe") if path.exists())
    subprocess.run([python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *paths], check=True)
    return python


def _rows(where: str, python: Path, rounds: int, *, judge: bool) -> Iterator[Row]:
    plain, cascade, mqtt = _alternate(python, rounds)
    against = ", ".join(PLAIN)
    for name, costs, time, memory in (
        ("cascade", cascade, at_most(1.3), no_more_than(25)),
        ("cascade.connectors.mqtt", mqtt, no_more_than(180), no_more_than(32)),
    ):
        for label, unit, target in ((f"{where}: import {name}", "ms", time), ("- memory", "MB", memory)):
            ours, theirs = ([getattr(c, unit) for c in side] for side in (costs, plain))
            yield Row(label, unit, ours, against, theirs, target if judge else None)


def _alternate(python: Path, rounds: int) -> list[list[Cost]]:
    sides: tuple[tuple[str, ...], ...] = (PLAIN, CASCADE, MQTT)
    for names in sides:  # fills the caches of files
        _import(python, names)
    costs: list[list[Cost]] = [[] for _ in sides]
    for _ in range(rounds):
        for names, cost in zip(sides, costs, strict=True):
            cost.append(_import(python, names))
    return costs


def _import(python: Path, names: Sequence[str]) -> Cost:
    command = [str(python), "-P", str(_PROGRAM), *names]
    # A checkout is compiled once, as it is for a user: this variable would have every import compile it again.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    ended = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    taken, peak = ended.stdout.split()
    return Cost(float(taken) * 1e3, int(peak) / _MEBIBYTE)
