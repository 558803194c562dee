"""What the first and the second signal do to a run: within this process, without a child."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from cascade.sdk.signals import Termination, run_guarded

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")

BOTH = pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=["SIGTERM", "SIGHUP"]
)


@pytest.fixture(autouse=True)
def default_handlers() -> Iterator[None]:
    """As in a program that has set up none; the test leaves none either."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, signal.SIG_DFL)
    yield
    assert [signal.getsignal(number) for number in before] == [signal.SIG_DFL] * 2
    for number, handler in before.items():
        signal.signal(number, handler)


def sending(
    number: int, log: list[str], *, at_the_end: Callable[[], Any] = lambda: None
) -> Callable[[], Coroutine[Any, Any, Any]]:
    """Work that gets a signal, waits for its cancellation, and then does something more."""

    async def work() -> Any:
        signal.raise_signal(number)
        log.append("goes on until it waits")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("cancelled")
            found = at_the_end()
            if found is not None:
                return found
            raise
        finally:
            log.append("cleaned")

    return work


@BOTH
def test_the_first_signal_cancels_and_the_exit_status_is_that_of_a_shell(number: int, status: int) -> None:
    """After the work has cleaned up; the traceback does not contain the cancellation."""
    log: list[str] = []
    with pytest.raises(SystemExit) as end:
        run_guarded(sending(number, log))
    assert (end.value.code, end.value.__suppress_context__) == (status, True)
    assert log == ["goes on until it waits", "cancelled", "cleaned"]


@BOTH
def test_a_second_signal_exits_at_once_with_its_own_status(number: int, status: int) -> None:
    """Also one of the other kind, in the middle of what the first one has begun."""
    log: list[str] = []
    first = signal.SIGHUP if number == signal.SIGTERM else signal.SIGTERM

    def again() -> None:
        signal.raise_signal(number)
        log.append("not reached")

    with pytest.raises(SystemExit) as end:
        run_guarded(sending(first, log, at_the_end=again))
    assert end.value.code == status
    assert "not reached" not in log


@BOTH
def test_a_second_signal_is_no_failure_of_the_task_that_it_happens_to_meet(
    number: int, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as one that the library runs beside the work; asyncio would print its traceback."""

    async def beside() -> None:
        signal.raise_signal(number)

    async def work() -> None:
        met.append(asyncio.create_task(beside()))
        signal.raise_signal(number)
        await asyncio.Event().wait()

    met: list[asyncio.Task[None]] = []
    with pytest.raises(SystemExit) as end:
        run_guarded(work)
    assert end.value.code == status
    assert met[0].done()
    met.clear()
    gc.collect()
    assert caplog.messages == []


@BOTH
def test_a_signal_without_work_that_could_be_cancelled_exits_at_once(number: int, status: int) -> None:
    """Before the work begins, and after it has ended."""

    async def nothing() -> int:
        return 1

    with pytest.raises(SystemExit) as end, Termination():
        signal.raise_signal(number)
    assert end.value.code == status
    with Termination() as termination:
        assert asyncio.run(termination.guard(nothing())) == 1
        with pytest.raises(SystemExit) as end:
            signal.raise_signal(number)
    assert end.value.code == status


def test_work_that_ends_in_its_own_way_after_a_signal_is_not_an_exit() -> None:
    """The result or the error of the work replaces the exit; without a signal a cancellation passes unchanged."""
    log: list[str] = []
    assert run_guarded(sending(signal.SIGTERM, log, at_the_end=lambda: 42)) == 42

    def fail() -> None:
        raise ValueError("own")

    with pytest.raises(ValueError, match="own"):
        run_guarded(sending(signal.SIGTERM, log, at_the_end=fail))

    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run_guarded(cancelled)


@BOTH
def test_a_handler_of_the_users_own_or_an_ignored_signal_stays(number: int, status: int) -> None:
    """The other signal is still handled, whichever of the two it is."""
    other = signal.SIGHUP if number == signal.SIGTERM else signal.SIGTERM
    seen: list[int] = []

    async def work() -> list[bool]:
        signal.raise_signal(number)
        return [signal.getsignal(each) is signal.SIG_DFL for each in (number, other)]

    own: list[Any] = [lambda found, _: seen.append(found), signal.SIG_IGN]
    for handler in own:
        signal.signal(number, handler)
        assert run_guarded(work) == [False, False]
        assert signal.getsignal(number) is handler
    signal.signal(number, signal.SIG_DFL)
    assert seen == [number]
