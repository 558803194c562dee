"""Connectors whose watch is wrong in one way each. Run by ``test_suite_is_tested.py``."""

import asyncio
from collections.abc import Mapping

from tiny import Tiny
from tiny_contract import against
from watcher import TinyStream, Watcher

from cascade.interfaces import Complete, Linked, Lost, Message, WatchItem
from cascade.interfaces.topics import check_filter, matches
from cascade.testkit.connector import Ability, Watching


class YieldsAnObject(Watcher):
    def arrive(self, topic: str, payload: bytes) -> None:
        super().arrive(topic, payload.replace(b": ", b":"))


class YieldsTwiceWhatTwoFiltersMatch(Watcher):
    def arrive(self, topic: str, payload: bytes) -> None:
        super().arrive(topic, payload)
        for stream in self.streams:
            if sum(matches(each, topic) for each in stream.filters) > 2:
                stream.take(topic, payload, retain=False)


class YieldsForEachWatchOfAFilter(Watcher):
    def arrive(self, topic: str, payload: bytes) -> None:
        super().arrive(topic, payload)
        for stream in self.streams if len(self.streams) > 2 else ():
            stream.take(topic, payload, retain=False)


class YieldsToOneWatchOnly(Watcher):
    def arrive(self, topic: str, payload: bytes) -> None:
        kept, self.streams = self.streams, set(sorted(self.streams, key=id)[:2])
        super().arrive(topic, payload)
        self.streams = kept


class Marks(Watcher):
    retained, live = True, False

    def read_set(self, stream: TinyStream, found: Mapping[str, bytes]) -> None:
        for topic, payload in found.items():
            stream.take(topic, payload, retain=self.retained)
        self.complete(stream)

    def arrive(self, topic: str, payload: bytes) -> None:
        Tiny.arrive(self, topic, payload)
        for stream in self.streams:
            if stream.wants(topic):
                stream.take(topic, payload, retain=self.live)


class MarksNothingAsRetained(Marks):
    retained = False


class MarksAllAsRetained(Marks):
    live = True


class YieldsTheSetBehindWhatFollows(Watcher):
    def read_set(self, stream: TinyStream, found: Mapping[str, bytes]) -> None:
        asyncio.get_running_loop().call_later(0.01, super().read_set, stream, found)


class LosesOneOfTheSet(Watcher):
    def read_set(self, stream: TinyStream, found: Mapping[str, bytes]) -> None:
        kept = dict(found)
        if kept:
            kept.popitem()
        super().read_set(stream, kept)


class Yields(Watcher):
    """It changes, or leaves out, an item of a certain kind."""

    def put(self, stream: TinyStream, item: WatchItem) -> list[WatchItem]:
        return [item]

    def watch(self, *filters: str) -> TinyStream:
        for each in filters:
            check_filter(each)
        stream = TinyStream(self, filters)
        put = stream.items.put_nowait

        def changed(item: WatchItem | None) -> None:
            for each in [item] if item is None else self.put(stream, item):
                put(each)

        stream.items.put_nowait = changed  # type: ignore[method-assign]
        self.streams.add(stream)
        if self.linked:
            self.begin(stream)
        return stream


class YieldsNoLinked(Yields):
    def put(self, stream: TinyStream, item: WatchItem) -> list[WatchItem]:
        return [] if item == Linked() else [item]


class YieldsNoLost(Yields):
    def put(self, stream: TinyStream, item: WatchItem) -> list[WatchItem]:
        return [] if isinstance(item, Lost) else [item]


class CompletesOnce(Yields):
    def put(self, stream: TinyStream, item: WatchItem) -> list[WatchItem]:
        return [] if isinstance(item, Complete) and stream.links > 1 else [item]


class LinksOnce(Yields):
    def put(self, stream: TinyStream, item: WatchItem) -> list[WatchItem]:
        return [] if item == Linked() and stream.links > 1 else [item]


class YieldsLostFirst(Yields):
    def put(self, stream: TinyStream, item: WatchItem) -> list[WatchItem]:
        first = item == Linked() and stream.links == 1
        return [Lost("no link yet"), item] if first else [item]


class YieldsBackwards(Yields):
    def put(self, stream: TinyStream, item: WatchItem) -> list[WatchItem]:
        if isinstance(item, Message) and item.payload == b'{"n": 3}':
            self.held = item
            return []
        after = isinstance(item, Message) and item.payload == b'{"n": 4}'
        return [item, self.held] if after else [item]


class YieldsAfterItsEnd(Watcher):
    def watch(self, *filters: str) -> TinyStream:
        stream = super().watch(*filters)
        end = stream.aclose

        async def close() -> None:
            await end()
            stream.closed = False
            stream.items.put_nowait(Lost("the end"))

        stream.aclose = close  # type: ignore[method-assign]
        return stream


class EndsOnceOnly(Watcher):
    def watch(self, *filters: str) -> TinyStream:
        stream = super().watch(*filters)
        end = stream.aclose

        async def close() -> None:
            if stream.closed:
                raise RuntimeError("closed")
            await end()

        stream.aclose = close  # type: ignore[method-assign]
        return stream


class WatchesAnything(Watcher):
    def watch(self, *filters: str) -> TinyStream:
        return super().watch(*(each for each in filters if each != "a/#/b"))


def hiding(payload: bytes) -> type[Tiny]:
    class Hides(Watcher):
        def arrive(self, topic: str, data: bytes) -> None:
            super().arrive(topic, b"null" if data == payload else data)

    return Hides


TestYieldsAnObject = against(Watching, YieldsAnObject, Ability.WATCH)
TestYieldsTwiceWhatTwoFiltersMatch = against(Watching, YieldsTwiceWhatTwoFiltersMatch, Ability.WATCH)
TestYieldsForEachWatchOfAFilter = against(Watching, YieldsForEachWatchOfAFilter, Ability.WATCH)
TestYieldsToOneWatchOnly = against(Watching, YieldsToOneWatchOnly, Ability.WATCH)
TestMarks = against(Watching, Marks, Ability.WATCH)
TestMarksNothingAsRetained = against(Watching, MarksNothingAsRetained, Ability.WATCH)
TestMarksAllAsRetained = against(Watching, MarksAllAsRetained, Ability.WATCH)
TestYieldsTheSetBehindWhatFollows = against(Watching, YieldsTheSetBehindWhatFollows, Ability.WATCH)
TestLosesOneOfTheSet = against(Watching, LosesOneOfTheSet, Ability.WATCH)
TestYieldsNoLinked = against(Watching, YieldsNoLinked, Ability.WATCH)
TestYieldsNoLost = against(Watching, YieldsNoLost, Ability.WATCH)
TestCompletesOnce = against(Watching, CompletesOnce, Ability.WATCH)
TestLinksOnce = against(Watching, LinksOnce, Ability.WATCH)
TestYieldsLostFirst = against(Watching, YieldsLostFirst, Ability.WATCH)
TestYieldsBackwards = against(Watching, YieldsBackwards, Ability.WATCH)
TestYieldsAfterItsEnd = against(Watching, YieldsAfterItsEnd, Ability.WATCH)
TestEndsOnceOnly = against(Watching, EndsOnceOnly, Ability.WATCH)
TestWatchesAnything = against(Watching, WatchesAnything, Ability.WATCH)
TestHidesTheEmptyMessage, TestHidesHalf, TestHidesBytes = (
    against(Watching, hiding(payload), Ability.WATCH) for payload in (b"", b"{", b"\xff\x00")
)
