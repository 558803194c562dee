"""Connectors that answer requests, a correct one and others that are wrong in one way each. Run by ``test_suite_is_tested.py``."""

import asyncio
import itertools
import json
from collections.abc import Mapping
from typing import Any

from tiny import Board
from tiny_contract import TinyHooks
from watcher import TinyStream, Watcher

from cascade.interfaces import Message, ReplyTo
from cascade.interfaces.topics import is_request
from cascade.interfaces.traces import read_traceparent
from cascade.interfaces.wire import encode_payload
from cascade.testkit.connector import Ability, Answers, Replying

HERE = "answers"
"""Where every request of a test expects its answer."""


class AskingBoard(Board):
    """Knows of each payload, as an object, what comes beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.beside: dict[int, tuple[bytes, ReplyTo | bytes | None]] = {}
        self.traces: dict[int, str] = {}
        self.answers: list[tuple[object, bytes]] = []

    def send(self, topic: str, payload: bytes, retain: bool, *, kept_as: str | None = None) -> None:
        if topic == HERE:
            self.answers.append((self.beside[id(payload)][1], payload))
        super().send(topic, payload, retain, kept_as=kept_as)


class Replier(Watcher):
    """Correct."""

    board: AskingBoard

    def message_of(self, topic: str, payload: bytes, *, retain: bool) -> Message:
        reply_to = self.board.beside.get(id(payload), (b"", None))[1]
        kept = is_request(topic) and self.board.retained.get(topic) is payload
        return Message(
            topic,
            payload,
            retain or kept,
            reply_to=reply_to if isinstance(reply_to, ReplyTo) else None,
            traceparent=read_traceparent(self.board.traces.get(id(payload), "")),
        )

    def answer_nowait(self, reply_to: ReplyTo, payload: Mapping[str, Any] | None) -> None:
        self.check_thread()
        self.queue(reply_to.topic, reply_to.correlation, payload)

    def queue(self, topic: str, correlation: bytes | None, payload: Mapping[str, Any] | None) -> None:
        data = encode_payload(payload)[0].encode()
        self.board.beside[id(data)] = data, correlation
        self.outbox.append((topic, data, False))
        self.wake.set()


class ForgetsCorrelationData(Replier):
    def queue(self, topic: str, correlation: bytes | None, payload: Mapping[str, Any] | None) -> None:
        super().queue(topic, None, payload)


class AnswersOnAnotherTopic(Replier):
    def queue(self, topic: str, correlation: bytes | None, payload: Mapping[str, Any] | None) -> None:
        super().queue(f"{topic}/1", correlation, payload)


class AnswersTwice(Replier):
    def queue(self, topic: str, correlation: bytes | None, payload: Mapping[str, Any] | None) -> None:
        super().queue(topic, correlation, payload)
        super().queue(topic, correlation, payload)


class AnswersTheLatest(Replier):
    """It keeps one address, and not one for each request."""

    latest: ReplyTo | None = None

    def message_of(self, topic: str, payload: bytes, *, retain: bool) -> Message:
        message = super().message_of(topic, payload, retain=retain)
        self.latest = message.reply_to or self.latest
        return message

    def answer_nowait(self, reply_to: ReplyTo, payload: Mapping[str, Any] | None) -> None:
        super().answer_nowait(self.latest or reply_to, payload)


class BlocksUntilItHasAnswered(Replier):
    """The next request waits."""

    def watch(self, *filters: str) -> TinyStream:
        stream = super().watch(*filters)
        get, self.answered = stream.items.get, asyncio.Event()
        self.answered.set()

        async def one_by_one() -> Any:
            await self.answered.wait()
            item = await get()
            if isinstance(item, Message) and item.reply_to is not None:
                self.answered.clear()
            return item

        stream.items.get = one_by_one  # type: ignore[method-assign]
        return stream

    def queue(self, topic: str, correlation: bytes | None, payload: Mapping[str, Any] | None) -> None:
        super().queue(topic, correlation, payload)
        self.answered.set()


class LosesAnAnswerWithoutALink(Replier):
    def queue(self, topic: str, correlation: bytes | None, payload: Mapping[str, Any] | None) -> None:
        if self.linked:
            super().queue(topic, correlation, payload)


class RaisesWithoutALink(Replier):
    def queue(self, topic: str, correlation: bytes | None, payload: Mapping[str, Any] | None) -> None:
        if not self.linked:
            raise ConnectionError("no link")
        super().queue(topic, correlation, payload)


class AnswersFromAnyThread(Replier):
    def answer_nowait(self, reply_to: ReplyTo, payload: Mapping[str, Any] | None) -> None:
        try:
            self.check_thread()
        finally:
            assert self.loop is not None
            self.loop.call_soon_threadsafe(self.queue, reply_to.topic, reply_to.correlation, payload)


class ShowsAnAddressThatWasNotSent(Replier):
    latest: ReplyTo | None = None

    def message_of(self, topic: str, payload: bytes, *, retain: bool) -> Message:
        message = super().message_of(topic, payload, retain=retain)
        self.latest = message.reply_to or self.latest
        return message._replace(reply_to=self.latest)


class HidesTheTrace(Replier):
    def message_of(self, topic: str, payload: bytes, *, retain: bool) -> Message:
        return super().message_of(topic, payload, retain=retain)._replace(traceparent="")


class ShowsAnyTextAsATrace(Replier):
    def message_of(self, topic: str, payload: bytes, *, retain: bool) -> Message:
        message = super().message_of(topic, payload, retain=retain)
        return message._replace(traceparent=self.board.traces.get(id(payload), ""))


class ShowsTheLatestTrace(Replier):
    latest = ""

    def message_of(self, topic: str, payload: bytes, *, retain: bool) -> Message:
        message = super().message_of(topic, payload, retain=retain)
        self.latest = message.traceparent or self.latest
        return message._replace(traceparent=self.latest)


class HidesThatARequestIsRetained(Replier):
    def message_of(self, topic: str, payload: bytes, *, retain: bool) -> Message:
        return super().message_of(topic, payload, retain=retain)._replace(retain=retain)


class TakesEveryRequestForRetained(Replier):
    def message_of(self, topic: str, payload: bytes, *, retain: bool) -> Message:
        return super().message_of(topic, payload, retain=retain)._replace(retain=is_request(topic))


class ReplierContract(TinyHooks, Replying):
    """The section of requests alone: in all others these are like Watcher."""

    abilities = TinyHooks.abilities | {*(Ability.WATCH, Ability.REPLIES, Ability.REQUESTS, Ability.TRACES)}
    kind = Replier
    board_kind = AskingBoard
    board: AskingBoard

    async def ask(self, topic: str, payload: bytes, *, traceparent: str = "") -> Answers:
        number = next(NUMBERS)
        payload = bytes([*payload])  # one object for each request
        self.board.beside[id(payload)] = payload, ReplyTo(HERE, b"%d" % number)
        self.board.traces[id(payload)] = traceparent
        self.board.send(topic, payload, retain=False)
        return lambda: [json.loads(data) for found, data in self.board.answers if found == b"%d" % number]


NUMBERS = itertools.count()

for kind in (
    Replier,
    ForgetsCorrelationData,
    AnswersOnAnotherTopic,
    AnswersTwice,
    AnswersTheLatest,
    BlocksUntilItHasAnswered,
    LosesAnAnswerWithoutALink,
    RaisesWithoutALink,
    AnswersFromAnyThread,
    ShowsAnAddressThatWasNotSent,
    HidesTheTrace,
    ShowsAnyTextAsATrace,
    ShowsTheLatestTrace,
    HidesThatARequestIsRetained,
    TakesEveryRequestForRetained,
):
    globals()[f"Test{kind.__name__}"] = type(f"Test{kind.__name__}", (ReplierContract,), {"kind": kind})
