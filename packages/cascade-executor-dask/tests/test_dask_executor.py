"""What DaskExecutor does beyond the contract: local clusters, clusters that are not there, functions that travel whole."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
import pytest_asyncio

from cascade.executors.dask import DaskExecutor
from cascade.interfaces import (
    ExecutorUnavailable,
    SupportsStart,
    TaskNotPicklableError,
    supports,
)
from cascade.testkit import eventually, no_leaks
from cascade.testkit._executor import calls
from cascade.testkit._executor.children import children

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]  # Dask takes long where others work too


@pytest_asyncio.fixture
async def local() -> AsyncIterator[DaskExecutor]:
    """An executor with a local cluster of one process."""
    executor = DaskExecutor(workers=1)
    yield executor
    await executor.close()


async def test_a_local_cluster_starts_and_ends_with_it() -> None:
    """It has as many processes as asked for, answers, and leaves no process, thread or file; then again."""
    executor = DaskExecutor(workers=2)
    await executor.run(calls.echo, (1,), {})
    await executor.close()  # from here on what Dask opens once and keeps is there
    before = children()
    async with no_leaks(60):
        await executor.start()
        assert len(children()) == len(before) + 2
        assert await executor.run(calls.process_id, (), {}) in children()
        await executor.close()
        assert children() == before


async def test_a_local_cluster_listens_on_loopback_only(local: DaskExecutor) -> None:
    """Neither the scheduler, nor a worker, nor a dashboard can be reached from elsewhere."""
    await local.start()
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = {
        connection.laddr.ip
        for process in family
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


async def test_functions_without_a_module_travel_whole(local: DaskExecutor) -> None:
    """A lambda, a nested function with what it closes over, and one of the script that was started."""
    factor = 3

    def nested(x: int) -> int:
        return factor * x

    def of_the_script(x: int) -> int:
        return x - 1

    of_the_script.__module__, of_the_script.__qualname__ = "__main__", "of_the_script"
    assert await local.run(lambda x: x + 1, (1,), {}) == 2
    assert await local.run(nested, (2,), {}) == 6
    assert await local.run(of_the_script, (2,), {}) == 1


async def test_a_module_that_workers_do_not_have_is_named(
    local: DaskExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error tells the task and the module."""
    await local.start()
    (tmp_path / "only_here.py").write_text("def work(): return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import only_here  # type: ignore[import-not-found]

    with pytest.raises(TaskNotPicklableError, match=r"task 'work'.*No module named 'only_here'"):
        await local.run(only_here.work, (), {})


async def test_equal_calls_are_not_merged(local: DaskExecutor) -> None:
    """A task that is called twice with the same arguments runs twice."""
    times = [await local.run(time.monotonic_ns, (), {}) for _ in range(2)]
    assert times[0] != times[1]


async def test_a_call_given_up_while_its_result_travels_harms_no_other(local: DaskExecutor) -> None:
    """Dask's client fetches many results in one request: nobody's cancellation may end that for the others."""
    for _ in range(40):
        calls_ = [asyncio.create_task(local.run(calls.echo, (n,), {})) for n in range(8)]
        await asyncio.wait(calls_, return_when=asyncio.FIRST_COMPLETED)
        for call in calls_[::2]:
            call.cancel()
        await asyncio.wait(calls_)
        assert [call.result() for call in calls_[1::2]] == [1, 3, 5, 7]


async def test_more_than_ten_megabytes_are_no_warning(local: DaskExecutor) -> None:
    """Dask's advice about large graphs is not for users of Cascade."""
    assert await local.run(len, (bytes(20_000_000),), {}) == 20_000_000


async def test_a_cluster_that_is_not_there_is_told_at_the_start() -> None:
    """Within its time, with address, cause and remedy; and nothing is left."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    executor = DaskExecutor(f"tcp://127.0.0.1:{port}", connect_timeout=0.3)
    assert supports(executor, SupportsStart)
    async with no_leaks():
        with pytest.raises(ExecutorUnavailable, match=rf"tcp://127\.0\.0\.1:{port}.*dask scheduler") as told:
            await executor.start()
        assert "0.3 s" in told.value.cause
        await executor.close()


async def test_a_server_that_does_not_answer_is_no_cluster() -> None:
    """The connection is accepted, and then nothing: told within its time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        executor = DaskExecutor(f"tcp://127.0.0.1:{server.getsockname()[1]}", connect_timeout=0.3)
        with pytest.raises(ExecutorUnavailable):
            await executor.run(calls.echo, (1,), {})
        await executor.close()


async def test_a_cluster_that_goes_away_fails_the_task_by_name(tmp_path: Path) -> None:
    """Its scheduler is killed in mid-task: the call ends with the address and the task, and does not hang."""
    script = str(Path(__file__).with_name("cluster.py"))
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout
        address = (await asyncio.to_thread(program.stdout.readline)).strip()
        executor = DaskExecutor(address, connect_timeout=0.3)
        call = asyncio.create_task(executor.run(calls.hold, (str(tmp_path),), {}))
        await eventually((tmp_path / "begun").exists, 60)
        program.kill()
        async with asyncio.timeout(60):
            with pytest.raises(ExecutorUnavailable, match=rf"{address}.*given up task 'hold'"):
                await call
            with pytest.raises(ExecutorUnavailable, match=r"0\.3 s"):
                await executor.start()
        (tmp_path / "release").touch()
        await executor.close()


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.3])
async def test_a_cancelled_start_leaves_nothing_behind(delay: float) -> None:
    """Wherever it is cancelled, all is free after close."""
    before = children()
    executor = DaskExecutor(workers=1)
    with contextlib.suppress(TimeoutError):  # a quick machine is done before the longest of them
        async with asyncio.timeout(delay):
            await executor.start()
    await executor.close()
    await eventually(lambda: children() == before, 60)


# Whole programs.

GUARDED = """
import asyncio, sys
from cascade.executors.dask import DaskExecutor
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
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_script_without_a_guard_is_told_what_to_write(tmp_path: Path) -> None:
    """Workers would import the script: it ends before one is started, and the last line has the remedy."""
    with run(GUARDED + "asyncio.run(main())\n", tmp_path) as program:
        _, said = program.communicate(timeout=120)
    assert program.returncode == 1
    last = said.splitlines()[-1]
    assert "ExecutorUnavailable: the local Dask cluster" in last
    assert "job.py has no `if __name__ == ...`" in last
    assert "put what the script runs under" in last


def test_a_script_without_a_guard_may_have_workers_in_threads(tmp_path: Path) -> None:
    """They import nothing."""
    script = GUARDED.replace("workers=1", "workers=1, processes=False").replace("calls.hold", "calls.meet")
    with run(
        script.replace("sys.argv[1],", "sys.argv[1], 'one', 1") + "asyncio.run(main())\n", tmp_path
    ) as program:
        said, _ = program.communicate(timeout=120)
    assert said == f"{program.pid}\n"
    assert program.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])  # by name: Windows has no SIGKILL
def test_no_worker_outlives_the_program(tmp_path: Path, name: str) -> None:
    """A call runs, and nobody closes: after Ctrl-C and after kill -9 no process is left."""
    with run(GUARDED + "if __name__ == '__main__': asyncio.run(main())\n", tmp_path) as program:
        assert program.stdout
        worker = psutil.Process(int(program.stdout.readline()))
        wait_for((tmp_path / "begun").exists)
        os.killpg(program.pid, signal.SIGINT) if name == "SIGINT" else program.kill()
        wait_for(lambda: not worker.is_running())
        assert program.wait(60) == -signal.Signals[name]
