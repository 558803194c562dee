"""Rules for a delivered message, from the AsyncAPI document: a channel, a schema, a QoS, and the flag "retain"."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from testing_tools.wire_links import Heard
from testing_tools.wire_traffic import channels_of, document, look_of, problems, rendering_problems

_CLEARS = "or {}, clears it"
"""In the description of a channel on which an empty object is no mistake."""

FIRST, EVERY = 100, 50
"""Of each kind of message the schemas see the first ones, then every fiftieth; topics and flags are checked in each."""
WRITTEN_WITH_LESS = {"receive"}
"""What tools write may have a lower QoS than the document names: a QoS 0 writer is understood."""
CHOSEN_QOS = {"events", "progress", "logs", "data"}
"""Channels whose QoS a program can lower."""

TRIAL = re.compile(r"/doctor-[0-9a-f]{8}(?:-\d+)?(?:/|$)")
"""In a topic on which ``cascade doctor`` tries out what a user may do: with any flags, and with any content."""


@cache
def _operation(channel: str) -> dict[str, Any]:
    found: dict[str, Any] = document()["operations"][channel]
    return found


class Deliveries:
    """What one broker delivers, message by message."""

    def __init__(self) -> None:
        self._named: set[str] = set()
        self._kinds: dict[str, int] = {}
        self._right: set[Any] = set()
        self._channel: dict[str, list[str]] = {}

    def begin_test(self) -> None:
        """Show the first messages of each kind to the schemas again."""
        self._kinds.clear()

    def problems(self, heard: Heard) -> list[str]:
        """Return what is wrong with a message; nothing if the document describes it.

        :param heard: an echo, a will, a birth, a report, a register: whatever is below ``cascade/``.
        """
        channels = self._channel.get(heard.topic)
        if channels is None:
            if len(self._channel) > 10_000:
                self._channel.clear()
            channels = self._channel[heard.topic] = channels_of(heard.topic)
        if len(channels) != 1:
            return [f"channels {channels}"]
        (channel,) = channels
        if TRIAL.search(heard.topic):
            return []
        found = self._flag_problems(channel, heard)
        if not heard.payload or (
            heard.payload == b"{}" and _CLEARS in document()["channels"][channel]["description"]
        ):
            return (
                found if _operation(channel)["bindings"]["mqtt"]["retain"] else [*found, "an empty message"]
            )
        return found + self._content_problems(channel, heard) if self._wanted(heard.topic) else found

    def _wanted(self, topic: str) -> bool:
        kind = topic.rpartition("/")[2]
        seen = self._kinds[kind] = self._kinds.get(kind, 0) + 1
        return seen <= FIRST or seen % EVERY == 0

    def _flag_problems(self, channel: str, heard: Heard) -> list[str]:
        operation = _operation(channel)
        wanted, source = operation["bindings"]["mqtt"], heard.topic.split("/")[2]
        if channel == "status":
            if heard.retain:
                self._named.add(source)
            elif _is_will_of_unnamed(heard.payload):
                return []
        retained = wanted["retain"] and ("description" not in operation or source in self._named)
        if channel == "lease":
            retained = b'"claim": true' not in heard.payload
        found = []
        unclear = "description" in operation and heard.qos is None  # over NATS names need no presence
        if heard.retain is not None and heard.retain != retained and not unclear:
            found.append(f"retain is {heard.retain}, not {retained}")
        least = 0 if channel in CHOSEN_QOS or operation["action"] in WRITTEN_WITH_LESS else wanted["qos"]
        most = wanted["qos"]
        if not heard.payload:  # a tool that clears what others retain
            least, most = 0, 1
        if heard.qos is not None and not least <= heard.qos <= most:
            found.append(f"QoS {heard.qos}, not {wanted['qos']}")
        return found

    def _content_problems(self, channel: str, heard: Heard) -> list[str]:
        try:
            message = json.loads(heard.payload)
        except (ValueError, RecursionError):
            return [f"no JSON: {heard.payload[:80]!r}"]
        look = (channel, look_of(message))
        if look in self._right:
            return []
        found = problems(channel, message) + rendering_problems(heard.topic.rpartition("/")[2], message)
        if not found:
            self._right.add(look)
        return found


def _is_will_of_unnamed(payload: bytes) -> bool:
    """Whether it is what the broker publishes when the link of an unnamed connector breaks: QoS 0, not retained."""
    return payload == b'{"status": "offline"}'
