"""Retained messages that ``ha`` and ``prune`` write, and what proves that the broker has taken them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cascade.cli import link
from cascade.cli.errors import CommandError
from cascade.cli.link import Address
from cascade.interfaces.watch import Message
from cascade.ops import _retained_writes as retained_writes
from cascade.ops._retained_writes import publish_and_see
from testing_tools.memory_broker import MemoryBroker, MemoryLink


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """A broker within the test, which every address names."""
    made = MemoryBroker({"a/other": 1})
    monkeypatch.setattr(Address, "tool", lambda _: MemoryLink(made))
    monkeypatch.setattr(retained_writes, "ACKNOWLEDGE_SECONDS", 0.05)
    return made


def published(messages: Mapping[str, Any]) -> None:
    work = publish_and_see(Address("mqtt://b"), messages, "a/#", done="cleared", rule="add the rule")
    link.run(work)


def test_a_message_counts_when_the_broker_has_returned_it(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them: written or cleared. The link and the watch end whatever happens."""
    monkeypatch.setattr(retained_writes, "ACKNOWLEDGE_SECONDS", 60.0)
    published({"a/1": {"x": 1}, "a/2": None, "a/3": {"x": 3}})
    assert broker.written == [("a/1", {"x": 1}), ("a/2", None), ("a/3", {"x": 3})]
    assert broker.retained.keys() == {"a/other", "a/1", "a/3"}
    assert (broker.links, broker.streams) == (0, [])


@pytest.mark.parametrize(
    ("denied", "line"),
    [
        ({"a/2"}, "the broker has not cleared a/2; add the rule"),
        ({"a/3", "a/2"}, "the broker has not cleared a/2 and 1 more; add the rule"),
        ({"a/3", "a/2", "a/1"}, "the broker has not cleared a/1 and 2 more; add the rule"),
    ],
)
def test_a_message_that_the_broker_drops_is_named(denied: set[str], line: str, broker: MemoryBroker) -> None:
    """The first of them, and how many more there are."""
    broker.read_only = denied
    with pytest.raises(CommandError) as caught:
        published({"a/1": None, "a/2": None, "a/3": None})
    assert (str(caught.value), caught.value.code) == (line, 3)
    assert (broker.links, broker.streams) == (0, [])


def test_a_broker_that_does_not_acknowledge_is_named(broker: MemoryBroker) -> None:
    """What it has taken is not known."""
    broker.acknowledges = False
    with pytest.raises(CommandError) as caught:
        published({"a/1": None})
    line = "the broker does not acknowledge; run the command again"
    assert (str(caught.value), caught.value.code) == (line, 3)
    assert (broker.links, broker.streams) == (0, [])


def test_what_was_retained_or_comes_from_others_does_not_prove_that_a_message_was_taken(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A register that was there before the command, and one that another operator writes meanwhile."""
    broker.retained["a/1"] = b'{"x": 1}'
    broker.read_only = {"a/1"}
    with pytest.raises(CommandError, match="has not cleared a/1; add"):
        published({"a/1": {"x": 1}})
    take = broker.take

    def of_others(topic: str, content: Any) -> None:
        take(topic, content)
        for stream in broker.streams:
            stream.deliver(Message(topic, b'{"x": 9}', retain=False))

    monkeypatch.setattr(broker, "take", of_others)
    with pytest.raises(CommandError, match="has not cleared a/1; add"):
        published({"a/1": None})
