"""Checks what engines publish in any test: the AsyncAPI document describes it, and Home Assistant can render it.

While a test runs, this only keeps a part of the messages; it checks them when the test has ended. Messages that look alike are
checked once in a process: a schema sees the same in both.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cascade.interfaces.topics import constraint_topic

ALL, EVERY, MOST = 100, 50, 1_000
"""Of each kind of message a test's first ones are kept, then every fiftieth, and no more than these in all."""
ENUMS = {"type", "state", "event", "status", "sync", "why", "kind", "last_status", "level"}
"""Keys whose text the schema looks at."""

PACKAGES = Path(__file__).parents[3]

Content = Mapping[str, Any] | str


@cache
def document() -> dict[str, Any]:
    """Return the AsyncAPI document of the wire."""
    found: dict[str, Any] = json.loads((PACKAGES / "cascade-interfaces/asyncapi.json").read_text("utf-8"))
    return found


@cache
def patterns() -> dict[str, re.Pattern[str]]:
    """Return what the topics of each channel look like; a scope has one level or two."""
    return {name: _pattern_of(channel["address"]) for name, channel in document()["channels"].items()}


def _pattern_of(address: str) -> re.Pattern[str]:
    levels = {"{scope}": r"(?:global|[a-z]+/[^/@][^/]*)", "{nonce}": r"[^/@][^/]*"}
    parts = re.split(r"({\w+})", address)
    return re.compile(
        "".join(levels.get(part, r"[^/]+") if part[:1] == "{" else re.escape(part) for part in parts)
    )


def channels_of(topic: str) -> list[str]:
    """Return the channels that a topic belongs to."""
    return [name for name, pattern in patterns().items() if pattern.fullmatch(topic)]


@cache
def _validators(channel: str) -> list[Any]:
    from jsonschema import Draft7Validator

    components = document()["components"]
    messages = document()["channels"][channel]["messages"].values()
    names = [message["$ref"].rpartition("/")[2] for message in messages]
    return [
        Draft7Validator({**components["messages"][name]["payload"], "components": components})
        for name in names
    ]


def problems(channel: str, content: Any) -> list[str]:
    """Return why a message is none of a channel's; nothing if it is one."""
    found = []
    for validator in _validators(channel):
        errors = [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(content)]
        if not errors:
            return []
        found += errors
    return found


@cache
def _templates() -> dict[str, list[Any]]:
    """Return the templates that Home Assistant is given, by the kind of the report that they render."""
    import msgspec
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    from cascade.ops._home_assistant.device import device
    from cascade.wire import EffectiveEntry, OfferedWorkflow

    row = {"name": "audit", "doc": "", "params": {}, "overlap": "skip", "accepting": True}
    offer = msgspec.convert(
        {**row, "schedule": {"every": "10m", "text": "Every 10 minutes"}}, OfferedWorkflow
    )
    scope, kind = "source:press-1", "gate.power"
    gate = EffectiveEntry(
        scope=scope, type=kind, params={}, topic=constraint_topic(scope, kind), id="", expires_at=None
    )
    made, sandbox = (
        device("press-1", "1", offers=[offer], constraints=[gate]),
        ImmutableSandboxedEnvironment(),
    )
    found: dict[str, list[Any]] = {}
    for component in made["components"].values():
        for key, topic in (
            ("value_template", "state_topic"),
            ("json_attributes_template", "json_attributes_topic"),
        ):
            if key in component:
                kind = component.get(topic, made["state_topic"]).rpartition("/")[2]
                found.setdefault(kind, []).append(sandbox.from_string(component[key]))
    return found


def rendering_problems(kind: str, content: Any) -> list[str]:
    """Return why Home Assistant could not show a report; nothing if it can."""
    found = []
    for template in _templates().get(kind, []):
        try:
            template.render(value=json.dumps(content), value_json=content)
        except Exception as error:
            found.append(f"Home Assistant: {type(error).__name__}: {error}")
    return found


def look_of(content: Any, key: str = "") -> Any:
    """Return what a schema sees of a message: keys, types, and the texts of which it knows all."""
    if isinstance(content, Mapping):
        return frozenset((name, look_of(each, name)) for name, each in content.items())
    if isinstance(content, list | tuple):
        return ("list", frozenset(look_of(each) for each in content))
    return (type(content).__name__, content if key in ENUMS else None)


class Traffic:
    """What the engines of one test have published."""

    known: set[Any] = set()  # noqa: RUF012 - of all tests of this process
    """RetainedChecks that were checked, with their channel."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, Content]] = []
        self._seen: Counter[str] = Counter()

    def keep(self, topic: str, content: Content) -> None:
        """Take a message, as a dict or as JSON; what is not needed is only counted."""
        kind = topic.rpartition("/")[2]
        self._seen[kind] += 1
        seen = self._seen[kind]
        if (seen <= ALL or seen % EVERY == 0) and len(self._kept) < MOST:
            self._kept.append((topic, content))

    def problems(self) -> list[str]:
        """Check what was kept; return what is wrong, each problem once."""
        return sorted({each for topic, content in self._kept for each in self._check(topic, content)})

    def _check(self, topic: str, content: Content) -> list[str]:
        if not topic.startswith("cascade/"):
            return []  # a program of its own may send anything elsewhere
        text = content if isinstance(content, str) else json.dumps(content)
        message, channels = json.loads(text), channels_of(topic)
        if len(channels) != 1:
            return [f"{topic}: channels {channels}"]
        look = (channels[0], look_of(message))
        if look in self.known:
            return []
        self.known.add(look)
        found = problems(channels[0], message) + rendering_problems(topic.rpartition("/")[2], message)
        return [f"{topic}: {each}" for each in found]
