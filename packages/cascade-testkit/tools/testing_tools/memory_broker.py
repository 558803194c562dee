"""A broker within the test: what it retains, what it permits, and the link that a command gets to it."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Mapping
from io import StringIO
from typing import Any

import pytest

from cascade.cli import main
from cascade.cli.link import Address
from cascade.interfaces.topics import matches
from cascade.interfaces.watch import Complete, Linked, Lost, Message, WatchItem

PLACE = "broker mqtt://broker.example\n"
"""What a command that steers says first, because the environment names the broker."""
_STYLE = re.compile(r"\x1b\[[\d;]*m")


class MemoryBroker:
    """Every command of a test reaches it instead of a real broker.

    :param retained: content by topic.
    """

    def __init__(self, retained: Mapping[str, object]) -> None:
        self.retained = {topic: json.dumps(content).encode() for topic, content in retained.items()}
        self.written: list[tuple[str, Any]] = []
        """Topic and content of each message that a command has published."""
        self.read_only: set[str] = set()
        """Topics whose messages it drops: it acknowledges them, and neither keeps nor returns them."""
        self.cut: set[str] = set()
        """Filters at which it ends the link."""
        self.complete = True
        """Whether it shows the end of the retained messages."""
        self.proved = True
        """Whether it proves that end; else it sends the retained messages behind it, as aedes may."""
        self.wildcards = True
        """Whether a filter with a wildcard gets retained messages; RabbitMQ sends none."""
        self.too_many = False
        """Whether there are too many topics to list."""
        self.acknowledges = True
        self.links = 0
        """Links that are open now."""
        self.streams: list[MemoryStream] = []

    def take(self, topic: str, content: Any) -> None:
        """Keep a message and deliver it."""
        if topic in self.read_only:
            return
        payload = b"" if content is None else json.dumps(content).encode()
        if payload:
            self.retained[topic] = payload
        else:
            self.retained.pop(topic, None)
        for stream in self.streams:
            stream.deliver(Message(topic, payload, retain=False))


class MemoryStream:
    """One watch: the retained messages, then what comes."""

    def __init__(self, broker: MemoryBroker, filters: tuple[str, ...]) -> None:
        self._broker = broker
        self._filters = filters
        self._items: asyncio.Queue[WatchItem] = asyncio.Queue()
        broker.streams.append(self)
        self._items.put_nowait(Linked())
        if broker.cut.intersection(filters):
            self._items.put_nowait(Lost("cut"))
            return
        found = {topic: each for topic, each in broker.retained.items() if self._covers(topic)}
        if not broker.wildcards:
            found = {topic: each for topic, each in found.items() if topic in filters}
        items: list[WatchItem] = [Message(topic, payload, retain=True) for topic, payload in found.items()]
        if broker.complete:
            topics = None if broker.too_many else frozenset(found if broker.proved else ())
            items.insert(len(items) if broker.proved else 0, Complete(broker.proved, topics))
        for each in items:
            self._items.put_nowait(each)

    def deliver(self, message: Message) -> None:
        if self._covers(message.topic):
            self._items.put_nowait(message)

    def __aiter__(self) -> MemoryStream:
        return self

    async def __anext__(self) -> WatchItem:
        return await self._items.get()

    async def aclose(self) -> None:
        self._broker.streams.remove(self)

    def _covers(self, topic: str) -> bool:
        return any(matches(each, topic) for each in self._filters)


class MemoryLink:
    """What a command uses of a connector."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    async def connect(self) -> None:
        self._broker.links += 1

    async def disconnect(self) -> None:
        self._broker.links -= 1

    def watch(self, *filters: str) -> MemoryStream:
        return MemoryStream(self._broker, filters)

    async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        assert (qos, retain) == (1, True)
        self._broker.written.append((topic, payload))
        self._broker.take(topic, payload)

    async def flush(self, timeout: float | None = None) -> bool:
        return self._broker.acknowledges


class Screen(StringIO):
    """A terminal; as standard input, a person whose answers it has."""

    def isatty(self) -> bool:
        return True


class Person:
    """A person at a terminal of a certain width, with a broker."""

    def __init__(self, broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch) -> None:
        self.broker = broker
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(Address, "tool", lambda address: MemoryLink(broker))
        monkeypatch.setenv("CASCADE_BROKER", "mqtt://broker.example")

    def types(self, *arguments: str, answer: str = "", width: int = 160) -> tuple[int, list[str], str]:
        """Return the exit code, the lines on the screen, and what stands on standard error, without the broker's address."""
        screen, errors = Screen(), StringIO()
        with self._monkeypatch.context() as patched:
            patched.setenv("COLUMNS", str(width))
            patched.setattr(sys, "stdout", screen)
            patched.setattr(sys, "stderr", errors)
            patched.setattr(sys, "stdin", Screen(answer))
            code = main(arguments)
        assert self.broker.links == 0
        assert self.broker.streams == []
        return code, _STYLE.sub("", screen.getvalue()).splitlines(), errors.getvalue().removeprefix(PLACE)
