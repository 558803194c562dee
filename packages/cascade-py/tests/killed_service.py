"""A service that is killed: its runs write what they do to files of their own, and wait at one place to be killed there."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pkgutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cascade as cs

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

STEPS = 3
FAILS = -1
"""A spot: the second step of this run fails."""
PATIENT: dict[str, Any] = {"keepalive": 120, "connect_timeout": 60}
"""Of links: one that a busy machine breaks has messages sent twice."""
_LOGS = "CASCADE_TEST_LOGS"


def note(id_: str, line: str) -> bool:
    """Add a line to the log of an id, on disk when this returns; return whether it had that line."""
    path = Path(os.environ[_LOGS]) / id_
    had = path.exists() and line in path.read_text().splitlines()
    with path.open("a") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())
    return had


@cs.task
def enter(id_: str) -> str:
    """Be the first step of a run that is held before its first step: a pause of this task does that."""
    note(id_, "begin 0")
    note(id_, "end 0")
    return id_


@cs.task
def step(id_: str, number: int, spot: int) -> str:
    """Do nothing, but wait to be killed the first time at the run's spot."""
    again = note(id_, f"begin {number}")
    if number == spot and not again:
        threading.Event().wait()
    if spot == FAILS and number == 2:
        raise ValueError(id_)
    note(id_, f"end {number}")
    return id_


def steps(done: cs.LazyResult[str] | str, spot: int) -> cs.LazyResult[str]:
    """One after another."""
    for number in range(1, STEPS):
        done = step(done, number, spot)
    return step(done, STEPS, spot)


@cs.workflow(overlap="allow")
def audit(id_: str, spot: int) -> cs.LazyResult[str]:
    """Wait in one of the steps."""
    return steps(id_, spot)


@cs.workflow(overlap="allow")
def held(id_: str, spot: int) -> cs.LazyResult[str]:
    """Wait before the first step."""
    return steps(enter(id_), spot)


def expected(spot: int) -> list[str]:
    """The whole log of a run that was killed at its spot and has gone on: there a step begins twice, and nowhere else."""
    if spot == FAILS:
        return ["begin 1", "end 1", "begin 2"]
    lines = [f"{word} {number}" for number in range(int(spot > 0), STEPS + 1) for word in ("begin", "end")]
    if spot > 0:
        lines.insert(lines.index(f"begin {spot}"), f"begin {spot}")
    return lines


def begin(url: str, state: Path, logs: Path) -> BaseProcess:
    """Start the service in a process of its own, a copy of one that has imported everything: a twentieth of the time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "cascade.connectors.mqtt", *_of_runs()])
    process = context.Process(target=_serve, args=(url, state, logs))
    process.start()
    return process


def _of_runs() -> list[str]:
    """Return the modules that a run imports when it needs them."""
    parts = [importlib.import_module(f"cascade.{name}") for name in ("runtime", "sdk", "transport", "wire")]
    found = (pkgutil.walk_packages(part.__path__, f"{part.__name__}.") for part in parts)
    return ["concurrent.futures.thread", *(each.name for modules in found for each in modules)]


def _serve(url: str, state: Path, logs: Path) -> None:
    os.environ[_LOGS] = str(logs)
    cs.serve(audit, held, connector=cs.connector(url, required=True, **PATIENT), state=str(state))
