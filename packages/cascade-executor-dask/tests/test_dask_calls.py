"""The calls of an executor at the odd moments of a cluster; the cluster is a stand-in."""

import asyncio
import concurrent.futures
import json
import re
from typing import Any

import pytest
from distributed import KilledWorker
from distributed.comm.core import CommClosedError
from standins import StandInClient, StandInCluster, Watched, calls_on

from cascade.executors.dask import _calls
from cascade.executors.dask._placement import WINDOW
from cascade.interfaces import Directive, ExecutorUnavailable, WorkerLostError
from cascade.interfaces.ahead import CallWithdrawn
from cascade.interfaces.numbered_calls import UNDERSTANDS_ORDERS, Fate
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


async def test_a_start_reports_the_threads_of_the_workers_whose_session_is_open() -> None:
    """No call is sent ahead before one has ended; then up to eight for each thread."""
    cluster = StandInCluster(a=1, b=2)
    async with calls_on(cluster) as (calls, reported):
        await calls.start()
        assert reported[-1] == (3, 0)
        assert sorted(address for address, _ in requests(cluster.client, "open_session")) == ["a", "b"]
        call = Watched()
        calls.submit(call)
        await eventually(lambda: cluster.client.sent)
        assert call.log == ["started"]
        cluster.client.answer(call.number, b"value")
        await eventually(lambda: reported[-1] == (3, 24))
        assert call.log == ["started", b"value"]


@pytest.mark.parametrize(("limit", "taken"), [(None, 3), (1, 1), (2, 2), (3, 3), (5, 5)], ids=str)
async def test_a_limit_bounds_what_is_sent_at_the_same_time(limit: int | None, taken: int) -> None:
    """Without one it is a call for each thread; more than the threads are sent if the user says so."""
    cluster = StandInCluster(a=1, b=2)
    async with calls_on(cluster, limit) as (calls, _):
        await calls.start()
        for _ in range(9):
            calls.submit(Watched())
        await eventually(lambda: cluster.client.sent)
        assert sorted(cluster.client.sent) == [*range(1, taken + 1)]


@pytest.mark.parametrize("limit", [1, 2])
async def test_a_limit_below_the_threads_holds_when_calls_are_short(limit: int) -> None:
    """Nothing is sent ahead then: the user wants no more at the cluster."""
    cluster = StandInCluster(a=3)
    async with calls_on(cluster, limit) as (calls, reported):
        await calls.start()
        for _ in range(5):
            calls.submit(Watched())
        await eventually(lambda: cluster.client.sent)
        cluster.client.answer(1)
        await eventually(lambda: limit + 1 in cluster.client.sent)
        assert sorted(cluster.client.sent) == [*range(1, limit + 2)]
        assert reported[-1] == (3, 24)


async def test_an_answer_counts_once_and_its_future_is_released_without_a_fetch() -> None:
    """The worker has sent it already: the end that Dask reports later changes nothing."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        call = Watched()
        calls.submit(call)
        await eventually(lambda: cluster.client.sent)
        future = cluster.client.sent[1]
        cluster.client.answer(1, b"sent")
        assert not future.released
        future.give(packed=b"fetched")
        await eventually(lambda: future.released)
        assert call.log == ["started", b"sent"]


async def test_a_fetched_answer_teaches_how_short_calls_are() -> None:
    """A result that is too long to be sent along counts as the others do; the future is released."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster) as (calls, reported):
        await calls.start()
        call = Watched()
        calls.submit(call)
        await eventually(lambda: cluster.client.sent)
        cluster.client.sent[1].give(packed=b"long", seconds=0.005)
        await eventually(lambda: call.log == ["started", b"long"])
        assert reported[-1] == (1, 4)
        assert cluster.client.sent[1].released


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
        await eventually(lambda: cluster.client.sent)
        cluster.client.silent.add("a")
        if ends == "killed":
            cluster.client.sent[1].fail(KilledWorker("work", None, 0))  # type: ignore[arg-type]
        else:
            cluster.client.sent[1].give(Fate.NO_SESSION)
        await eventually(lambda: len(first.log) == 2)
        assert isinstance(first.log[1], WorkerLostError)
        assert "the one at a" in str(first.log[1])
        assert "'work'" in str(first.log[1])
        await eventually(lambda: len(requests(cluster.client, "open_session")) == 2)
        assert second.log == []
        assert reported[-1] == (0, 0)
        assert [*cluster.client.sent] == [1]


async def test_the_loss_of_one_worker_leaves_the_others() -> None:
    """Their calls go on, and the next one goes to them."""
    cluster = StandInCluster(a=1, b=1)
    async with calls_on(cluster) as (calls, reported):
        await calls.start()
        submitted = [Watched() for _ in range(2)]
        for call in submitted:
            calls.submit(call)
        await eventually(lambda: len(cluster.client.sent) == 2)
        lost, kept = sorted(submitted, key=lambda call: cluster.client.places[call.number])
        del cluster.client.threads["a"]
        await eventually(lambda: len(lost.log) == 2)
        assert isinstance(lost.log[1], WorkerLostError)
        await eventually(lambda: cluster.client.sent[lost.number].released)
        assert kept.log == ["started"]
        assert not cluster.client.sent[kept.number].released
        assert reported[-1] == (1, 0)
        last = Watched()
        calls.submit(last)
        cluster.client.answer(kept.number, b"kept")
        await eventually(lambda: last.number)
        assert cluster.client.places[last.number] == "b"


async def test_a_call_that_waits_at_a_lost_worker_counts_as_started() -> None:
    """It may have run, so it fails, and the engine must have heard of its start."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster, 2) as (calls, _):
        await calls.start()
        submitted = [Watched(ahead=True) for _ in range(2)]
        for call in submitted:
            calls.submit(call)
        await eventually(lambda: len(cluster.client.sent) == 2)
        assert [call.log for call in submitted] == [["started"], []]
        cluster.client.threads.clear()
        await eventually(lambda: submitted[1].log)
        for call in submitted:
            started, error = call.log
            assert (started, type(error)) == ("started", WorkerLostError)


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
        await eventually(lambda: cluster.client.sent)
        cluster.client.sent[1].fail(error)
        await eventually(lambda: len(call.log) == 2)
        assert isinstance(call.log[1], ExecutorUnavailable)
        assert words in str(call.log[1])
        await eventually(lambda: after.log == ["started"])


@pytest.mark.parametrize("ahead", [False, True])
async def test_a_call_that_its_worker_says_was_withdrawn(ahead: bool) -> None:
    """The answer to the withdrawal was lost: one taken ahead is withdrawn, another one is sent again."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        call = Watched(ahead=ahead)
        calls.submit(call)
        await eventually(lambda: cluster.client.sent)
        cluster.client.sent[1].give(Fate.WITHDRAWN)
        if ahead:
            await eventually(lambda: len(call.log) == 2)
            assert isinstance(call.log[1], CallWithdrawn)
            assert [*cluster.client.sent] == [1]
        else:
            await eventually(lambda: 2 in cluster.client.sent)
            cluster.client.answer(1, b"old")
            cluster.client.answer(2, b"new")
            assert call.log == ["started", b"new"]


async def test_an_order_goes_with_a_call_that_was_not_sent_and_follows_one_that_was() -> None:
    """Each call has its latest order wherever it is; a worker that is not asked gets none."""
    cluster = StandInCluster(a=1, b=1)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        submitted = [Watched() for _ in range(3)]
        for call in submitted:
            calls.submit(call)
        calls.direct(submitted[0], Directive.PAUSE)
        await eventually(lambda: len(cluster.client.sent) == 2)
        assert submitted[0].order == (1, "pause")
        assert requests(cluster.client, "direct_calls") == []
        calls.direct(submitted[1], Directive.PAUSE)
        calls.direct(submitted[2], Directive.PAUSE)
        await eventually(lambda: requests(cluster.client, "direct_calls"))
        where = cluster.client.places[2]
        assert requests(cluster.client, "direct_calls") == [(where, {2: (1, "pause")})]


async def test_a_worker_of_an_older_version_gets_no_order_and_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whether its calls had their order before they were sent, or get it later; nor does it get confirmations."""
    cluster = StandInCluster(a=3)
    cluster.client.versions["a"] = 0
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        plain, paused = Watched(), Watched()
        calls.submit(plain)
        await eventually(lambda: 1 in cluster.client.sent)
        calls.confirm(plain, 7)
        assert caplog.records == []
        calls.submit(paused)
        calls.direct(paused, Directive.PAUSE)
        await eventually(lambda: 2 in cluster.client.sent)
        assert len(caplog.records) == 1
        calls.direct(plain, Directive.PAUSE)
        cluster.client.answer(1)
        cluster.client.answer(2)
    assert "worker a understands no directives" in caplog.text
    assert len(caplog.records) == 1
    assert cluster.client.requests.keys().isdisjoint({"direct_calls", "confirm_values"})


async def test_what_a_call_publishes_is_confirmed_to_its_worker() -> None:
    """With the sum of what was heard; nothing is sent for a call that has ended, or to an older worker."""
    cluster = StandInCluster(a=1, old=1)
    cluster.client.versions["old"] = UNDERSTANDS_ORDERS
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        submitted = [Watched() for _ in range(3)]
        for call in submitted:
            calls.submit(call)
        await eventually(lambda: len(cluster.client.sent) == 2)
        for call in submitted:
            calls.confirm(call, 100 + call.number)
        (well,) = (number for number, place in cluster.client.places.items() if place == "a")
        await eventually(lambda: requests(cluster.client, "confirm_values"))
        assert requests(cluster.client, "confirm_values") == [("a", {well: 100 + well})]
        cluster.client.answer(well)
        cluster.client.sent[well].give()
        await eventually(lambda: cluster.client.sent[well].released)
        calls.confirm(submitted[well - 1], 999)
        await eventually(lambda: 3 in cluster.client.sent)
        assert len(requests(cluster.client, "confirm_values")) == 1


class Context:
    """Hears a call."""

    step = None

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def progress(self, *content: Any) -> None:
        self.heard.append(content)

    def publish(self, *content: Any) -> None:
        self.heard.append(content)

    def arrived(self, *, paused: bool) -> None:
        self.heard.append(paused)


async def test_reports_of_a_call_reach_its_context_until_it_is_given_up() -> None:
    """Also later its values are confirmed, or its worker would wait for ever."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        context: Any = Context()
        confirmed: list[int] = []
        call = Watched(context=context, on_heard=confirmed.append)
        calls.submit(call)
        await eventually(lambda: cluster.client.sent)
        cluster.client.say(json.dumps([1, "progress", [1, 2, "half", "rows"]]))
        cluster.client.say(json.dumps([1, "arrived", [True]]))
        cluster.client.say(json.dumps([7, "arrived", [False]]))
        large = json.dumps([1, "data", ["name", "x" * (WINDOW // 4)]])
        cluster.client.say(large)
        assert context.heard == [(1, 2, "half", "rows"), True, ("name", "x" * (WINDOW // 4))]
        assert confirmed == [len(large)]
        cluster.client.started.add(1)
        calls.abandon(call)
        cluster.client.say(large)
        assert len(context.heard) == 3
        assert confirmed == [len(large), 2 * len(large)]


@pytest.mark.parametrize("started", [False, True])
async def test_a_call_that_is_given_up_at_its_worker(started: bool) -> None:
    """It is told to stop. If it had not started, it never does; else it is counted until it ends."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster, 2) as (calls, _):
        await calls.start()
        first, second, third = Watched(), Watched(), Watched()
        for call in (first, second, third):
            calls.submit(call)
        await eventually(lambda: len(cluster.client.sent) == 2)
        if started:
            cluster.client.started.add(2)
        calls.abandon(second)
        await eventually(lambda: second.log)
        assert requests(cluster.client, "withdraw_calls") == [("a", [2])]
        await eventually(lambda: requests(cluster.client, "direct_calls"))
        assert requests(cluster.client, "direct_calls") == [("a", {2: (1, "cancel")})]
        if started:
            assert second.log == ["started"]
            assert await calls.settle(0.0) == 1
            settled = asyncio.create_task(calls.settle(60.0))
            await asyncio.sleep(0)
            cluster.client.answer(2, b"late")
            assert await settled == 0
        else:
            assert [type(each) for each in second.log] == [CallWithdrawn]
            assert await calls.settle(0.0) == 0
        await eventually(lambda: 3 in cluster.client.sent)


async def test_a_running_call_that_is_given_up_is_not_withdrawn() -> None:
    """Its worker would answer only that it has started; it is counted at once."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        call = Watched()
        calls.submit(call)
        await eventually(lambda: call.log)
        calls.abandon(call)
        await eventually(lambda: requests(cluster.client, "direct_calls"))
        assert requests(cluster.client, "withdraw_calls") == []
        assert await calls.settle(0.0) == 1


async def test_a_withdrawal_takes_what_was_taken_ahead_and_has_not_started() -> None:
    """Here and at the workers; their decision is asked for once each, and other calls go on."""
    cluster = StandInCluster(a=1, b=1)
    async with calls_on(cluster, 6) as (calls, _):
        await calls.start()
        submitted = [Watched(ahead=number not in (3, 7)) for number in range(1, 10)]
        for call in submitted:
            calls.submit(call)
        await eventually(lambda: len(cluster.client.sent) == 6)
        cluster.client.started.add(5)
        await calls.withdraw()
        asked = dict(requests(cluster.client, "withdraw_calls"))
        assert len(requests(cluster.client, "withdraw_calls")) == 2
        assert sorted(number for each in asked.values() for number in each) == [4, 5, 6]
        outcomes = [[each if each == "started" else type(each) for each in call.log] for call in submitted]
        assert outcomes[:3] == [["started"], ["started"], []]
        assert outcomes[3:6] == [[CallWithdrawn], ["started"], [CallWithdrawn]]
        assert outcomes[7:] == [[CallWithdrawn]] * 2
        await eventually(lambda: submitted[6].number)  # the one of the last ones that may not be withdrawn
        assert len(cluster.client.sent) == 7


async def test_an_answer_that_comes_before_the_start_is_known_waits_for_it() -> None:
    """No more calls are reported as running than there are threads, whatever overtakes what."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster, 3) as (calls, _):
        await calls.start()
        first, second, third = Watched(), Watched(), Watched()
        for call in (first, second, third):
            calls.submit(call)
        await eventually(lambda: len(cluster.client.sent) == 3)
        cluster.client.answer(3, b"3")
        cluster.client.answer(2, b"2")
        assert (first.log, second.log, third.log) == (["started"], [], [])
        cluster.client.answer(1, b"1")
        assert (first.log, second.log) == (["started", b"1"], ["started", b"2"])
        assert third.log == ["started", b"3"]


async def test_an_early_answer_counts_when_its_worker_says_that_it_has_started() -> None:
    """A withdrawal asks: the call has ended then, although the one before it has not."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster, 3) as (calls, _):
        await calls.start()
        submitted = [Watched(ahead=True) for _ in range(3)]
        for call in submitted:
            calls.submit(call)
        await eventually(lambda: len(cluster.client.sent) == 3)
        cluster.client.started |= {2, 3}
        cluster.client.answer(2, b"2")
        cluster.client.answer(3, b"3")
        await calls.withdraw()
        assert [call.log for call in submitted[1:]] == [["started", b"2"], ["started", b"3"]]
        assert requests(cluster.client, "withdraw_calls") == [("a", [2, 3])]


async def test_an_early_answer_outlives_its_worker() -> None:
    """The call has returned; that its worker is lost then does not fail it."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster, 2) as (calls, _):
        await calls.start()
        first, second = Watched(), Watched()
        calls.submit(first)
        calls.submit(second)
        await eventually(lambda: len(cluster.client.sent) == 2)
        cluster.client.answer(2, b"2")
        assert second.log == []
        cluster.client.threads.clear()
        await eventually(lambda: second.log)
        assert second.log == ["started", b"2"]
        assert [type(each) for each in first.log] == [str, WorkerLostError]
        await eventually(lambda: all(future.released for future in cluster.client.sent.values()))


async def test_calls_behind_a_long_one_move_to_a_worker_that_joins() -> None:
    """They are withdrawn first, and get another number; one that has started meanwhile stays."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster, 3) as (calls, _):
        await calls.start()
        long, moved, began = Watched(), Watched(), Watched(ahead=True)
        for call in (long, moved, began):
            calls.submit(call)
        await eventually(lambda: len(cluster.client.sent) == 3)
        cluster.client.started.add(3)
        cluster.client.threads["b"] = 1
        await eventually(lambda: 4 in cluster.client.sent)
        assert requests(cluster.client, "withdraw_calls") == [("a", [2, 3])]
        assert (cluster.client.places[4], moved.number) == ("b", 4)
        assert (long.log, moved.log, began.log) == (["started"],) * 3
        cluster.client.answer(2, b"old")
        cluster.client.answer(4, b"new")
        assert moved.log == ["started", b"new"]


async def test_calls_move_again_after_a_move_has_ended() -> None:
    """To each worker that joins, one after the other."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster, 3) as (calls, _):
        await calls.start()
        for _ in range(3):
            calls.submit(Watched())
        await eventually(lambda: len(cluster.client.sent) == 3)
        cluster.client.threads["b"] = 1
        await eventually(lambda: "b" in cluster.client.places.values())
        cluster.client.threads["c"] = 1
        await eventually(lambda: "c" in cluster.client.places.values())


async def test_one_move_is_asked_for_at_a_time(impatient: None) -> None:
    """A worker that does not answer is not asked again and again."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster, 2) as (calls, reported):
        await calls.start()
        for _ in range(2):
            calls.submit(Watched())
        await eventually(lambda: len(cluster.client.sent) == 2)
        cluster.client.silent.add("a")
        cluster.client.threads["b"] = 1
        await eventually(lambda: requests(cluster.client, "withdraw_calls"))
        queries = len(reported)
        await eventually(lambda: len(reported) > queries + 5)
        assert len(requests(cluster.client, "withdraw_calls")) == 1


async def test_a_connection_that_breaks_fails_what_is_at_the_cluster() -> None:
    """What was not sent gets the error itself, which says what to do; the next calls connect again."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        sent, unsent = Watched(), Watched()
        calls.submit(sent)
        calls.submit(unsent)
        await eventually(lambda: cluster.client.sent)
        cluster.error = ExecutorUnavailable("the cluster", "no answer", "start it")
        await eventually(lambda: unsent.log)
        assert unsent.log == [cluster.error]
        assert isinstance(sent.log[1], ExecutorUnavailable)
        assert "it dropped task 'work'" in str(sent.log[1])
        assert "no answer" in str(sent.log[1])
        cluster.error = None
        again = Watched()
        calls.submit(again)
        await eventually(lambda: again.log == ["started"])


async def test_an_unknown_error_fails_all_calls_as_one_of_the_cluster() -> None:
    """Of Dask's own errors a user has no use; both texts name the task."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        submitted = [Watched(), Watched()]
        for call in submitted:
            calls.submit(call)
        await eventually(lambda: cluster.client.sent)
        cluster.error = OSError("broken pipe")
        await eventually(lambda: submitted[1].log)
        for call in submitted:
            assert isinstance(call.log[-1], ExecutorUnavailable)
            assert re.search(r"it dropped task 'work' \(broken pipe\)", str(call.log[-1]))


async def test_the_end_fails_all_calls_and_closes_their_sessions() -> None:
    """The calls that run stop at a checkpoint, the scheduler forgets the reports, and the cluster is closed."""
    cluster = StandInCluster(a=1, b=1)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        submitted = [Watched() for _ in range(3)]
        for call in submitted:
            calls.submit(call)
        await eventually(lambda: len(cluster.client.sent) == 2)
        assert cluster.client.handlers
    for call in submitted:
        assert isinstance(call.log[-1], ExecutorUnavailable)
        assert "the executor was closed" in str(call.log[-1])
    assert sorted(address for address, _ in requests(cluster.client, "close_session")) == ["a", "b"]
    assert cluster.client.handlers == {}
    assert len(cluster.client.scheduler_requests) == 1
    assert all(future.released for future in cluster.client.sent.values())
    assert cluster.closed == 1


async def test_the_end_waits_for_no_worker_that_does_not_answer(impatient: None) -> None:
    """There is a limit for all of them; the cluster is closed then."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        cluster.client.silent.add("a")
    assert cluster.closed == 1


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
        assert (cluster.closed, reported[-1]) == (1, (1, 0))
        with pytest.raises(CommClosedError):
            await calls.start()
        assert cluster.closed == 2


async def test_workers_that_cannot_open_a_session_fail_the_start_only_if_all_are_so() -> None:
    """The error names one of them and why; beside a worker that can, it is not used."""
    cluster = StandInCluster(bad=4, worse=4)
    cluster.client.versions = dict.fromkeys(("bad", "worse"), ImportError("no cascade here"))
    async with calls_on(cluster) as (calls, reported):
        with pytest.raises(
            ExecutorUnavailable, match=r"its worker at (bad|worse) cannot run calls.*no cascade"
        ):
            await calls.start()
        cluster.client.threads["good"] = 1
        await calls.start()
        assert reported[-1] == (1, 0)
        cluster.client.versions.clear()
        await calls.start()
        assert reported[-1] == (9, 0)


@pytest.mark.parametrize("known", [1, 2, 3])
async def test_a_session_is_opened_with_what_its_worker_knows(known: int) -> None:
    """An older version takes fewer settings; it is asked again with fewer until it takes them."""

    def answer(*settings: Any) -> Any:
        return TypeError("too many") if len(settings) > known else 2

    cluster = StandInCluster(a=1)
    cluster.client.versions["a"] = answer
    async with calls_on(cluster) as (calls, reported):
        await calls.start()
        assert reported[-1] == (1, 0)
        assert len(requests(cluster.client, "open_session")) == 4 - known


async def test_a_worker_that_joins_is_used_and_one_that_grows_is_used_more() -> None:
    """While there are calls, without a further start."""
    cluster = StandInCluster(a=1)
    async with calls_on(cluster) as (calls, _):
        await calls.start()
        submitted = [Watched() for _ in range(6)]
        for call in submitted:
            calls.submit(call)
        await eventually(lambda: len(cluster.client.sent) == 1)
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
        await eventually(lambda: call.log)
        cluster.client.silent.add("a")
        calls.direct(call, Directive.PAUSE)
        calls.confirm(call, 5)
        await eventually(lambda: requests(cluster.client, "confirm_values"))
        calls.direct(call, Directive.RUN)
        calls.confirm(call, 6)
        del cluster.client.threads["a"]
        await eventually(lambda: len(call.log) == 2)
        cluster.client.silent.clear()
        cluster.client.threads["a"] = 1
        other = Watched()
        calls.submit(other)
        await eventually(lambda: other.log == ["started"])
        calls.direct(other, Directive.PAUSE)
        calls.confirm(other, 7)
        await eventually(lambda: len(requests(cluster.client, "direct_calls")) > 1)
        await eventually(lambda: len(requests(cluster.client, "confirm_values")) > 1)
        assert requests(cluster.client, "direct_calls")[1:] == [("a", {2: (1, "pause")})]
        assert requests(cluster.client, "confirm_values")[1:] == [("a", {2: 7})]
