"""Run the rows on two checkouts in turns: each run is a process of its own with that checkout's sources."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from figures.versions import Comparison, Run, orders

ROUNDS = 30
SHORT = ("startup", "engine", "event", "publish", "receive")
"""Measured unless groups are chosen. A round of all takes about 40 seconds, one of engine and event 10."""
EXCLUDED = {
    "control": "its rows use private modules, which another version may not have",
    "journal": "its rows use private modules, which another version may not have",
    "peers": "its rows measure other libraries",
}
"""Groups that cannot be compared, and why."""

_FOLDER = Path(__file__).parents[1]
THIS = _FOLDER.parents[2]


@dataclass(frozen=True, slots=True)
class Checkout:
    """A version: the folder with its ``packages``, and the Python that runs it."""

    folder: Path
    python: str = sys.executable

    def environment(self) -> Mapping[str, str]:
        """Return the environment in which Python imports this checkout before anything installed."""
        sources = [str(path) for path in sorted(self.folder.resolve().glob("packages/*/src"))]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(sources)}


@dataclass(frozen=True, slots=True)
class Sample:
    """One row in one run."""

    name: str
    unit: str
    value: float


def compare(
    group: str, this: Checkout, that: Checkout, rounds: int, *, quick: bool = False
) -> Iterator[Comparison]:
    """Measure a group ``rounds`` times on this checkout, on that one, and on this one again.

    :raises RuntimeError: if a process fails or imports the sources of another checkout.
    """
    checkouts = {Run.THIS: this, Run.THAT: that, Run.AGAIN: this}
    for checkout in (this, that):  # not counted: it compiles the sources and fills the caches of files
        measure(group, checkout, quick=True)
    samples: dict[tuple[str, str], dict[Run, list[float]]] = defaultdict(lambda: defaultdict(list))
    for order in islice(orders(), rounds):
        for run in order:
            for sample in measure(group, checkouts[run], quick=quick):
                samples[sample.name, sample.unit][run].append(sample.value)
    for (name, unit), runs in samples.items():
        yield Comparison(name, unit, *(runs[run] for run in Run))


def measure(group: str, checkout: Checkout, *, quick: bool) -> list[Sample]:
    """Measure a group once in a process of its own.

    A row such as "- peak memory" gets the name of the row above it as a prefix. Of rows that share a name only the
    first counts: they differ in what they are divided by, which a comparison leaves out.

    :raises RuntimeError: if the process fails or imports the sources of another checkout.
    """
    command = [checkout.python, "-m", "figures.programs.version", "quick" if quick else "brief", group]
    finished = subprocess.run(
        command, cwd=_FOLDER, env=checkout.environment(), capture_output=True, text=True, check=False
    )
    if finished.returncode:
        raise RuntimeError(f"{group} failed on {checkout.folder}:\n{finished.stderr.strip()}")
    first, *lines = (json.loads(line) for line in finished.stdout.splitlines())
    if not Path(first["sources"]).is_relative_to(checkout.folder.resolve()):
        raise RuntimeError(f"{checkout.folder} has no sources of cascade: {first['sources']} was imported")
    return list(_named(lines))


def _named(lines: Sequence[dict[str, str | float]]) -> Iterator[Sample]:
    above = ""
    seen: set[str] = set()
    for line in lines:
        name = str(line["name"])
        if name.startswith("- "):
            name = f"{above} {name}"
        else:
            above = name
        if name not in seen:
            seen.add(name)
            yield Sample(name, str(line["unit"]), float(line["value"]))
