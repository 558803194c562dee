"""Which worker process gets which call, and what can be taken back; the workers are stand-ins."""

import asyncio
import threading
from typing import Any

import pytest

from cascade.interfaces import Directive, ExecutorUnavailable
from cascade.interfaces.ahead import CallWithdrawn
from cascade.interfaces.mailbox import Mailbox
from cascade.runtime.executors import _worker_pool
from cascade.runtime.executors._process_call import ProcessCall
from cascade.runtime.executors._worker_call import EVERY
from cascade.runtime.executors._worker_calls import WorkerCalls
from cascade.runtime.executors._worker_pool import WorkerPool


class Worker:
    """A worker process that starts a call when the test says so."""

    ready = True

    def __init__(self) -> None:
        self.permits: list[int] = []
        self.log: list[tuple[str, Any]] = []

    def take_back(self) -> list[int]:
        back, self.permits = self.permits, []
        return back

    def give(self, numbers: list[int]) -> None:
        self.permits += numbers

    def direct(self, number: int, directive: Directive) -> None:
        self.log.append((directive.value, number))

    def cancel(self, number: int) -> None:
        self.log.append(("cancel", number))

    def stop(self) -> None:
        self.log.append(("stop", None))

    def kill(self) -> None:
        self.log.append(("kill", None))


class Hand(WorkerCalls):
    """Serves calls by the hand of the test, without a thread."""

    def __init__(self, pool: WorkerPool, number: int) -> None:
        super().__init__()
        self.pool = pool
        self.number = number
        self.process = Worker()
        self.worker: Any = self.process
        self.woken = 0
        self.sent = 0
        self.thread = threading.Thread(target=lambda: None)
        self.thread.start()

    def wake(self) -> None:
        self.woken += 1

    def send(self) -> list[ProcessCall]:
        """Send what it has: the first call starts, the others have permits."""
        with self.pool.lock:
            self.pool.occupy(self)
            for call in self.calls:
                if not call.number:
                    self.sent += 1
                    call.number = self.sent
                    if call is not self.calls[0]:
                        self.process.give([call.number])
            if self.calls:
                self.calls[0].is_reported = True
        return [*self.calls]

    def answer(self, seconds: float = 0.0) -> None:
        """Answer the call that runs; the next one starts."""
        with self.pool.lock:
            call = self.calls.popleft()
            self.pool.answered(call, seconds)
            if self.calls:
                self.process.permits.remove(self.calls[0].number)
                self.calls[0].is_reported = True
        call.finish(None)


class Pool(WorkerPool):
    """A pool whose threads the test can see."""

    def __init__(self, workers: int, *, most: int = 99) -> None:
        self.hands: list[Hand] = []
        self.most = most
        super().__init__(workers, reruns=0, start=self._hand)

    def _hand(self, pool: WorkerPool, number: int) -> Hand:
        if len(self.hands) == self.most:
            raise RuntimeError("can't start new thread")
        self.hands.append(Hand(pool, number))
        return self.hands[-1]

    def learn(self) -> None:
        """Note that calls are short: up to eight are sent ahead."""
        self._window.learn(0.0)


def make_call(*, ahead: bool = True) -> ProcessCall:
    mailbox = Mailbox(asyncio.get_running_loop())
    return ProcessCall(mailbox, len, (), {}, started=(lambda: None) if ahead else None)


def submitted(pool: WorkerPool, count: int, *, ahead: bool = True) -> list[ProcessCall]:
    calls = [make_call(ahead=ahead) for _ in range(count)]
    for call in calls:
        pool.submit(call)
    return calls


async def outcome(call: ProcessCall) -> Any:
    return (await asyncio.gather(call.outcome, return_exceptions=True))[0]


async def test_threads_start_as_calls_need_them_and_idle_ones_are_woken_first() -> None:
    """At most as many as there are workers; one that is idle is woken once."""
    pool = Pool(2)
    used = [pool.used]
    first, second, _ = submitted(pool, 3)
    assert [hand.number for hand in pool.hands] == [0, 1]
    assert [*used, pool.used] == [False, True]
    one, other = pool.hands
    assert one.send() == [first]
    assert other.send() == [second]
    other.answer()
    assert [len(other.send()), len(pool.hands)] == [1, 2]
    other.answer()
    assert other.send() == []
    assert other.send() == []  # it is idle only once
    submitted(pool, 2)
    assert (one.woken, other.woken) == (0, 1)


async def test_a_thread_that_ended_its_call_makes_room_for_no_thread_too_many() -> None:
    """Calls that were answered or given up need none."""
    pool = Pool(3)
    (answered,) = submitted(pool, 1)
    (hand,) = pool.hands
    hand.send()
    hand.answer()
    assert await outcome(answered) is None
    (given_up,) = submitted(pool, 1)
    assert pool.abandon(given_up) is False
    submitted(pool, 1)
    assert len(pool.hands) == 1


async def test_waiting_calls_are_spread_over_the_threads_that_have_none() -> None:
    """A worker takes up to eight ahead, but no more than its share, and takes more when it has half of them."""
    pool = Pool(2)
    pool.learn()
    assert pool.ahead == 8
    calls = submitted(pool, 6)
    one, other = pool.hands
    assert one.send() == calls[:3]
    assert other.send() == calls[3:]
    more = submitted(pool, 20)
    assert one.send() == calls[:3] + more[:6]
    assert one.send() == calls[:3] + more[:6]
    for _ in range(4):
        one.answer()
    assert len(one.send()) == 5, "it has more than half"
    one.answer()
    assert len(one.send()) == 9


async def test_a_system_that_starts_no_thread() -> None:
    """The first call fails in words, and never runs; a later one waits for a thread that there is."""
    pool = Pool(2, most=0)
    with pytest.raises(ExecutorUnavailable, match="cannot start more threads"):
        submitted(pool, 1)
    assert not pool.used
    pool.most = 1
    calls = submitted(pool, 3)
    (hand,) = pool.hands
    assert hand.send() == calls[:1]
    hand.answer()
    assert hand.send() == calls[1:]


async def test_a_call_that_waits_is_given_up_and_passed_over() -> None:
    """It does not count as abandoned, and a second time changes nothing."""
    pool = Pool(1)
    first, second, third = submitted(pool, 3)
    (hand,) = pool.hands
    hand.send()
    assert [pool.abandon(second), pool.abandon(second)] == [False, False]
    hand.answer()
    assert hand.send() == [third]
    assert pool.abandon(first) is False, "it was answered"
    assert hand.process.log == []


async def test_a_call_sent_ahead_is_given_up_without_its_worker() -> None:
    """Those around it keep their places and their permits."""
    pool = Pool(1)
    pool.learn()
    calls = submitted(pool, 4)
    (hand,) = pool.hands
    hand.send()
    assert pool.abandon(calls[2]) is False
    assert [*hand.calls] == [calls[0], calls[1], calls[3]]
    assert hand.process.permits == [2, 4]
    assert hand.process.log == []


async def test_a_call_that_was_not_sent_yet_is_given_up() -> None:
    """Its thread has taken it, and has not sent it."""
    pool = Pool(1)
    pool.learn()
    calls = submitted(pool, 3)
    (hand,) = pool.hands
    with pool.lock:
        pool.occupy(hand)
    assert pool.abandon(calls[0]) is False
    assert [*hand.calls] == calls[1:]


async def test_the_worker_of_a_running_call_that_is_given_up_is_stopped() -> None:
    """What was behind it runs elsewhere, in its order and before all others, under new numbers."""
    pool = Pool(1)
    pool.learn()
    calls = submitted(pool, 3)
    (hand,) = pool.hands
    hand.send()
    later = submitted(pool, 1)
    assert pool.abandon(calls[0]) is True
    assert hand.process.log == [("cancel", 1)]
    assert [*hand.calls] == calls[:1]
    assert hand.send() == calls[:1], "it takes no more"
    assert pool.next_calls(hand) is False
    _, successor = pool.hands
    assert successor.send() == [*calls[1:], *later]
    assert [call.number for call in (*calls[1:], *later)] == [1, 2, 3]
    pool.kill_leaving()
    assert hand.process.log[1:] == [("kill", None)]
    assert successor.process.log == []
    pool.left(hand)
    pool.kill_leaving()
    assert len(hand.process.log) == 2


async def test_the_worker_that_has_not_started_is_ended_at_once() -> None:
    """It cannot read which call is to stop."""
    pool = Pool(1)
    calls = submitted(pool, 1)
    (hand,) = pool.hands
    hand.send()
    hand.process.ready = False
    assert pool.abandon(calls[0]) is True
    assert hand.process.log == [("stop", None)]


async def test_a_withdrawal_takes_only_calls_that_were_taken_ahead_and_have_not_started() -> None:
    """Wherever they are; others keep their places and permits, and what was given up is not withdrawn again."""
    pool = Pool(1)
    pool.learn()
    calls = [make_call(ahead=ahead) for ahead in (True, True, False, True)]
    for call in calls:
        pool.submit(call)
    (hand,) = pool.hands
    hand.send()
    waiting = [*submitted(pool, 2), *submitted(pool, 1, ahead=False)]
    pool.abandon(waiting[0])
    pool.withdraw()
    withdrawn = [calls[1], calls[3], waiting[1]]
    assert [type(await outcome(call)) for call in withdrawn] == [CallWithdrawn] * 3
    assert [*hand.calls] == [calls[0], calls[2]]
    assert hand.process.permits == [3]
    assert not any(call.outcome.done() for call in (calls[0], calls[2], waiting[0], waiting[2]))
    assert not any(pool.abandon(call) for call in withdrawn)
    hand.answer()
    hand.answer()
    assert hand.send() == [waiting[2]]


async def test_a_call_whose_start_is_reported_is_neither_withdrawn_nor_moved() -> None:
    """Its worker may not have begun it; so it gets its permit again."""
    pool = Pool(2)
    pool.learn()
    calls = submitted(pool, 1)
    pool.hands[0].send()
    calls += submitted(pool, 1)
    hand, idle = pool.hands
    assert hand.send() == calls
    hand.process.give([1])  # not begun, although it is the first one
    assert idle.send() == [calls[1]]
    assert hand.process.permits == [1]
    pool.withdraw()
    assert hand.process.permits == [1]
    assert [*hand.calls] == [calls[0]]


async def test_a_worker_without_calls_takes_half_of_those_behind_the_longest_line() -> None:
    """The later half, under new numbers; one that only runs a call loses nothing."""
    pool = Pool(2)
    pool.learn()
    (first,) = submitted(pool, 1)
    one = pool.hands[0]
    one.send()
    rest = submitted(pool, 5)
    other = pool.hands[1]
    assert one.send() == [first, *rest]
    assert other.send() == rest[2:]
    assert [*one.calls] == [first, *rest[:2]]
    assert one.process.permits == [2, 3]
    assert [call.number for call in rest] == [2, 3, 1, 2, 3]
    for _ in range(3):
        other.answer()
    assert other.send() == rest[1:2]
    other.answer()
    assert other.send() == rest[:1]
    other.answer()
    assert other.send() == []
    assert [*one.calls] == [first]


async def test_directives_reach_the_worker_that_has_the_call() -> None:
    """Before it is sent they are only noted, and they go with it."""
    pool = Pool(2)
    calls = submitted(pool, 2)
    one, other = pool.hands
    pool.direct(calls[1], Directive.PAUSE)
    assert calls[1].directive is Directive.PAUSE
    one.send()
    other.send()
    pool.direct(calls[1], Directive.RUN)
    assert (one.process.log, other.process.log) == ([], [("run", 1)])
    other.worker = None
    pool.direct(calls[1], Directive.PAUSE)
    assert other.process.log == [("run", 1)]


async def test_closing_stops_what_runs_and_fails_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread is woken; idle ones are not stopped; what comes back later fails, too, unless it was given up."""
    monkeypatch.setattr(_worker_pool, "GRACE", 0.0)
    pool = Pool(2)
    calls = submitted(pool, 4)
    one, other = pool.hands
    one.send()
    other.send()
    other.answer()
    pool.abandon(calls[3])
    with pool.lock:
        pool.take(other)
        back = [*other.calls]
        other.calls.clear()
    pool.close()
    assert (one.process.log, other.process.log) == ([("cancel", EVERY)], [])
    assert (one.woken, other.woken) == (1, 1)
    assert pool.next_calls(other) is False
    with pool.lock:
        pool.put_back(back)
    error = await outcome(calls[2])
    assert isinstance(error, ExecutorUnavailable)
    assert "it was closed while the task ran" in str(error)
    assert not calls[3].outcome.done()
    assert other.send() == []


async def test_closing_does_not_stop_twice_what_is_being_stopped() -> None:
    """The call that was cancelled keeps its time to end."""
    pool = Pool(2)
    calls = submitted(pool, 1)
    (hand,) = pool.hands
    hand.send()
    pool.abandon(calls[0])
    assert pool.used
    pool.close()
    assert hand.process.log == [("cancel", 1)]
    assert hand.woken == 1


async def test_a_pool_whose_last_worker_was_stopped_has_nothing_to_close() -> None:
    """An executor of a long program keeps nothing of each call that was given up."""
    pool = Pool(1)
    calls = submitted(pool, 1)
    (hand,) = pool.hands
    hand.send()
    assert pool.abandon(calls[0]) is True
    assert pool.used
    pool.left(hand)
    assert not pool.used


async def test_closing_stops_a_worker_that_is_just_being_started() -> None:
    """Its thread has a call, but no process yet: it ends the process as soon as there is one."""
    pool = Pool(1)
    submitted(pool, 1)
    (hand,) = pool.hands
    hand.worker = None
    with pool.lock:
        pool.occupy(hand)
    await asyncio.to_thread(pool.close)
    assert hand.is_stopping
    assert hand.woken == 1
