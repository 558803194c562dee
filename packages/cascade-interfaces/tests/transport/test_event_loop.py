"""What belongs to an event loop, and an event that belongs to none."""

import asyncio

from cascade.transport.event_loop import AutoResetEvent


async def test_an_event_that_was_set_before_is_not_lost_and_resets_itself() -> None:
    """The first wait returns at once, the second one waits for the next set."""
    event = AutoResetEvent()
    event.set()
    event.set()
    await event.wait()
    waiting = asyncio.create_task(event.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    event.set()
    await waiting


async def test_a_cancelled_waiter_leaves_the_event_usable() -> None:
    """The next task can wait."""
    event = AutoResetEvent()
    waiting = asyncio.create_task(event.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    event.set()
    await event.wait()


async def test_a_wait_with_an_end_returns_whether_the_event_was_set() -> None:
    """One that was set before counts once; without an end it waits for the event."""
    event, now = AutoResetEvent(), asyncio.get_running_loop().time
    assert not await event.wait_until(now() + 0.001)
    event.set()
    assert await event.wait_until(now() + 60)
    assert not await event.wait_until(now())
    waiting = asyncio.create_task(event.wait_until(None), name="waiting")
    await asyncio.sleep(0)
    assert not waiting.done()
    event.set()
    assert await waiting


def test_an_event_can_be_used_on_one_loop_after_the_other() -> None:
    """It is bound to no loop while no task waits."""
    event = AutoResetEvent()
    event.set()
    for _ in range(2):
        asyncio.run(event.wait())
        event.set()
