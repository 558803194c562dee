"""DaskExecutor as an engine uses it; its cluster is a stand-in whose one worker is threads of this process."""

import asyncio
import atexit
import contextlib
import threading
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from standins import StandInClient, StandInCluster

from cascade.executors.dask import DaskExecutor, _calls, _executor, _worker_side
from cascade.executors.dask._worker_side import run_call
from cascade.interfaces import Directive, ExecutorUnavailable
from cascade.interfaces.call_context import in_call
from cascade.testkit import eventually

LIMIT = 50.0


class LiveClient(StandInClient):
    """Runs the calls of its worker."""

    def __init__(self, threads: dict[str, int]) -> None:
        super().__init__(threads)
        self._pool = ThreadPoolExecutor(sum(threads.values()))
        self._loop = asyncio.get_running_loop()

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
        return {address: function(session, *args) for address in workers or self.threads}

    # Of the Dask worker in whose threads the calls run.

    state = SimpleNamespace(tasks={"key": SimpleNamespace(state="executing")})

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


@pytest.mark.parametrize("workers", [None, 1, 2, 5])
async def test_the_number_of_workers_is_that_of_the_user_or_of_the_threads(
    workers: int | None, clusters: list[LiveCluster]
) -> None:
    """The threads are known after the start."""
    executor = DaskExecutor("tcp://host:8786", workers=workers)
    assert executor.workers == (workers or 1)
    await executor.start()
    assert executor.workers == (workers or 2)
    assert await executor.run(int, ("12",), {"base": 8}) == 10
    await executor.close()


async def test_the_settings_of_the_connection_are_handed_on(clusters: list[LiveCluster]) -> None:
    """The address, or those of a local cluster."""
    for executor in (
        DaskExecutor("tcp://host:8786", workers=3, connect_timeout=7.0),
        DaskExecutor(workers=2, processes=False),
    ):
        await executor.start()
        await executor.close()
    remote, local = clusters
    assert (remote.address, remote.settings) == (
        "tcp://host:8786",
        {"workers": 3, "timeout": 7.0, "cluster": {}},
    )
    assert (local.address, local.settings) == (
        None,
        {"workers": 2, "timeout": 10.0, "cluster": {"processes": False}},
    )


async def test_what_was_never_used_needs_no_cluster(
    executor: DaskExecutor, clusters: list[LiveCluster]
) -> None:
    """A run that had no task for it settles and closes in an instant."""
    assert await executor.settle(LIMIT) == 0
    assert executor.runs_on() is None
    await executor.close()
    assert clusters == []


async def test_a_call_that_is_given_up_is_counted_until_it_ends(
    executor: DaskExecutor, gate: type[Gate]
) -> None:
    """Its end can be waited for; one that had ended by then is not counted."""
    ends: list[Any] = []

    async def abandoned() -> Any:
        try:
            await executor.run(hold, (), {})
        finally:
            ends.append(executor.runs_on())

    call = asyncio.create_task(abandoned())
    await eventually(gate.started.is_set)
    call.cancel()
    await asyncio.wait({call})
    (end,) = ends
    assert not end.done()
    assert await executor.settle(0.0) == 1
    gate.released.set()
    assert await executor.settle(LIMIT) == 0
    async with asyncio.timeout(LIMIT):
        await end
    assert await executor.run(abs, (-1,), {}) == 1
    assert executor.runs_on() is None


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


class Context:
    """What the engine hears of one call, and tells it."""

    step = None

    def __init__(self) -> None:
        self.notify: list[Any] = []
        self.heard: list[Any] = []

    def follow(self, notify: Any) -> Any:
        self.notify.append(notify)
        return self.notify.clear

    def progress(self, *content: Any) -> None:
        self.heard.append(content)

    def publish(self, *content: Any) -> None:
        self.heard.append(content)

    def arrived(self, *, paused: bool) -> None:
        self.heard.append(paused)


def visit() -> str:
    """Wait at a checkpoint until nothing holds it."""
    call = in_call.get()
    assert call is not None
    call.publish("table", {"n": 1})
    while not _visits.is_set():
        call.checkpoint(None)
    return "visited"


_visits = threading.Event()


async def test_a_call_with_a_context_is_steered_and_heard_until_it_ends(executor: DaskExecutor) -> None:
    """After its end nothing follows the directives any more."""
    _visits.clear()
    context: Any = Context()
    call = asyncio.create_task(executor.run_with(context, visit, (), {}))
    await eventually(lambda: context.heard)
    context.notify[0](Directive.PAUSE)
    await eventually(lambda: True in context.heard)
    _visits.set()
    context.notify[0](Directive.RUN)
    assert await call == "visited"
    assert context.heard == [("table", {"n": 1}), True, False]
    assert context.notify == []


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
