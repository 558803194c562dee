"""Short results come with the end of their call; longer ones are fetched. Both are released."""

import asyncio
import os
import signal
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import pytest
import pytest_asyncio
from distributed import LocalCluster

from cascade.executors.dask import DaskExecutor
from cascade.executors.dask._line import ExecutorLine
from cascade.executors.dask._placement import Call
from cascade.executors.dask._results import SHORT, Results
from cascade.interfaces import WorkerLostError
from cascade.interfaces.numbered_calls import SentAnswer
from cascade.interfaces.pickled_calls import pack_call, run_packed
from cascade.testkit import eventually, time_limit
from cascade.testkit._executor import calls
from cascade.testkit._executor.children import children

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]  # Dask is slow on a busy machine

LIMIT = 60.0


@pytest_asyncio.fixture
async def executor() -> AsyncIterator[DaskExecutor]:
    """An executor whose two workers are threads of this process."""
    executor = DaskExecutor(workers=2, processes=False)
    yield executor
    await executor.close()


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the Dask futures whose results are fetched."""
    fetch, seen = Results.fetch, list[Any]()

    async def recorded(self: Results, future: Any) -> Any:
        seen.append(future)
        return await fetch(self, future)

    monkeypatch.setattr(Results, "fetch", recorded)
    return seen


def packed_size(value: object) -> int:
    """Return how many bytes the result of a call that returns ``value`` has."""
    return len(run_packed(pack_call(calls.echo, (value,), {}, pack=cloudpickle.dumps), cloudpickle.dumps))


def value_of_size(size: int) -> bytes:
    """Return a value whose packed result has that many bytes."""
    value = bytes(size - packed_size(bytes(500)) + 500)
    assert packed_size(value) == size
    return value


@pytest.mark.parametrize(("beyond", "requests"), [(0, 0), (1, 1), (50_000, 1)])
async def test_a_result_up_to_the_bound_is_not_fetched(
    beyond: int, requests: int, executor: DaskExecutor, fetched: list[Any]
) -> None:
    """One that has exactly that many bytes comes on its own; one byte more does not travel twice."""
    value = value_of_size(SHORT + beyond)
    assert await executor.run(calls.echo, (value,), {}) == value
    assert len(fetched) == requests


async def test_short_and_long_results_of_many_calls_are_theirs(
    executor: DaskExecutor, fetched: list[Any]
) -> None:
    """Those that come on their own overtake none that are fetched; errors are raised as ever."""
    values = [value_of_size(SHORT + 1) if n % 3 == 0 else n for n in range(60)]
    assert await asyncio.gather(*(executor.run(calls.echo, (value,), {}) for value in values)) == values
    assert len(fetched) == 20
    with pytest.raises(KeyError, match="nowhere"):
        await executor.run(calls.fail, (KeyError, "nowhere"), {})


async def test_a_short_result_that_does_not_come_is_fetched(
    executor: DaskExecutor, fetched: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the client has connected anew meanwhile."""
    monkeypatch.setattr(ExecutorLine, "_take_answer", lambda *_: None)
    values = [*range(20)]
    assert await asyncio.gather(*(executor.run(calls.echo, (n,), {}) for n in values)) == values
    assert len(fetched) == 20


async def test_the_cluster_keeps_no_result() -> None:
    """Neither a short one nor a long one; after the end of the executor, no report of one either."""
    async with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, asynchronous=True, dashboard_address="127.0.0.1:0"
    ) as cluster:
        executor = DaskExecutor(cluster.scheduler_address)
        values = [value_of_size(SHORT + n % 2) for n in range(20)]
        assert await asyncio.gather(*(executor.run(calls.echo, (value,), {}) for value in values)) == values
        scheduler: Any = cluster.scheduler
        await eventually(lambda: not scheduler.tasks, LIMIT)
        worker: Any
        (worker,) = cluster.workers.values()
        await eventually(lambda: not worker.data, LIMIT)

        def kept() -> list[Any]:
            topics = [topic for topic in scheduler.get_events() if topic.startswith("cascade-")]
            return [event for topic in topics for event in scheduler.get_events(topic)]

        assert len(kept()) == 10
        await executor.close()
        assert kept() == []


@pytest_asyncio.fixture
async def local() -> AsyncIterator[DaskExecutor]:
    """An executor with a cluster of one process."""
    executor = DaskExecutor(workers=1)
    yield executor
    await executor.close()


@pytest.mark.full
async def test_an_answer_counts_although_its_worker_dies_before_it_reports_the_end(
    local: DaskExecutor, tmp_path: Path
) -> None:
    """The call has returned; it neither fails nor runs again, and nothing of it is kept for ever."""

    def answer_and_die(folder: str) -> str:
        from cascade.interfaces import numbered_calls

        def die(*_: object) -> None:  # after the answer was sent, before Dask hears of the end
            while not (Path(folder) / "die").exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

        with (Path(folder) / "runs").open("a") as file:
            file.write("run\n")
        session: Any = numbered_calls._Session
        session.end = die
        return "answered"

    worker = await local.run(calls.process_id, (), {})
    assert await local.run(answer_and_die, (str(tmp_path),), {}) == "answered"
    (tmp_path / "die").touch()
    await eventually(lambda: worker not in children(), LIMIT)
    async with time_limit(LIMIT):
        assert await survivor(local) != worker
    assert (tmp_path / "runs").read_text() == "run\n"
    assert local._portal is not None
    _, at_the_cluster = local._portal._entered.result()
    await eventually(lambda: not at_the_cluster._receiving, LIMIT)
    assert (at_the_cluster._sent, at_the_cluster._answered) == ({}, {})


async def survivor(executor: DaskExecutor) -> Any:
    """Return the process in which a call runs, after the loss of the worker before it."""
    while True:
        try:
            return await executor.run(calls.process_id, (), {})
        except WorkerLostError:  # the loss was not known yet
            await asyncio.sleep(0)


@pytest.mark.full
async def test_a_call_whose_worker_dies_before_the_answer_is_lost(
    local: DaskExecutor, tmp_path: Path
) -> None:
    """Its function has returned, but no caller can know that."""

    def die_before_the_answer(folder: str) -> str:
        from cascade.interfaces import numbered_calls

        def die(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        with (Path(folder) / "runs").open("a") as file:
            file.write("run\n")
        session: Any = numbered_calls._Session
        session.answer = die
        return "answered"

    with pytest.raises(WorkerLostError, match="was started once"):
        await local.run(die_before_the_answer, (str(tmp_path),), {})
    assert (tmp_path / "runs").read_text() == "run\n"


class Client:
    """Keeps the handler of a topic."""

    def subscribe_topic(self, topic: str, handler: Any) -> None:
        self.handler = handler


def make_call(number: int) -> Call:
    call = Call(b"", "f", on_start=lambda: None, on_end=lambda _: None, withdrawable=True)
    call.number = number
    return call


def test_what_other_programs_write_to_the_topic_is_ignored() -> None:
    """Every client of the cluster may write there."""
    took: list[tuple[Call, SentAnswer]] = []
    sent, client = {1: make_call(1)}, Client()
    ExecutorLine("topic", sent, answered=lambda *told: took.append(told)).subscribe(client)
    for nothing in (b"", b"short", struct.pack("<Qd", 2, 0.0), "", "[]", '[1, "unknown", []]', None, 7):
        client.handler((0.0, nothing))
    assert took == []
    client.handler((0.0, struct.pack("<Qd", 1, 0.5) + b"packed"))
    assert took == [(sent[1], SentAnswer(1, 0.5, b"packed"))]
