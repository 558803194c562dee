"""Settings of DaskExecutor, and the executor as an engine uses it; its cluster is a stand-in whose one worker is threads of this process."""

import asyncio
import atexit
import contextlib
import inspect
import threading
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from standins import StandInClient, StandInCluster

from cascade.executors.dask import DaskExecutor, _calls, _executor, _worker_side
from cascade.executors.dask._worker_side import run_call
from cascade.interfaces import ConfigurationError, ExecutorUnavailable
from cascade.testkit import eventually

LIMIT = 50.0


class LiveClient(StandInClient):
    """Runs the calls of its worker."""

    def __init__(self, threads: dict[str, int]) -> None:
        super().__init__(threads)
        self._pool = ThreadPoolExecutor(sum(threads.values()))
        self._loop = asyncio.get_running_loop()
        self.plugins: dict[str, Any] = {}

    def submit(
        self, function: Any, session: str, number: int, *args: Any, workers: list[str], **options: Any
    ) -> Any:
        """Run a call."""
        future = super().submit(function, session, number, *args, workers=workers)
        running = self._pool.submit(run_call, session, number, *args)
        running.add_done_callback(lambda ended: self._post(future.give, ended.result()))
        return future

    async def run(
        self, function: Any, session: str, *args: Any, workers: Iterable[str] = (), on_error: str = "raise"
    ) -> dict[str, Any]:
        """Do what the worker would."""
        found = {}
        for address in workers or self.threads:
            # a coroutine function is told its worker
            asked = inspect.iscoroutinefunction(function)
            found[address] = await function(session, self) if asked else function(session, *args)
        return found

    # Of the Dask worker in whose threads the calls run.

    state = SimpleNamespace(tasks={"key": SimpleNamespace(state="executing")})

    address = "a"

    async def plugin_add(self, plugin: Any, name: str) -> None:
        """Keep a plugin."""
        self.plugins[name] = plugin

    async def plugin_remove(self, name: str) -> None:
        """Forget a plugin."""
        del self.plugins[name]

    def get_current_task(self) -> str:
        """Return the key of the task that runs in this thread."""
        return "key"

    def log_event(self, topic: str, text: str) -> None:
        """Send an event of a topic."""
        self._post(self.report, text)

    def _post(self, function: Any, *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function, *args)


class LiveCluster(StandInCluster):
    """Connects to a worker with two threads."""

    made: list["LiveCluster"]

    def __init__(self, address: str | None, **settings: Any) -> None:
        self.address = address
        self.settings = settings
        super().__init__()
        self.client = LiveClient({"a": 2})
        self.made.append(self)


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> list[LiveCluster]:
    """Put the stand-in in the place of the connection; return those that were made."""
    made: list[LiveCluster] = []
    monkeypatch.setattr(LiveCluster, "made", made, raising=False)
    monkeypatch.setattr(_executor, "Cluster", LiveCluster)
    monkeypatch.setattr(_calls, "_POLL", 0.001)
    monkeypatch.setattr(_worker_side, "get_worker", lambda: made[-1].client)
    return made


@pytest.fixture
async def executor(clusters: list[LiveCluster]) -> AsyncIterator[DaskExecutor]:
    """An executor whose connection is made when it is needed."""
    made = DaskExecutor("tcp://host:8786")
    yield made
    await made.close()


class Gate:
    """Holds the calls of :func:`hold`."""

    started = threading.Event()
    released = threading.Event()


@pytest.fixture
def gate() -> type[Gate]:
    """Return a gate that is closed, through which no call has come."""
    Gate.started.clear()
    Gate.released.clear()
    return Gate


def hold() -> str:
    """Return when the gate is opened."""
    Gate.started.set()
    assert Gate.released.wait(LIMIT)
    return "released"


def test_the_number_of_workers_is_estimated_until_the_cluster_runs() -> None:
    assert DaskExecutor(n_workers=2, threads_per_worker=3).workers == 6


async def test_it_counts_the_threads_of_the_cluster_and_tells_who_watches(
    executor: DaskExecutor, clusters: list[LiveCluster]
) -> None:
    """Once for each change; who has stopped to watch hears nothing more, and may say so twice."""
    heard: list[str] = []
    stop = executor.watch_workers(lambda: heard.append("one"))
    executor.watch_workers(lambda: heard.append("other"))
    assert executor.workers == 1
    await executor.start()
    await eventually(lambda: len(heard) == 2)
    assert heard == ["one", "other"]
    assert executor.workers == 2
    await executor.start()
    stop()
    stop()
    clusters[0].client.threads["a"] = 3
    await executor.start()
    await eventually(lambda: len(heard) == 3)
    assert heard[2] == "other"
    assert executor.workers == 3
    assert len(clusters) == 1


async def test_an_error_of_the_cluster_is_raised_and_one_of_the_call_too(
    executor: DaskExecutor, clusters: list[LiveCluster], gate: type[Gate]
) -> None:
    """Each as what it is; the executor goes on."""
    with pytest.raises(ValueError, match="invalid literal"):
        await executor.run(int, ("x",), {})
    error = ExecutorUnavailable("the cluster", "no answer", "start it")
    clusters[0].error = error
    with pytest.raises(ExecutorUnavailable, match="no answer"):
        await executor.run(hold, (), {})
    gate.released.set()
    with pytest.raises(ExecutorUnavailable, match="no answer"):
        await executor.start()
    clusters[0].error = None
    assert await executor.run(abs, (-1,), {}) == 1


async def test_loops_in_several_threads_share_one_connection(
    executor: DaskExecutor, clusters: list[LiveCluster]
) -> None:
    """Each gets its own results on its own loop."""

    async def work(first: int) -> list[int]:
        return [*await asyncio.gather(*(executor.run(abs, (-n,), {}) for n in range(first, first + 10)))]

    threads = [asyncio.to_thread(asyncio.run, work(first)) for first in (0, 100)]
    found = await asyncio.gather(work(200), *threads)
    assert found == [[*range(first, first + 10)] for first in (200, 0, 100)]
    assert len(clusters) == 1


async def test_after_its_end_it_can_be_used_again(
    executor: DaskExecutor, clusters: list[LiveCluster], monkeypatch: pytest.MonkeyPatch, gate: type[Gate]
) -> None:
    """With a new connection; what runs fails in words; and the end of the program has nothing left to close."""
    registered: list[Any] = []
    monkeypatch.setattr(atexit, "register", lambda function, *_: registered.append(function))
    monkeypatch.setattr(atexit, "unregister", registered.remove)
    call = asyncio.create_task(executor.run(hold, (), {}))
    await eventually(gate.started.is_set)
    assert len(registered) == 1
    closing = asyncio.create_task(executor.close())
    with pytest.raises(ExecutorUnavailable, match="the executor was closed"):
        await call
    gate.released.set()
    await closing
    await executor.close()
    assert clusters[0].closed == 1
    assert registered == []
    assert await executor.run(abs, (-1,), {}) == 1
    assert len(clusters) == 2
    await executor.close()
    assert registered == []


def test_the_end_of_the_program_closes_what_it_forgot(
    clusters: list[LiveCluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop that used it is gone by then."""
    registered: list[Any] = []
    monkeypatch.setattr(atexit, "register", lambda *call: registered.append(call))
    executor = DaskExecutor("tcp://host:8786")
    assert asyncio.run(executor.run(abs, (-1,), {})) == 1
    ((function, seconds),) = registered
    assert seconds > 0
    function(LIMIT)
    assert clusters[0].closed == 1


LOCAL = SimpleNamespace(scheduler_address="tcp://127.0.0.1:1")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"address": ""}, r"address=.*tcp://host:8786"),
        ({"address": 8786}, "address="),
        ({"workers": 0}, "workers=.*whole number from 1"),
        ({"connect_timeout": 0}, "connect_timeout=.*above 0"),
        ({"address": "tcp://host:8786", "n_workers": 3}, r"n_workers=\): is for a local cluster"),
        ({"cluster": 7}, r"cluster=\): needs a cluster object of Dask, such as LocalCluster\(\), not 7"),
        ({"cluster": LOCAL, "address": "tcp://host:8786"}, r"address=, cluster=\): are two ways to name one"),
        ({"cluster": LOCAL, "n_workers": 3}, r"n_workers=\): is for a local cluster; .* or the cluster"),
    ],
)
def test_an_invalid_setting_is_rejected(settings: dict[str, Any], problem: str) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match=problem):
        DaskExecutor(**settings)
