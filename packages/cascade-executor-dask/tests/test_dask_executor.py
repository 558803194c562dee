"""What DaskExecutor does beyond the contract: local clusters, missing clusters, functions pickled by value."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import pytest_asyncio
from distributed import LocalCluster

from cascade.executors.dask import DaskExecutor
from cascade.executors.dask._cluster import Cluster
from cascade.interfaces import (
    ExecutorUnavailable,
    SupportsStart,
    TaskNotPicklableError,
    supports,
)
from cascade.testkit import eventually, no_leaks, time_limit
from cascade.testkit._executor import calls
from cascade.testkit._executor.children import children
from cascade.testkit.waiting import Deadline

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]  # Dask is slow on a busy machine


@pytest_asyncio.fixture
async def local() -> AsyncIterator[DaskExecutor]:
    """An executor with a local cluster of one process."""
    executor = DaskExecutor(workers=1)
    yield executor
    await executor.close()


@pytest.mark.full
async def test_a_local_cluster_starts_and_ends_with_its_executor() -> None:
    """It has the configured number of processes and leaves no process, thread or file; it can start again."""
    executor = DaskExecutor(workers=2)
    await executor.run(calls.echo, (1,), {})
    await executor.close()  # Dask keeps some objects open for ever; from here on they exist
    before = children()
    async with no_leaks(60):
        await executor.start()
        started = children().keys() - before.keys()
        assert len(started) == 2
        assert await executor.run(calls.process_id, (), {}) in started
        await executor.close()
        await eventually(lambda: not started & children().keys(), 60)


async def test_a_local_cluster_listens_on_loopback_only(local: DaskExecutor) -> None:
    """Neither the scheduler, nor a worker, nor a dashboard can be reached from another machine."""
    before = children()
    await local.start()
    workers = [psutil.Process(number) for number in children() if number not in before]
    listening = {
        connection.laddr.ip
        for process in [psutil.Process(), *workers]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert workers
    assert listening == {"127.0.0.1"}


async def test_functions_without_a_module_are_pickled_by_value(local: DaskExecutor) -> None:
    """A lambda, a nested function with its closure, and a function of the main script."""
    factor = 3

    def nested(x: int) -> int:
        return factor * x

    def of_the_script(x: int) -> int:
        return x - 1

    of_the_script.__module__, of_the_script.__qualname__ = "__main__", "of_the_script"
    assert await local.run(lambda x: x + 1, (1,), {}) == 2
    assert await local.run(nested, (2,), {}) == 6
    assert await local.run(of_the_script, (2,), {}) == 1


@pytest.mark.full
async def test_the_error_names_a_module_that_workers_do_not_have(
    local: DaskExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the task and the module."""
    await local.start()
    (tmp_path / "only_here.py").write_text("def work(): return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here  # type: ignore[import-not-found]

    with pytest.raises(TaskNotPicklableError, match=r"task 'work'.*No module named 'only_here'"):
        await local.run(only_here.work, (), {})


@pytest.mark.full
async def test_equal_calls_are_not_merged(local: DaskExecutor) -> None:
    """A task that is called twice with the same arguments runs twice."""
    times = [await local.run(time.monotonic_ns, (), {}) for _ in range(2)]
    assert times[0] != times[1]


@pytest.mark.full
@pytest.mark.parametrize("size", [0, 2_000])
async def test_abandoning_a_call_while_its_result_comes_affects_no_other(
    size: int, local: DaskExecutor
) -> None:
    """Dask's client fetches many results in one request: one cancellation must not end it for the others."""
    for _ in range(40):
        values = [(n, bytes(size)) for n in range(8)]
        calls_ = [asyncio.create_task(local.run(calls.echo, (value,), {})) for value in values]
        await asyncio.wait(calls_, return_when=asyncio.FIRST_COMPLETED)
        for call in calls_[::2]:
            call.cancel()
        await asyncio.wait(calls_)
        assert [call.result() for call in calls_[1::2]] == values[1::2]


@pytest.mark.full
async def test_more_than_ten_megabytes_cause_no_warning(local: DaskExecutor) -> None:
    """Dask's advice about large graphs does not concern users of Cascade."""
    assert await local.run(len, (bytes(20_000_000),), {}) == 20_000_000


async def test_a_missing_cluster_is_an_error_at_the_start(closed_port: int) -> None:
    """The error comes in time and has address, cause and remedy; no thread or file is left."""
    executor = DaskExecutor(f"tcp://127.0.0.1:{closed_port}", connect_timeout=0.3)
    assert supports(executor, SupportsStart)
    async with no_leaks():
        with pytest.raises(
            ExecutorUnavailable, match=rf"tcp://127\.0\.0\.1:{closed_port}.*dask scheduler"
        ) as raised:
            await executor.start()
        assert "0.3 s" in raised.value.cause
        await executor.close()


@pytest.mark.full
async def test_a_cluster_that_stops_fails_the_running_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scheduler is killed during a task: the error names address and task; the call does not hang."""
    made: list[Cluster] = []

    def make(*args: Any, **keywords: Any) -> Cluster:
        made.append(Cluster(*args, **keywords))
        return made[0]

    monkeypatch.setattr("cascade.executors.dask._executor.Cluster", make)
    script = str(Path(__file__).with_name("cluster.py"))
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout
        address = (await asyncio.to_thread(program.stdout.readline)).strip()
        executor = DaskExecutor(address, connect_timeout=60)
        call = asyncio.create_task(executor.run(calls.hold, (str(tmp_path),), {}))
        await eventually((tmp_path / "started").exists, 60)
        program.kill()
        made[0]._timeout = 0.3  # from here on nothing answers
        async with time_limit(60):
            with pytest.raises(ExecutorUnavailable, match=rf"{address}.*dropped task 'hold'"):
                await call
            with pytest.raises(ExecutorUnavailable, match=r"0\.3 s"):
                await executor.start()
        (tmp_path / "release").touch()
        await executor.close()


@pytest.mark.full
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3])
async def test_a_cancelled_start_leaves_nothing_behind(delay: float) -> None:
    """Wherever it is cancelled, no process is left after close."""
    before = children()
    executor = DaskExecutor(workers=1)
    with contextlib.suppress(TimeoutError):  # a fast machine starts within the longest delay
        async with asyncio.timeout(delay):
            await executor.start()
    await executor.close()
    await eventually(lambda: children().keys() <= before.keys(), 60)


# Whole programs.

GUARDED = """
import asyncio, sys
from cascade.executors.dask import DaskExecutor
from cascade.executors.dask._cluster import Cluster
from cascade.testkit._executor import calls

async def main():
    executor = DaskExecutor(workers=1)
    print(await executor.run(calls.process_id, (), {}), flush=True)
    await executor.run(calls.hold, (sys.argv[1],), {})
"""


def run(script: str, folder: Path) -> subprocess.Popen[str]:
    file = folder / "job.py"
    file.write_text(script)
    return subprocess.Popen(
        [sys.executable, str(file), str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], object]) -> None:
    deadline = Deadline(60)
    while not condition():
        assert not deadline.passed()
        time.sleep(0.01)


def test_a_script_without_a_guard_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    """Workers would import the script: it fails before one starts, and the last line has the remedy."""
    with run(GUARDED + "asyncio.run(main())\n", tmp_path) as program:
        _, errors = program.communicate(timeout=600)
    assert program.returncode == 1
    last = errors.splitlines()[-1]
    assert "ExecutorUnavailable: the local Dask cluster" in last
    assert "job.py has no `if __name__ == ...`" in last
    assert "put the code that the script runs under" in last


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])  # by name: Windows has no SIGKILL
def test_no_worker_outlives_the_program(tmp_path: Path, name: str) -> None:
    """A call runs, and the executor is not closed: no process is left after Ctrl-C or kill -9."""
    with run(GUARDED + "if __name__ == '__main__': asyncio.run(main())\n", tmp_path) as program:
        assert program.stdout
        worker = psutil.Process(int(program.stdout.readline()))
        wait_for((tmp_path / "started").exists)
        os.killpg(program.pid, signal.SIGINT) if name == "SIGINT" else program.kill()
        wait_for(lambda: not worker.is_running())
        assert program.wait(600) == -signal.Signals[name]


# How many calls run, and where.


CANCELLED = """
import asyncio, sys
from pathlib import Path
from cascade.executors.dask import DaskExecutor
from cascade.executors.dask._cluster import Cluster
from cascade.testkit._executor import calls

async def main():
    executor = DaskExecutor(workers=2, processes=False)
    held = [asyncio.create_task(executor.run(calls.hold, (sys.argv[1],), {})) for _ in range(6)]
    while not (Path(sys.argv[1]) / "started").exists():
        await asyncio.sleep(0.01)
    for call in held:
        call.cancel()
    await asyncio.wait(held)
    (Path(sys.argv[1]) / "release").touch()
    await executor.settle(60)
    await executor.close()

asyncio.run(main())
"""


def test_a_cancel_prints_nothing(tmp_path: Path) -> None:
    """Neither of calls that run nor of calls that wait: no "Task exception was never retrieved"."""
    with run(CANCELLED, tmp_path) as program:
        _, errors = program.communicate(timeout=600)
    assert (errors, program.returncode) == ("", 0)


async def test_the_cluster_keeps_no_result() -> None:
    """After the end of the executor, no report of a call either."""

    def report(value: bytes) -> bytes:
        from cascade.interfaces.call_context import in_call

        call = in_call.get()
        assert call is not None
        call.publish("row", 1)
        return value

    async with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, asynchronous=True, dashboard_address="127.0.0.1:0"
    ) as cluster:
        executor = DaskExecutor(cluster.scheduler_address)
        values = [bytes(n) for n in range(10)]
        assert await asyncio.gather(*(executor.run(report, (value,), {}) for value in values)) == values
        scheduler: Any = cluster.scheduler
        await eventually(lambda: not scheduler.tasks, 60)
        worker: Any
        (worker,) = cluster.workers.values()
        await eventually(lambda: not worker.data, 60)

        def kept() -> list[Any]:
            topics = [topic for topic in scheduler.get_events() if topic.startswith("cascade-")]
            return [event for topic in topics for event in scheduler.get_events(topic)]

        assert len(kept()) == 10
        await executor.close()
        assert kept() == []
