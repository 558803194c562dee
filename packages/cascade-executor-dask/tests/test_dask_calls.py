"""The calls of an executor at the odd moments of a cluster; the cluster is a stand-in."""

import asyncio
import base64
import concurrent.futures
import json
from typing import Any

import pytest
from distributed import KilledWorker
from distributed.comm.core import CommClosedError
from standins import StandInClient, StandInCluster, Watched, calls_on

from cascade.executors.dask import _calls
from cascade.executors.dask._worker_side import NotStarted
from cascade.interfaces import Directive, ExecutorUnavailable, WorkerLostError
from cascade.testkit import eventually


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Query for workers all the time, instead of five times a second."""
    monkeypatch.setattr(_calls, "_POLL", 0.001)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait at the end for a worker that does not answer."""
    monkeypatch.setattr(_calls, "_CLOSE_LIMIT", 0.01)


def requests(client: StandInClient, name: str) -> list[Any]:
    return client.requests[name]


@pytest.mark.parametrize(("limit", "taken"), [(None, 3), (1, 1), (2, 2), (3, 3), (5, 5)], ids=str)
async def test_as_many_calls_are_sent_as_there_are_threads_unless_the_user_says_more_or_fewer(
    limit: int | None, taken: int
) -> None:
    """The others wait here, and are sent in their order when one has ended; its future is released."""
    cluster = StandInCluster(a=1, b=2)
    async with calls_on(cluster, limit) as (calls, reported):
        await calls.start()
        assert reported[-1] == 3
        assert sorted(address for address, _ in requests(cluster.client, "open_session")) == ["a", "b"]
        submitted = [Watched() for _ in range(9)]
        for call in submitted:
            calls.submit(call)
        assert [call.number for call in submitted] == [*range(1, taken + 1), *[0] * (9 - taken)]
        cluster.client.sent[1].give(b"value")
        await eventually(lambda: submitted[taken].number)
        assert submitted[0].log == [b"value"]
        assert submitted[taken].number == taken + 1
        assert cluster.client.sent[1].released


async def test_a_call_goes_where_most_threads_are_free() -> None:
    """Each thread gets one; one that an abandoned call occupies gets none."""
    cluster = StandInCluster(a=1, b=3)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        submitted = [Watched() for _ in range(5)]
        for call in submitted:
            calls.submit(call)
        assert [*cluster.client.places.values()].count("b") == 3
        here = next(call for call in submitted if call.address == "a")
        calls.abandon(here)
        there = next(call for call in submitted if call.address == "b")
        cluster.client.sent[there.number].give()
        await eventually(lambda: submitted[4].number)
        assert submitted[4].address == "b"


@pytest.mark.parametrize("ends", ["no session", "killed"])
async def test_a_lost_worker_gets_no_further_call_until_its_session_is_open_again(
    ends: str, impatient: None
) -> None:
    """Its call fails, named with the worker's address; the next one waits for the worker that takes the address."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster) as (calls, reported):
        await calls.start()
        first, second = Watched(), Watched()
        for call in (first, second):
            calls.submit(call)
        cluster.client.silent.add("a")
        if ends == "killed":
            cluster.client.sent[1].fail(KilledWorker("work", None, 0))  # type: ignore[arg-type]
        else:
            cluster.client.sent[1].give(NotStarted.NO_SESSION)
        await eventually(lambda: first.log)
        assert isinstance(first.log[0], WorkerLostError)
        assert "the one at a" in str(first.log[0])
        assert "'work'" in str(first.log[0])
        await eventually(lambda: len(requests(cluster.client, "open_session")) == 2)
        assert second.log == []
        assert reported[-1] == 0
        assert [*cluster.client.sent] == [1]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (concurrent.futures.CancelledError("gone"), "it dropped task 'work' (gone)"),
        (ValueError("no key"), "it cannot run task 'work' (ValueError('no key'))"),
    ],
    ids=["dropped", "refused"],
)
async def test_an_error_of_dask_itself_names_the_task(error: Exception, words: str) -> None:
    """As when the scheduler forgets a task, or cannot unpack it; the next call takes its place."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        call, after = Watched(), Watched()
        calls.submit(call)
        calls.submit(after)
        cluster.client.sent[1].fail(error)
        await eventually(lambda: call.log)
        assert isinstance(call.log[0], ExecutorUnavailable)
        assert words in str(call.log[0])
        await eventually(lambda: after.number)


async def test_a_connection_that_breaks_fails_what_is_at_the_cluster() -> None:
    """What was not sent gets the error itself, which says what to do; the next calls connect again."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        sent, unsent = Watched(), Watched()
        calls.submit(sent)
        calls.submit(unsent)
        cluster.error = ExecutorUnavailable("the cluster", "no answer", "start it")
        await eventually(lambda: unsent.log)
        assert unsent.log == [cluster.error]
        assert isinstance(sent.log[0], ExecutorUnavailable)
        assert "it dropped task 'work'" in str(sent.log[0])
        assert "no answer" in str(sent.log[0])
        cluster.error = None
        again = Watched()
        calls.submit(again)
        await eventually(lambda: again.number)


async def test_a_start_connects_once_more_after_a_connection_that_was_just_lost() -> None:
    """The client did not know that yet; a second failure is the caller's."""
    cluster = StandInCluster(a=1)
    queries = 0

    async def nthreads() -> dict[str, int]:
        nonlocal queries
        queries += 1
        if queries in (1, 3, 4):
            raise CommClosedError("gone")
        return {"a": 1}

    cluster.client.nthreads = nthreads  # type: ignore[method-assign]
    async with calls_on(cluster) as (calls, reported):
        await calls.start()
        assert (cluster.closed, reported[-1]) == (1, 1)
        with pytest.raises(CommClosedError):
            await calls.start()
        assert cluster.closed == 2


async def test_workers_that_cannot_open_a_session_fail_the_start_only_if_all_are_so() -> None:
    """The error names one of them and why; beside a worker that can, it is not used."""
    cluster = StandInCluster(bad=4, worse=4)
    cluster.client.broken = dict.fromkeys(("bad", "worse"), ImportError("no cascade here"))
    async with calls_on(cluster) as (calls, reported):
        with pytest.raises(
            ExecutorUnavailable, match=r"its worker at (bad|worse) cannot run calls.*no cascade"
        ):
            await calls.start()
        cluster.client.threads["good"] = 1
        await calls.start()
        assert reported[-1] == 1
        cluster.client.broken.clear()
        await calls.start()
        assert reported[-1] == 9


async def test_a_worker_that_joins_is_used_and_one_that_grows_is_used_more() -> None:
    """While there are calls, without a further start."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        submitted = [Watched() for _ in range(6)]
        for call in submitted:
            calls.submit(call)
        assert len(cluster.client.sent) == 1
        cluster.client.threads["b"] = 2
        await eventually(lambda: len(cluster.client.sent) == 3)
        cluster.client.threads["a"] = 3
        await eventually(lambda: len(cluster.client.sent) == 5)
        assert [*cluster.client.places.values()].count("a") == 3


async def test_a_lost_worker_gets_no_order_that_was_meant_for_another() -> None:
    """One that takes its address runs other calls."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        call = Watched()
        calls.submit(call)
        cluster.client.silent.add("a")
        calls.direct(call, Directive.PAUSE)
        calls.confirm(call, 5)
        await eventually(lambda: requests(cluster.client, "confirm_values"))
        calls.direct(call, Directive.RUN)
        calls.confirm(call, 6)
        del cluster.client.threads["a"]
        await eventually(lambda: call.log)
        cluster.client.silent.clear()
        cluster.client.threads["a"] = 1
        other = Watched()
        calls.submit(other)
        await eventually(lambda: other.number)
        calls.direct(other, Directive.PAUSE)
        calls.confirm(other, 7)
        await eventually(lambda: len(requests(cluster.client, "direct_calls")) > 1)
        await eventually(lambda: len(requests(cluster.client, "confirm_values")) > 1)
        assert requests(cluster.client, "direct_calls")[1:] == [("a", {2: (1, Directive.PAUSE)})]
        assert requests(cluster.client, "confirm_values")[1:] == [("a", {2: 7})]


async def test_the_end_fails_all_calls_and_closes_their_sessions() -> None:
    """The calls that run stop at a checkpoint, the scheduler forgets the reports, and the cluster is closed."""
    cluster = StandInCluster(a=1, b=1)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        submitted = [Watched() for _ in range(3)]
        for call in submitted:
            calls.submit(call)
        assert cluster.client.handlers
        await asyncio.sleep(0)
    for call in submitted:
        assert isinstance(call.log[-1], ExecutorUnavailable)
        assert "the executor was closed" in str(call.log[-1])
    assert sorted(address for address, _ in requests(cluster.client, "close_session")) == ["a", "b"]
    assert cluster.client.handlers == {}
    assert len(cluster.client.scheduler_requests) == 1
    assert all(future.released for future in cluster.client.sent.values())
    assert cluster.closed == 1


async def test_what_a_worker_that_leaves_has_not_started_goes_to_another(
    monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    """What runs there ends with the answer that the worker sends itself, or is lost after a while; what is given up ends."""
    monkeypatch.setattr(_calls, "_LEAVING", 0.5)
    cluster = StandInCluster(a=6)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        answers, is_lost, waits, late, given_up, again = (Watched() for _ in range(6))
        for call in (answers, is_lost, waits, late, given_up, again):
            calls.submit(call)
        calls.abandon(given_up)
        cluster.client.threads["b"] = 1
        await eventually(lambda: len(requests(cluster.client, "open_session")) == 2)
        cluster.client.report(json.dumps([0, "leaving", ["a", [1, 2, 4]]]))
        cluster.client.sent[4].give(NotStarted.LEFT)
        assert isinstance(given_up.log[0], ExecutorUnavailable)
        cluster.client.report(json.dumps([1, "answer", [base64.b64encode(b"value").decode()]]))
        assert answers.log == [b"value"]
        await eventually(lambda: is_lost.log)
        assert isinstance(is_lost.log[0], WorkerLostError)
        moved = {waits, again, late}
        while moved:
            await eventually(lambda: any(call.number > 6 and not call.log for call in moved))
            call = next(call for call in moved if call.number > 6)
            assert call.address == "b"
            cluster.client.sent[call.number].give(b"done")
            await eventually(lambda: any(call.log == [b"done"] for call in moved))
            moved.remove(call)
        # the one that leaves is listed, and gets no session again
        assert [address for address, _ in requests(cluster.client, "open_session")] == ["a", "b"]
