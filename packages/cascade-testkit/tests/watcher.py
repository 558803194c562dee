"""A tiny connector with a correct watch. ``mutants.py`` makes it wrong."""

import asyncio
from collections.abc import Mapping
from typing import Self

from tiny import Board, Line, Tiny

from cascade.interfaces import Complete, Linked, Lost, Message, WatchItem
from cascade.interfaces.topics import check_filter, matches


class WithholdingBoard(Board):
    """A broker that answers with retained messages on a watch's first link only."""


class TinyStream:
    """One watch: what it has yielded, and what it knows of the retained set."""

    def __init__(self, owner: "Watcher", filters: tuple[str, ...]) -> None:
        self.owner, self.filters = owner, filters
        self.items: asyncio.Queue[WatchItem | None] = asyncio.Queue()
        self.known: set[str] = set()
        self.links = 0
        self.closed = False

    def wants(self, topic: str) -> bool:
        return any(matches(each, topic) for each in self.filters)

    def take(self, topic: str, payload: bytes, *, retain: bool) -> None:
        (self.known.add if payload else self.known.discard)(topic)
        self.items.put_nowait(self.owner.message_of(topic, payload, retain=retain))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchItem:
        item = None if self.closed else await self.items.get()
        if item is None:
            raise StopAsyncIteration
        return item

    async def aclose(self) -> None:
        self.closed = True
        self.items.put_nowait(None)
        self.owner.streams.discard(self)


class Watcher(Tiny):
    """Its board knows at once which retained messages there are."""

    def __init__(self, board: Board, line: Line) -> None:
        super().__init__(board, line)
        self.streams: set[TinyStream] = set()

    def watch(self, *filters: str) -> TinyStream:
        for each in filters:
            check_filter(each)
        stream = TinyStream(self, filters)
        self.streams.add(stream)
        if self.linked:
            self.begin(stream)
        return stream

    def link(self) -> None:
        super().link()
        for stream in self.streams:
            self.begin(stream)

    def unlink(self) -> None:
        if self.linked:
            for stream in self.streams:
                stream.items.put_nowait(Lost("the link is down"))
        super().unlink()

    def arrive(self, topic: str, payload: bytes) -> None:
        super().arrive(topic, payload)
        for stream in self.streams:
            if stream.wants(topic):
                stream.take(topic, payload, retain=False)

    def message_of(self, topic: str, payload: bytes, *, retain: bool) -> Message:
        return Message(topic, payload, retain=retain)

    def begin(self, stream: TinyStream) -> None:
        stream.links += 1
        self.board.filters.setdefault(self, set()).update(stream.filters)
        stream.items.put_nowait(Linked())
        withheld = isinstance(self.board, WithholdingBoard) and stream.links > 1
        retained = {} if withheld else self.board.retained
        self.read_set(stream, {topic: retained[topic] for topic in retained if stream.wants(topic)})

    # What the mutants do wrong.

    def read_set(self, stream: TinyStream, found: Mapping[str, bytes]) -> None:
        for topic, payload in found.items():
            stream.take(topic, payload, retain=True)
        stream.known -= self.gone(stream.known - found.keys())
        self.complete(stream)

    def gone(self, missing: set[str]) -> set[str]:
        return missing - self.board.retained.keys()

    def complete(self, stream: TinyStream) -> None:
        stream.items.put_nowait(Complete(True, frozenset(stream.known)))
