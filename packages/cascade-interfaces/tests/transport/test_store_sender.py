"""A message is sent to a store until the store has it."""

from __future__ import annotations

import asyncio

import pytest
from leaping_loop import leaping

from cascade.transport import store_sender
from cascade.transport.faults import LinkLost, MessageRejected
from cascade.transport.store_sender import StoreSender

BOUND = 60.0
ABSENT, REFUSED = 503, 403


@pytest.fixture(autouse=True)
def _short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_sender, "AGAIN", 0.001)


def is_absent(exc: BaseException | None) -> bool:
    return isinstance(exc, MessageRejected) and exc.code == ABSENT


class Store:
    """Answers each message with the next of its codes; 0 and the end of the codes: it has the message."""

    def __init__(self, *codes: int) -> None:
        self.codes = [*codes]
        self.asked = self.searches = 0
        self.look_raises: Exception | None = None

    async def once(self) -> None:
        self.asked += 1
        code = self.codes.pop(0) if self.codes else 0
        if code:
            raise MessageRejected(code)

    async def find(self) -> None:
        self.searches += 1
        if self.look_raises is not None:
            raise self.look_raises


def sender_of(*, timeout: float = BOUND) -> StoreSender[Store]:
    """Return a sender whose messages each name a store of their own."""
    return StoreSender(timeout, once=Store.once, is_absent=is_absent, find_store=Store.find)


async def test_a_refusal_is_not_sent_again() -> None:
    """Neither at once nor after an absence."""
    for store, asked in ((Store(REFUSED), 1), (Store(ABSENT, REFUSED), 2)):
        with pytest.raises(MessageRejected) as raised:
            await sender_of().send(store)
        assert raised.value.code == REFUSED
        assert store.asked == asked


async def test_the_next_link_sends_what_the_store_of_this_one_does_not_take_any_more() -> None:
    """The look says so."""
    store = Store(ABSENT)
    store.look_raises = LinkLost(ConnectionError("ended"))
    with pytest.raises(LinkLost):
        await sender_of().send(store)
    assert store.asked == 1


async def test_the_timeout_is_over_for_all_messages_at_once_and_begins_anew_with_one_that_is_taken() -> None:
    """What waits behind an absent store does not add up; an absence that ended does not count for the next one."""
    sender = sender_of(timeout=0.05)
    away = Store(*[ABSENT] * 100_000)
    with pytest.raises(MessageRejected):
        await sender.send(away)
    with pytest.raises(MessageRejected):
        await sender.send(late := Store(ABSENT))
    assert (late.asked, late.searches) == (1, 0)
    await sender.send(Store())
    sender._timeout = BOUND
    await sender.send(again := Store(ABSENT))
    assert (again.asked, again.searches) == (2, 1)


async def test_messages_wait_behind_one_that_is_sent_again() -> None:
    """Otherwise the older of two messages of one topic would be the one that the store keeps."""
    taken, searches, there = list[str](), list[str](), asyncio.Event()

    async def once(message: str) -> None:
        if not there.is_set():
            raise MessageRejected(ABSENT)
        taken.append(message)

    async def find(message: str) -> None:
        searches.append(message)
        await there.wait()

    sender = StoreSender(BOUND, once=once, is_absent=is_absent, find_store=find)
    async with asyncio.TaskGroup() as group:
        for message in ("first", "second"):  # both leave before the answer to the first
            group.create_task(sender.send(message))
        while not searches:
            await asyncio.sleep(0)
        there.set()
        group.create_task(sender.send("third"))
    assert taken == ["first", "second", "third"]
    assert searches == ["first"]


async def test_a_look_that_fails_holds_nothing_up() -> None:
    """What waited behind it is sent."""
    store, waiting = Store(ABSENT), asyncio.Event()

    async def find(store: Store) -> None:
        store.searches += 1
        await waiting.wait()
        raise LinkLost(ConnectionError("ended"))

    sender = StoreSender(BOUND, once=Store.once, is_absent=is_absent, find_store=find)
    sending = [asyncio.ensure_future(sender.send(store)) for _ in range(2)]
    while not store.searches:
        await asyncio.sleep(0)
    waiting.set()
    results = await asyncio.gather(*sending, return_exceptions=True)
    assert isinstance(results[0], LinkLost)
    assert results[1] is None
    assert (store.asked, store.searches) == (2, 1)


async def test_what_the_store_takes_before_it_is_known_is_not_sent_again() -> None:
    """Nothing waits for the first answer then."""
    sender = sender_of()
    assert await sender.is_taken_early(store := Store())
    assert store.asked == 1
    assert not sender.known.done()


@pytest.mark.parametrize("absent", [True, False], ids=["absent", "silent"])
async def test_what_is_not_taken_before_the_store_is_known_waits_for_that(absent: bool) -> None:
    """Whether nothing answers yet, or no answer comes; the call for it ends."""
    ended = asyncio.Event()

    async def ask(_: Store) -> None:
        try:
            if absent:
                raise MessageRejected(ABSENT)
            await asyncio.Event().wait()
        finally:
            ended.set()

    sender = StoreSender(BOUND, once=ask, is_absent=is_absent, find_store=Store.find)
    sending = asyncio.create_task(sender.is_taken_early(Store()), name="early")
    for _ in range(10):
        await asyncio.sleep(0)
    assert not sending.done()
    assert ended.is_set() is absent
    sender.known.set_result(None)
    assert not await sending
    await ended.wait()


@pytest.mark.parametrize("absent", [True, False], ids=["absent", "silent"])
@leaping
async def test_the_first_answer_is_waited_for_as_long_for_every_message_of_a_link(absent: bool) -> None:
    """A later message does not begin the time anew; behind it nothing is waited for."""
    now = asyncio.get_running_loop().time

    async def ask(_: Store) -> None:
        if absent:
            raise MessageRejected(ABSENT)
        await asyncio.Event().wait()

    sender = StoreSender(5.0, once=ask, is_absent=is_absent, find_store=Store.find)
    first = asyncio.create_task(sender.is_taken_early(Store()), name="first")
    await asyncio.sleep(3.0)
    assert not first.done()
    assert not await sender.is_taken_early(Store())
    assert not await first
    assert now() == pytest.approx(5.0)
    assert not await sender.is_taken_early(Store())
    assert now() == pytest.approx(5.0)


@pytest.mark.full
@leaping
async def test_a_store_may_be_absent_for_the_whole_timeout_and_no_longer() -> None:
    """All messages that wait for it are refused when it is over, in their order; the time between them counts."""
    now = asyncio.get_running_loop().time
    sender, refused = sender_of(timeout=5.0), list[tuple[str, float]]()
    store = Store(*[ABSENT] * 1_000_000)

    async def send(name: str) -> None:
        with pytest.raises(MessageRejected):
            await sender.send(store)
        refused.append((name, now()))

    async with asyncio.TaskGroup() as group:
        group.create_task(send("first"))
        await asyncio.sleep(3.0)
        group.create_task(send("second"))
    assert [name for name, _ in refused] == ["first", "second"]
    assert [at for _, at in refused] == pytest.approx([5.0, 5.0], abs=0.1)


@leaping
async def test_a_message_that_is_given_up_while_it_looks_leaves_the_way_to_others() -> None:
    """Its caller was cancelled; the next one sends."""
    store, other = Store(ABSENT), Store()
    looking = asyncio.Event()

    async def find(_: Store) -> None:
        looking.set()
        await asyncio.Event().wait()

    sender = StoreSender(BOUND, once=Store.once, is_absent=is_absent, find_store=find)
    first = asyncio.create_task(sender.send(store), name="first")
    await looking.wait()
    second = asyncio.create_task(sender.send(other), name="second")
    await asyncio.sleep(1.0)
    assert other.asked == 0
    first.cancel()
    await second
    assert (store.asked, other.asked) == (1, 1)
