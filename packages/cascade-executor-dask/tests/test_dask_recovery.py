"""A recorded run on a cluster whose engine is killed with -9: no recorded step runs again, and step keys stay."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces import StepState
from cascade.runtime import SqliteState
from cascade.testkit import eventually
from cascade.testkit.waiting import busyness

HERE = Path(__file__).parent
PROGRAM = HERE / "recorded.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE)}
"""In which engine and workers import the tasks under one name."""
LIMIT = 60.0

pytestmark = [
    pytest.mark.process,
    pytest.mark.timeout(300),  # Dask is slow on a busy machine
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL"),
]


@pytest.fixture
def cluster() -> Iterator[subprocess.Popen[str]]:
    """Run a cluster with two worker processes, which prints its address."""
    command = [sys.executable, str(HERE / "cluster.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as cluster:
        yield cluster
        cluster.communicate(timeout=LIMIT * busyness())


@pytest.fixture
def address(cluster: subprocess.Popen[str]) -> str:
    """Return the address of the cluster."""
    assert cluster.stdout is not None
    return cluster.stdout.readline().strip()


def start(address: str, folder: Path, dies: str = "", *, errors: int | None = None) -> subprocess.Popen[str]:
    """Start the workflow, or the rest of it, in an engine of its own."""
    command = [sys.executable, str(PROGRAM), address, str(folder), dies]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=ENVIRONMENT)


def steps_in(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return what the calls of a task wrote of their step."""
    file = folder / name
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


@pytest.mark.full
async def test_a_killed_engine_repeats_no_recorded_step_on_a_cluster(address: str, tmp_path: Path) -> None:
    """The step that ran when its engine died runs again, with the same key; an orphan of it may still run."""
    state = SqliteState(tmp_path / "runs")
    with start(address, tmp_path, "dies") as engine:
        assert engine.wait(LIMIT * busyness()) == -signal.SIGKILL
    assert [(step.key, step.state) for step in state.steps("night")] == [("first:0", StepState.COMPLETED)]

    with start(address, tmp_path) as engine:
        await eventually(lambda: steps_in(tmp_path, "flight"), LIMIT)
        engine.kill()
        assert engine.wait() == -signal.SIGKILL
    (tmp_path / "go").touch()

    with start(address, tmp_path) as engine:
        assert engine.stdout is not None
        assert engine.stdout.read() == "42\n"
        assert engine.wait() == 0
    (first,), (last,) = steps_in(tmp_path, "first"), steps_in(tmp_path, "last")
    in_flight = steps_in(tmp_path, "flight")
    assert [step["attempt"] for step in (first, *in_flight, last)] == [1, 2, 3, 3]
    known = {(step["run_id"], step["key"], step["idempotency_key"]) for step in in_flight}
    ((run_id, key, idempotency_key),) = known
    assert (run_id, key, len(idempotency_key)) == ("night", "flight:0", 32)
    assert idempotency_key not in (first["idempotency_key"], last["idempotency_key"])
    assert {step.state for step in state.steps("night")} == {StepState.COMPLETED}


@pytest.mark.full
async def test_a_scheduler_that_dies_fails_the_run_in_one_message(
    cluster: subprocess.Popen[str], address: str, tmp_path: Path
) -> None:
    """It names the cluster; what Dask would print of its own tries to connect again says nothing more."""
    with start(address, tmp_path, errors=subprocess.PIPE) as engine:
        await eventually(lambda: steps_in(tmp_path, "flight"), LIMIT)
        cluster.kill()
        _, said = engine.communicate(timeout=LIMIT * busyness())
    (tmp_path / "go").touch()
    assert engine.returncode == 1
    assert f"ExecutorUnavailable: the Dask cluster at {address} cannot run tasks" in said
    assert "CancelledError" not in said
