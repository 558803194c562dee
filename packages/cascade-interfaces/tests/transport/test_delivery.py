"""Queues of callbacks and watches."""

import asyncio
import logging
from typing import Any

import pytest
from pytest_mock import MockerFixture

from cascade.interfaces import Linked, Lost, Message
from cascade.testkit import eventually
from cascade.transport.delivery.callbacks import CallbackQueue
from cascade.transport.delivery.dispatcher import Dispatcher
from cascade.transport.delivery.message import Delivery, IncomingMessage
from cascade.transport.delivery.watches import WatchQueue


def delivery() -> Delivery:
    return Delivery(logging.getLogger("cascade.test.delivery"))


async def test_a_watch_that_no_task_reads_is_bounded_also_while_links_come_and_go(
    mocker: MockerFixture,
) -> None:
    """For days, without a message; what is left begins with what says that something is missing."""
    mocker.patch("cascade.transport.delivery.watches.WATCH_MESSAGES", 10)
    stream = WatchQueue(["a"], delivery())
    for _ in range(100):
        stream.note(Lost("the link is down"))
        stream.note(Linked())
    items = [await stream.next() for _ in range(10)]
    stream.end()
    assert await stream.next() is None
    assert (items[0], items[-1]) == (Lost("queue full"), Linked())


async def test_a_watch_keeps_the_state_of_the_link_when_it_overflows(mocker: MockerFixture) -> None:
    """``Linked`` is not lost with the messages around it; a link that went down is not reported as up."""
    mocker.patch("cascade.transport.delivery.watches.WATCH_MESSAGES", 3)
    for last, expected in ((Linked(), [Lost("queue full"), Linked()]), (Lost("down"), [Lost("queue full")])):
        queue = WatchQueue(["a"], delivery())
        queue.note(Linked())
        queue.note(last)
        for number in range(5):
            queue.offer(IncomingMessage("a", b"%d" % number))
        rest = [Message("a", b"%d" % number, retain=False) for number in (3, 4)]
        assert [await queue.next() for _ in range(len(expected) + 2)] == [*expected, *rest]


async def test_a_queue_is_idle_when_its_callback_has_returned() -> None:
    """From every message that was queued; the callback's own task does not wait for itself."""
    release, called, waited = asyncio.Event(), list[Any](), list[bool]()

    async def callback(_topic: str, data: dict[str, Any]) -> None:
        await queue.idle(skip=asyncio.current_task())
        waited.append(True)
        await release.wait()
        called.append(data["n"])

    queue = CallbackQueue("a", callback, 0, delivery())
    await queue.idle()
    for number in range(3):
        queue.offer(IncomingMessage("a", b'{"n": %d}' % number))
    idle = asyncio.create_task(queue.idle())
    await eventually(lambda: waited)
    assert not idle.done()
    release.set()
    await idle
    assert called == [0, 1, 2]
    await queue.stop(reason="end")


async def test_a_queue_that_stops_before_its_first_call_serves_the_next_session() -> None:
    """As when a connector disconnects in the turn of the loop in which a message has arrived."""
    called = list[Any]()

    async def callback(_topic: str, data: dict[str, Any]) -> None:
        called.append(data["n"])

    queue = CallbackQueue("a", callback, 0, delivery())
    queue.offer(IncomingMessage("a", b'{"n": 1}'))
    await queue.stop(reason="end")
    await queue.idle()
    queue.begin()
    queue.offer(IncomingMessage("a", b'{"n": 2}'))
    await queue.idle()
    assert called == [2]
    await queue.stop(reason="end")


@pytest.mark.parametrize("turns", [0, 1])
async def test_a_foreign_cancel_costs_a_callback_one_call_at_most(turns: int) -> None:
    """Code outside cancels all tasks; what is queued is delivered, and who waits for it does not wait on."""
    called = list[Any]()

    async def callback(_topic: str, data: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        called.append(data["n"])

    queue = CallbackQueue("a", callback, 0, delivery())
    for number in range(3):
        queue.offer(IncomingMessage("a", b'{"n": %d}' % number))
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    async with asyncio.timeout(50):
        await queue.idle()
    assert called == [0, 1, 2][turns:]
    await queue.stop(reason="end")


@pytest.mark.parametrize("qos", [0, 2])
async def test_a_dispatcher_reports_the_filters_of_the_connector(qos: int) -> None:
    """The first queue of a filter adds it, the last one removes it; a watch asks for QoS 0."""
    seen: list[str] = []
    dispatcher = Dispatcher(
        delivery(),
        filter_added=lambda each: seen.append(f"+{each}"),
        filter_removed=lambda each: seen.append(f"-{each}"),
    )

    async def callback(_topic: str, _data: dict[str, Any]) -> None: ...

    subscription, watch = CallbackQueue("a", callback, qos, delivery()), WatchQueue(["a", "b"], delivery())
    dispatcher.add(subscription)
    assert dispatcher.filters() == {"a": qos}
    dispatcher.add(watch)
    assert dispatcher.filters() == {"a": 0, "b": 0}
    assert dispatcher.remove(watch) == ["b"]
    assert dispatcher.remove(watch) == []
    assert dispatcher.remove(subscription) == ["a"]
    assert seen == ["+a", "+b", "-b", "-a"]
