"""The retained messages of a hub, found by topic filter. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class RetainedMessages:
    """The retained message of each topic; a filter costs what it matches, however many others there are."""

    def __init__(self) -> None:
        self._payloads: dict[str, bytes] = {}
        self._serials: dict[str, int] = {}
        """Place of each topic in the order in which they came to hold a message."""
        self._next_serial = 0
        self._root = _Level()

    def __getitem__(self, topic: str) -> bytes:
        return self._payloads[topic]

    def keep(self, topic: str, payload: bytes) -> bool:
        """Retain a message, or clear the topic if it is empty; return whether the set of topics has changed."""
        if bool(payload) is (topic in self._payloads):
            if payload:
                self._payloads[topic] = payload
            return False
        if payload:
            self._add(topic, payload)
        else:
            self._clear(topic)
        return True

    def matching(self, filters: Iterable[str]) -> list[str]:
        """Return the topics that match any of the filters, in the order in which they came to hold a message."""
        found: set[str] = set()
        for topic_filter in filters:
            if "+" in topic_filter or "#" in topic_filter:
                found.update(self._root.matching(topic_filter.split("/")))
            elif topic_filter in self._payloads:
                found.add(topic_filter)
        return sorted(found, key=self._serials.__getitem__)

    def _add(self, topic: str, payload: bytes) -> None:
        self._payloads[topic] = payload
        self._serials[topic] = self._next_serial
        self._next_serial += 1
        level = self._root
        for name in topic.split("/"):
            below = level.children.get(name)
            if below is None:
                below = level.children[name] = _Level()
            level = below
        level.topic = topic

    def _clear(self, topic: str) -> None:
        del self._payloads[topic], self._serials[topic]
        names = topic.split("/")
        path = [self._root]
        for name in names:
            path.append(path[-1].children[name])
        path[-1].topic = None
        while names and path[-1].topic is None and not path[-1].children:
            path.pop()
            del path[-1].children[names.pop()]


class _Level:
    """One level of the topics that begin alike."""

    __slots__ = ("children", "topic")

    def __init__(self) -> None:
        self.children: dict[str, _Level] = {}
        self.topic: str | None = None
        """The topic that ends here, if it holds a message."""

    def matching(self, names: list[str]) -> Iterator[str]:
        """Yield the topics below that match the levels of a filter."""
        levels = [self]
        for depth, name in enumerate(names):
            if name == "#":
                for level in levels if depth else self._public():
                    yield from level.topics()
                return
            if name == "+":
                levels = (
                    [each for level in levels for each in level.children.values()]
                    if depth
                    else self._public()
                )
            else:
                levels = [each for level in levels if (each := level.children.get(name)) is not None]
        yield from (level.topic for level in levels if level.topic is not None)

    def topics(self) -> Iterator[str]:
        """Yield the topics that end here and below."""
        levels = [self]
        while levels:
            level = levels.pop()
            if level.topic is not None:
                yield level.topic
            levels += level.children.values()

    def _public(self) -> list[_Level]:
        """Return the first levels that a wildcard matches (MQTT 5.0, section 4.7.2)."""
        return [level for name, level in self.children.items() if not name.startswith("$")]
