"""Which worker runs which call, and how many are sent ahead; without a cluster."""

import pytest

from cascade.executors.dask._placement import STALE, WINDOW, Call, Placement
from cascade.interfaces.ahead import LARGEST_AHEAD


def make_call(number: int, log: list[object] | None = None) -> Call:
    seen = log if log is not None else []
    call = Call(
        b"",
        "f",
        on_start=lambda: seen.append(number),
        on_end=lambda _: seen.append(-number),
        withdrawable=True,
    )
    call.number = number
    return call


@pytest.mark.parametrize(
    ("seconds", "each"),
    [(0.0, LARGEST_AHEAD), (0.0025, 8), (0.004, 5), (0.015, 1), (0.02, 1), (0.021, 0), (60.0, 0)],
)
def test_about_twenty_milliseconds_of_work_are_sent_ahead(seconds: float, each: int) -> None:
    """For each thread, at most eight calls; nothing as long as no call has ended."""
    placement = Placement()
    placement.update({"a": 2, "b": 1})
    assert placement.ahead == 0
    placement.learn(seconds)
    assert placement.ahead == 3 * each


def test_a_call_is_claimed_once() -> None:
    """So it is either sent or given up: the later claim fails."""
    call = make_call(1)
    assert [call.claim() for _ in range(3)] == [True, False, False]


def test_only_as_many_calls_have_started_as_there_are_threads() -> None:
    """The others start in their order, each when one before it at its worker has ended."""
    log: list[object] = []
    placement = Placement()
    placement.update({"a": 1})
    calls = [make_call(number, log) for number in (1, 2, 3)]
    for call in calls:
        placement.place(call, 0.0)
    assert log == [1]
    placement.remove(calls[0], 0.0)
    assert log == [1, 2]
    placement.remove(calls[2], 0.0)
    placement.remove(calls[1], 0.0)
    assert log == [1, 2]
    assert placement.count() == 0


def test_a_call_goes_where_most_threads_are_free() -> None:
    """A worker with four threads gets four times as many calls as one with a single thread."""
    placement = Placement()
    placement.update({"small": 1, "large": 4})
    workers = [placement.place(make_call(number), 0.0).address for number in range(10)]
    assert workers.count("large") == 8


def test_a_call_avoids_a_worker_that_is_busy_for_long() -> None:
    """It would wait there, although calls elsewhere end all the time."""
    placement = Placement()
    placement.update({"a": 1, "b": 1})
    first = placement.place(make_call(1), 0.0)
    later = 2 * STALE
    others = {placement.place(make_call(number), later).address for number in range(2, 6)}
    assert others == {"a", "b"} - {first.address}


def test_calls_behind_a_long_one_move_to_a_free_worker() -> None:
    """Only those that have not started, and only while another worker has nothing to do."""
    placement = Placement()
    placement.update({"a": 1})
    long, short = make_call(1), make_call(2)
    placement.place(long, 0.0)
    placement.place(short, 0.0)
    assert placement.misplaced(2 * STALE) == []
    placement.update({"a": 1, "b": 1})
    assert placement.misplaced(0.0) == []
    assert placement.misplaced(2 * STALE) == [short]


def test_the_calls_of_a_worker_that_is_gone_are_returned() -> None:
    """Those of other workers stay, and the number of threads follows the cluster."""
    placement = Placement()
    placement.update({"a": 1, "b": 1})
    calls = {placement.place(call, 0.0).address: call for call in (make_call(1), make_call(2))}
    assert placement.update({"b": 3}) == [calls["a"]]
    assert placement.calls() == [calls["b"]]
    assert placement.threads == 3


def test_a_call_starts_once() -> None:
    """A worker may report the start of a call that has certainly started already; its time stays."""
    log: list[object] = []
    call = make_call(1, log)
    call.start(1.0)
    call.start(2.0)
    assert (log, call.started) == ([1], 1.0)


def test_no_call_starts_at_a_worker_that_has_fewer_threads_than_before() -> None:
    """Until as many have ended: the cluster has replaced it by a smaller one of the same address."""
    log: list[object] = []
    placement = Placement()
    placement.update({"a": 3})
    calls = [make_call(number, log) for number in range(1, 7)]
    for call in calls[:5]:
        placement.place(call, 0.0)
    placement.update({"a": 1})
    placement.place(calls[5], 0.0)
    assert log == [1, 2, 3]
    for call in calls[:2]:
        placement.remove(call, 0.0)
    assert log == [1, 2, 3]
    placement.remove(calls[2], 0.0)
    assert log == [1, 2, 3, 4]


def test_a_worker_with_one_short_call_is_a_good_place_for_others() -> None:
    """Its thread is free soon, however long its other calls run: so these stay, although another worker is free."""
    placement = Placement()
    placement.update({"a": 2})
    for number, began in ((1, 0.0), (2, 2 * STALE), (3, 2 * STALE)):
        placement.place(make_call(number), began)
    placement.update({"a": 2, "b": 1})
    assert placement.misplaced(2 * STALE) == []
    assert [call.number for call in placement.misplaced(4 * STALE)] == [3]
    placement.place(make_call(4), 4 * STALE)
    assert placement.misplaced(4 * STALE) == [], "no worker has a free thread"


def test_what_a_call_has_published_is_confirmed_at_each_quarter_of_its_window() -> None:
    """With the sum of all: the worker waits when a whole window is not confirmed."""
    confirmed: list[int] = []
    call = Call(
        b"",
        "f",
        on_start=lambda: None,
        on_end=lambda _: None,
        withdrawable=True,
        on_heard=confirmed.append,
    )
    quarter = WINDOW // 4
    for size in (quarter - 1, 1, quarter // 2, quarter // 2, 2 * quarter):
        call.hear(size)
    assert confirmed == [quarter, 2 * quarter, 4 * quarter]
