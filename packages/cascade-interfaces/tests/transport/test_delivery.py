"""Queues of callbacks and watches."""

import asyncio
import logging
from typing import Any

import pytest
from pytest_mock import MockerFixture

from cascade.interfaces import Linked, Lost, Message, ReplyTo
from cascade.interfaces.watch import Complete
from cascade.transport.incoming.callbacks import CallbackQueue
from cascade.transport.incoming.message import DeliveryCounts, IncomingMessage
from cascade.transport.incoming.watches import WatchQueue


def delivery() -> DeliveryCounts:
    return DeliveryCounts(logging.getLogger("cascade.test.delivery"))


async def test_a_watch_that_no_task_reads_is_bounded_also_while_links_come_and_go(
    mocker: MockerFixture,
) -> None:
    """For days, without a message; what is left begins with what says that something is missing."""
    mocker.patch("cascade.transport.incoming.watches.WATCH_MESSAGES", 10)
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
    mocker.patch("cascade.transport.incoming.watches.WATCH_MESSAGES", 3)
    for last, expected in ((Linked(), [Lost("queue full"), Linked()]), (Lost("down"), [Lost("queue full")])):
        queue = WatchQueue(["a"], delivery())
        queue.note(Linked())
        queue.note(last)
        for number in range(5):
            queue.offer(IncomingMessage("a", b"%d" % number))
        rest = [Message("a", b"%d" % number, retain=False) for number in (3, 4)]
        assert [await queue.next() for _ in range(len(expected) + 2)] == [*expected, *rest]


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


SET = Complete(True, frozenset({"a"}))
OVERFLOWED = Lost("queue full")


def offer(queue: WatchQueue, *payloads: bytes) -> None:
    for payload in payloads:
        queue.offer(IncomingMessage("a", payload))


async def read(queue: WatchQueue, count: int) -> list[Any]:
    """Return the next items; each of them is there already."""
    async with asyncio.timeout(50):
        return [await queue.next() for _ in range(count)]


async def test_a_watch_counts_the_messages_that_it_has_discarded(mocker: MockerFixture) -> None:
    """Not what it says of the link, nor what was read; those that wait for an answer count, too."""
    mocker.patch("cascade.transport.incoming.watches.WATCH_MESSAGES", 4)
    counts = delivery()
    queue = WatchQueue(["a"], counts)
    queue.note(Linked())
    queue.note(SET)
    offer(queue, *(b"%d" % n for n in range(6)))
    assert counts.discarded == {"queue full": 3}
    rest = [Message("a", b"%d" % n, retain=False) for n in (3, 4, 5)]
    assert await read(queue, 5) == [OVERFLOWED, Linked(), *rest]
    queue.hold()
    offer(queue, *(b"%d" % n for n in range(5)))
    assert counts.discarded == {"queue full": 8}
    queue.note(Linked())
    assert await read(queue, 2) == [OVERFLOWED, Linked()]
    assert counts.delivered == 3


@pytest.mark.parametrize("before", [0, 5])
async def test_a_set_that_arrives_after_an_overflow_was_read_is_complete(
    before: int, mocker: MockerFixture
) -> None:
    """However many sets came before; one that waited in front of it, or arrived between, is not."""
    mocker.patch("cascade.transport.incoming.watches.WATCH_MESSAGES", 6)
    queue = WatchQueue(["a"], delivery())
    for _ in range(before):
        queue.note(SET)
    assert await read(queue, before) == [SET] * before
    offer(queue, *[b"1"] * 4)
    queue.note(SET)
    offer(queue, *[b"2"] * 4)
    queue.note(SET)
    assert await read(queue, 1) == [OVERFLOWED]
    queue.note(later := Complete(True, frozenset({"b"})))
    found = list[Any]()
    while not found or found[-1] != later:
        found += await read(queue, 1)
    assert [item for item in found if isinstance(item, Complete)] == [later]


async def test_a_reader_that_waits_learns_of_each_kind_of_item() -> None:
    """And that the watch has ended; behind that nothing arrives any more."""
    queue = WatchQueue(["a"], delivery())
    for item in (Linked(), SET, Lost("the link is down")):
        reading = asyncio.ensure_future(queue.next())
        await asyncio.sleep(0)
        queue.note(item)
        assert await asyncio.wait_for(reading, 50) == item
    reading = asyncio.ensure_future(queue.next())
    await asyncio.sleep(0)
    queue.end()
    assert await asyncio.wait_for(reading, 50) is None
    queue.note(Linked())
    offer(queue, b"1")
    assert queue.ended
    assert await asyncio.wait_for(queue.next(), 50) is None


async def test_a_message_that_is_not_json_is_decoded_once_and_wrong_for_everybody() -> None:
    """Each callback counts it, and a later one is not given what an earlier one could not have."""
    counts = delivery()
    got = list[dict[str, Any]]()

    async def callback(_topic: str, data: dict[str, Any]) -> None:
        got.append(data)

    queues = [CallbackQueue("a", callback, 0, counts) for _ in range(3)]
    for payload in (b"[", b'{"n": 1}'):
        message = IncomingMessage("a", payload)
        for queue in queues:
            queue.offer(message)
    for queue in queues:
        await queue.idle()
        await queue.stop(reason="end")
    assert (counts.discarded, counts.delivered) == ({"undecodable": 3}, 3)
    assert got == [{"n": 1}] * 3


async def test_the_address_of_an_answer_counts_as_bytes_of_a_watch(mocker: MockerFixture) -> None:
    """Requests with much correlation data are bounded like others, and each that is read has its own."""
    mocker.patch("cascade.transport.incoming.watches.WATCH_BYTES", 100)
    queue = WatchQueue(["a"], delivery())
    asked = [ReplyTo("b", b"%d" % number * 40) for number in range(4)]
    for each in asked:
        queue.offer(IncomingMessage("a", b"", reply_to=each))
    assert [await queue.next() for _ in range(3)] == [
        Lost("queue full"),
        *(Message("a", b"", retain=False, reply_to=each) for each in asked[2:]),
    ]
