"""Requests: a watch shows where the sender of a message expects an answer, and the answer gets there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import pytest

from cascade.interfaces import (
    Complete,
    Connector,
    Message,
    ReplyTo,
    SupportsReplies,
    SupportsWatch,
    WatchStream,
    WrongThreadError,
)
from cascade.interfaces.topics import request_topic
from cascade.testkit._abilities import needs
from cascade.testkit._contract.ability import Ability
from cascade.testkit._contract.harness import Harness

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_MANY = 5


class Replying(Harness):
    """Section 5b: messages that expect an answer."""

    @needs(Ability.WATCH, Ability.REPLIES, Ability.REQUESTS)
    async def test_each_request_gets_its_own_answer_once(self) -> None:
        """Also if they are answered in another order than they came: one that waits for its answer holds up no other."""
        topic, connector = self.topic(), await self.open()
        async with self._requests(connector, topic) as stream:
            asked = [await self.ask(topic, b'{"n": %d}' % n) for n in range(_MANY)]
            came = [await self._request(stream) for _ in asked]
            assert [message.payload for message in came] == [b'{"n": %d}' % n for n in range(_MANY)]
            for n, message in reversed([*enumerate(came)]):
                answer(connector, message, n)
            await self.until(lambda: all(answers() for answers in asked), "an answer to each")
            last = await self.ask(topic, b"{}")
            answer(connector, await self._request(stream), _MANY)
            await self.until(last, "an answer that comes behind all others")
            assert [answers() for answers in [*asked, last]] == [[{"n": n}] for n in range(_MANY + 1)]

    @needs(Ability.WATCH, Ability.REPLIES, Ability.REQUESTS)
    async def test_a_message_that_expects_no_answer_shows_none(self) -> None:
        """Neither before a request nor behind it."""
        topic, connector = self.topic(), await self.open()
        witness = await self._opened(await self.make_witness())
        async with self._requests(connector, topic) as stream:
            await witness.publish(topic, {"n": 1}, 1)
            assert (await self._request(stream)).reply_to is None
            await self.ask(topic, b'{"n": 1}')
            assert isinstance((await self._request(stream)).reply_to, ReplyTo)
            await witness.publish(topic, {"n": 1}, 1)
            assert (await self._request(stream)).reply_to is None

    @needs(Ability.WATCH, Ability.REQUESTS, Ability.TRACES)
    async def test_a_request_shows_the_trace_of_its_sender(self) -> None:
        """One without a trace shows none, also behind one with a trace; a wrong one is left out."""
        topic, connector = self.topic(), await self.open()
        async with self._requests(connector, topic) as stream:
            for sent in (TRACE, "", f"{TRACE}0", TRACE.upper()):
                await self.ask(topic, b'{"n": 1}', traceparent=sent)
                message = await self._request(stream)
                assert (message.payload, message.traceparent) == (b'{"n": 1}', sent if sent == TRACE else "")

    @needs(Ability.WATCH, Ability.REPLIES, Ability.REQUESTS, Ability.LINK)
    async def test_an_answer_without_a_link_waits_for_it(self) -> None:
        """The call returns at once, and the answer comes when the link is back."""
        topic, connector = self.topic(), await self.open()
        async with self._requests(connector, topic) as stream:
            answers = await self.ask(topic, b"{}")
            request = await self._request(stream)
            await self.interrupt()
            answer(connector, request, 1)
            assert answers() == []
            await self.restore()
            await self.until(answers, "the answer")
            assert answers()[0] == {"n": 1}

    @needs(Ability.WATCH, Ability.REPLIES, Ability.REQUESTS)
    async def test_an_answer_from_another_thread_is_refused(self) -> None:
        """WrongThreadError is raised, and only the answer of the own thread is sent."""
        topic, connector = self.topic(), await self.open()
        async with self._requests(connector, topic) as stream:
            answers = await self.ask(topic, b"{}")
            request = await self._request(stream)
            with pytest.raises(WrongThreadError):
                await asyncio.to_thread(answer, connector, request, 1)
            answer(connector, request, 2)
            await self.until(answers, "the answer")
            assert answers() == [{"n": 2}]

    @needs(Ability.WATCH, Ability.REQUESTS, Ability.RETAINED)
    async def test_a_live_request_shows_whether_it_is_retained(self) -> None:
        """Row 58: a program that obeys them refuses what would come again at each start. On other topics none shows it."""
        other = self.topic()
        topic, connector = request_topic(other.rpartition("/")[2], "audit"), await self.open()
        witness = await self._opened(await self.make_witness())
        async with self._requests(connector, topic, other) as stream:
            for where, retain, shown in ((topic, False, False), (other, True, False), (topic, True, True)):
                await witness.publish(where, {"n": 1}, 1, retain=retain)
                assert (await self._request(stream)).retain is shown
        for each in (topic, other):
            await witness.publish(each, None, 1, retain=True)

    @contextlib.asynccontextmanager
    async def _requests(self, connector: Connector, *topics: str) -> AsyncGenerator[WatchStream, None]:
        """Watch topics, whose set is empty and complete."""
        assert isinstance(connector, SupportsWatch)
        async with contextlib.aclosing(connector.watch(*topics)) as stream:
            while not isinstance(await self.within(anext(stream)), Complete):
                pass
            yield stream

    async def _request(self, stream: WatchStream) -> Message:
        while not isinstance(item := await self.within(anext(stream)), Message):
            pass
        return item


def answer(connector: Connector, message: Message, n: int) -> None:
    """Answer a request with ``{"n": n}``."""
    assert isinstance(connector, SupportsReplies)
    assert message.reply_to is not None
    connector.answer_nowait(message.reply_to, {"n": n})
