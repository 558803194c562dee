"""What DaskExecutor does beyond the contract: local clusters, missing clusters, functions pickled by value."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import Any

import dask
import psutil  # type: ignore[import-untyped]
import pytest
import pytest_asyncio
from distributed import Client, LocalCluster
from distributed.comm.core import CommClosedError
from distributed.scheduler import WorkerStatusPlugin

from cascade.executors.dask import DaskExecutor
from cascade.executors.dask._cluster import CLOSE_TIMEOUT, Cluster
from cascade.executors.dask._sessions import Sessions
from cascade.interfaces import (
    ExecutorUnavailable,
    SupportsStart,
    TaskNotPicklableError,
    TaskState,
    TaskStateEvent,
    WorkerLostError,
    supports,
)
from cascade.runtime import Engine
from cascade.spec import task
from cascade.testkit import eventually, no_leaks, time_limit
from cascade.testkit._executor import calls
from cascade.testkit._executor.children import children
from cascade.testkit.waiting import Patience

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


async def test_a_server_that_does_not_answer_is_an_error() -> None:
    """The server accepts the connection and sends nothing: the error comes in time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        executor = DaskExecutor(f"tcp://127.0.0.1:{server.getsockname()[1]}", connect_timeout=0.3)
        with pytest.raises(ExecutorUnavailable):
            await executor.run(calls.echo, (1,), {})
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
    patience = Patience(60)
    while not condition():
        assert not patience.over()
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
def test_a_script_without_a_guard_can_use_threads_as_workers(tmp_path: Path) -> None:
    """Threads do not import the script."""
    script = GUARDED.replace("workers=1", "workers=1, processes=False").replace("calls.hold", "calls.meet")
    with run(
        script.replace("sys.argv[1],", "sys.argv[1], 'one', 1") + "asyncio.run(main())\n", tmp_path
    ) as program:
        output, _ = program.communicate(timeout=600)
    assert output == f"{program.pid}\n"
    assert program.returncode == 0


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


def in_process() -> DaskExecutor:
    """Return an executor whose workers are threads of this process: they start quickly."""
    return DaskExecutor(workers=2, processes=False)


async def test_no_more_calls_are_running_than_threads() -> None:
    """A run of many small tasks: their values are right, and never more than two are reported as running."""
    executor = in_process()
    engine = Engine(executor=executor)
    events: list[TaskStateEvent] = []
    engine.bus.subscribe(TaskStateEvent, events.append)
    echo = task(calls.echo)
    assert await engine.run([echo(n) for n in range(100)]) == list(range(100))
    most, now = 0, set[str]()
    for event in events:
        now.add(event.task_id) if event.state is TaskState.RUNNING else now.discard(event.task_id)
        most = max(most, len(now))
    assert most == 2
    assert len(events) == 200
    await executor.close()


async def test_calls_behind_a_long_one_do_not_wait_for_it(tmp_path: Path) -> None:
    """All short calls end while one long call holds its thread."""
    executor = in_process()
    await asyncio.gather(*(executor.run(calls.echo, (n,), {}) for n in range(20)))
    long = asyncio.create_task(executor.run(calls.hold, (str(tmp_path),), {}))
    await eventually((tmp_path / "started").exists, 60)
    async with time_limit(60):
        assert await asyncio.gather(*(executor.run(calls.echo, (n,), {}) for n in range(50))) == list(
            range(50)
        )
    assert not long.done()
    (tmp_path / "release").touch()
    assert await long == "released"
    await executor.close()


async def test_a_worker_that_joins_is_used_by_the_run_that_is_active(tmp_path: Path) -> None:
    """Two tasks wait for each other; the second worker comes when the first one is busy."""
    async with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, asynchronous=True, dashboard_address="127.0.0.1:0"
    ) as cluster:
        executor = DaskExecutor(cluster.scheduler_address)
        meet = task(calls.meet)
        run = asyncio.create_task(
            Engine(executor=executor).run([meet(str(tmp_path), "a", 2), meet(str(tmp_path), "b", 2)])
        )
        await eventually(lambda: any(tmp_path.iterdir()), 60)
        cluster.scale(2)
        assert await run == [True, True]
        assert executor.workers == 2
        await executor.close()


@pytest.mark.full
async def test_a_lost_worker_fails_its_call_once(local: DaskExecutor, tmp_path: Path) -> None:
    """The error counts one start, which is true although Dask would have run the call again."""
    with pytest.raises(WorkerLostError, match=r"task 'die_once_more' was started once.*tcp://127") as raised:
        await local.run(calls.die_once_more, (str(tmp_path),), {})
    assert raised.value.attempts == 1
    assert await local.run(calls.echo, (2,), {}) == 2
    assert (tmp_path / "deaths").read_text() == "died\n"


@pytest.mark.full
async def test_the_function_of_a_task_is_sent_as_the_name_of_its_task(
    local: DaskExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the function's name in its module a worker finds the task, whose function it takes."""
    module = "from cascade.spec import task\n@task\ndef double(x): return 2 * x\n"
    (tmp_path / "tasks_for_dask.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    import tasks_for_dask  # type: ignore[import-not-found]

    assert await local.run(tasks_for_dask.double.function, (4,), {}) == 8


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


@pytest.mark.full
@pytest.mark.parametrize("processes", [False, True])
async def test_a_local_cluster_closes_when_it_has_heard_that_its_workers_have_ended(
    processes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scheduler, which here reports with a delay, would print on stderr that nothing takes what it reports."""
    begin = WorkerStatusPlugin.__init__

    def late(self: Any, scheduler: Any, comm: Any) -> None:
        begin(self, scheduler, comm)
        self.bcomm.interval = 0.5

    monkeypatch.setattr(WorkerStatusPlugin, "__init__", late)
    close, known = LocalCluster.close, list[list[str]]()

    def closing(cluster: Any, timeout: Any = None) -> Any:
        known.append([*cluster.scheduler_info["workers"]])
        return close(cluster, timeout)

    monkeypatch.setattr(LocalCluster, "close", closing)
    executor = DaskExecutor(workers=2, processes=processes)
    assert await executor.run(calls.echo, (1,), {}) == 1
    await executor.close()
    assert known == [[]]


async def test_a_start_connects_again_if_the_connection_was_just_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its client may not know that yet."""
    clients: list[Any] = []
    asked: Any = Client.nthreads

    def ask(client: Any) -> Any:
        clients.append(client)
        if len(clients) == 2:
            raise CommClosedError("the scheduler has gone")
        return asked(client)

    async with LocalCluster(
        n_workers=1, processes=False, asynchronous=True, dashboard_address="127.0.0.1:0"
    ) as cluster:
        monkeypatch.setattr(Client, "nthreads", ask)
        executor = DaskExecutor(cluster.scheduler_address)
        await executor.start()
        await executor.start()
        assert clients[1] is clients[0]
        assert clients[2] is not clients[1]
        assert await executor.run(calls.echo, (1,), {}) == 1
        await executor.close()


async def test_a_local_cluster_that_cannot_start_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has started by then would otherwise go on for ever."""
    closed: list[float] = []

    class Broken:
        def __init__(self, **_: object) -> None:
            pass

        def __await__(self) -> Generator[Any, None, None]:
            return self.start().__await__()

        async def start(self) -> None:
            raise RuntimeError("no port is free.")

        async def close(self, timeout: float) -> None:
            closed.append(timeout)

    monkeypatch.setattr("cascade.executors.dask._cluster.LocalCluster", Broken)
    executor = DaskExecutor(processes=False)
    with pytest.raises(ExecutorUnavailable, match=r"it did not start \(no port is free\)"):
        await executor.run(calls.echo, (1,), {})
    assert closed == [CLOSE_TIMEOUT]
    await executor.close()


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


@pytest.mark.full
async def test_no_call_is_sent_to_a_worker_that_was_just_lost(tmp_path: Path) -> None:
    """The cluster may list it a moment longer; the next call waits for another one, or for its successor."""
    executor = DaskExecutor(workers=2)
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):  # Dask reports the loss at once
        await executor.start()
    with pytest.raises(WorkerLostError):
        await executor.run(calls.die_once_more, (str(tmp_path),), {})
    assert await asyncio.gather(*(executor.run(calls.echo, (n,), {}) for n in range(4))) == [0, 1, 2, 3]
    await executor.close()


class StuckClient:
    """Workers of a cluster of which one does not answer, until it is released."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def run(self, function: Any, *args: Any, workers: list[str], **_: Any) -> dict[str, Any]:
        if workers == ["stuck"]:
            await self.released.wait()
        return dict.fromkeys(workers)


async def test_a_worker_that_does_not_answer_delays_no_other() -> None:
    """It may be stopped; the others are used, and it is used when it answers."""
    opened: list[None] = []
    sessions = Sessions("session", opened=lambda: opened.append(None))
    client = StuckClient()
    threads = {"stuck": 1, "well": 2}
    sessions.open_at(client, threads)
    await eventually(lambda: opened)
    assert sessions.among(threads) == {"well": 2}
    await sessions.wait(0.01)  # returns
    client.released.set()
    await eventually(lambda: sessions.among(threads) == threads)
    sessions.open_at(client, {"well": 2})
    assert sessions.among(threads) == {"well": 2}
    await sessions.close()
