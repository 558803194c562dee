"""The retained messages of a LocalHub: which ones a filter finds, and what a watch yields."""

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cascade.interfaces import Complete, Message
from cascade.interfaces.topics import matches
from cascade.runtime import LocalConnector, LocalHub
from cascade.runtime.local._retained import RetainedMessages

levels = st.sampled_from(["a", "b", "", "$SYS"])
topics = st.lists(levels, min_size=1, max_size=4).map("/".join).filter(bool)
filters = (
    st.tuples(st.lists(st.one_of(levels, st.just("+")), max_size=4), st.booleans())
    .map(lambda parts: "/".join([*parts[0], "#"] if parts[1] else parts[0]))
    .filter(bool)
)
messages = st.lists(st.tuples(topics, st.sampled_from([b"", b"1", b"2"])), max_size=20)


@given(messages, st.lists(filters, max_size=3))
def test_the_index_finds_what_plain_matching_finds(published: list[Any], wanted: list[str]) -> None:
    """After any messages and clears, any filters find the topics that match, in the order of their first message."""
    kept = RetainedMessages()
    plain: dict[str, bytes] = {}
    for topic, payload in published:
        before = plain.keys() | set()
        if payload:
            plain[topic] = payload
        else:
            plain.pop(topic, None)
        assert kept.keep(topic, payload) is (before != plain.keys())
    found = kept.matching(wanted)
    assert found == [topic for topic in plain if any(matches(each, topic) for each in wanted)]
    assert [kept[topic] for topic in found] == [plain[topic] for topic in found]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), topics, st.sampled_from([b"", b"1"])),
        st.tuples(st.just("extend"), topics),
        st.tuples(st.just("shrink"), topics),
        st.tuples(st.just("reconnect")),
    ),
    max_size=12,
)


async def complete_of(stream: Any) -> Complete:
    async for item in stream:
        if isinstance(item, Complete):
            return item
    raise AssertionError


@given(st.lists(filters, min_size=1, max_size=2), steps)
def test_a_watch_gets_the_set_of_this_moment_with_every_complete(wanted: list[str], taken: list[Any]) -> None:
    """Whatever was published, added and removed before: each ``Complete`` names all topics that match now."""
    asyncio.run(_follow(wanted, taken))


async def _follow(wanted: list[str], taken: list[Any]) -> None:
    hub, plain, exact = LocalHub(), set[str](), set[str]()
    async with LocalConnector(hub) as connector:
        stream = connector.watch(*wanted)
        await complete_of(stream)
        for kind, *details in taken:
            if kind == "publish":
                hub.publish(*details, retain=True)
                (plain.add if details[1] else plain.discard)(details[0])
            elif kind == "extend":
                exact |= {*details} - {*wanted}
                stream.extend(*details)
            elif kind == "shrink":
                stream.shrink(*details)
                exact -= {*details}
                wanted = [each for each in wanted if each not in details]
            else:
                await connector.disconnect()
                await connector.connect()
                await complete_of(stream)
        stream.extend("last/one")
        hub.publish("last/one", b"end")
        expected = {each for each in plain if any(matches(one, each) for one in [*wanted, *exact])}
        assert (await _last(stream)).topics == frozenset(expected)
        await stream.aclose()


async def _last(stream: Any) -> Complete:
    """Return the newest ``Complete`` before the message that ends the test."""
    found: list[Complete] = []
    async for item in stream:
        if isinstance(item, Complete):
            found.append(item)
        if isinstance(item, Message) and item.payload == b"end":
            break
    return found[-1]
