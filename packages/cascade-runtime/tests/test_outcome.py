"""How a run ends: once, with what ended it first, and without an error that asyncio reports as never retrieved."""

import asyncio
import gc
from typing import Any

import pytest

from cascade.runtime._scheduler.outcome import RunOutcome
from cascade.runtime._scheduler.state import RunState


def outcome(*, carry_on: bool = False) -> RunOutcome:
    """Return the outcome of a run that has no tasks, so it reports none."""
    events: Any = None
    return RunOutcome("r1", RunState(), events, carry_on=carry_on)


async def test_an_error_that_ends_a_run_before_it_waits_is_not_reported_by_asyncio() -> None:
    """The run raises what it was doing then; a second report of "exception was never retrieved" would mislead."""
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    for close in (True, False):
        ended = outcome()
        ended.abort(ValueError("boom"))
        if close:
            ended.close()
        del ended
        gc.collect()
    assert [str(context["exception"]) for context in reported] == ["boom"]


async def test_what_ends_a_run_first_is_raised() -> None:
    """Later errors, and the end of its last target, change nothing."""
    ended = outcome()
    ended.abort(KeyboardInterrupt())
    ended.abort(ValueError("later"))
    ended.conclude()
    with pytest.raises(KeyboardInterrupt):
        await ended.wait()


async def test_a_run_that_is_closed_before_its_end_is_cancelled() -> None:
    """Closing it again, and whatever comes afterwards, does no harm."""
    ended = outcome()
    for _ in range(2):
        ended.close()
        assert ended.finished.cancelled()
    ended.abort(ValueError("later"))
    ended.conclude()
    with pytest.raises(asyncio.CancelledError):
        await ended.wait()


@pytest.mark.parametrize("carry_on", [False, True])
async def test_a_run_whose_targets_are_settled_ends_well(carry_on: bool) -> None:
    """With nothing to wait for it ends at once, and a late error does not change that."""
    ended = outcome(carry_on=carry_on)
    ended.conclude()
    ended.conclude()
    ended.abort(ValueError("later"))
    await ended.wait()
    ended.close()
    assert not ended.finished.cancelled()
