"""What a tool writes that steers engines."""

import pytest

from cascade.interfaces.control_messages import (
    constraint_id,
    constraint_message,
    lift_command,
    store_message,
)
from cascade.interfaces.topics import constraint_topic


@pytest.mark.parametrize(
    ("scope", "kind", "found"),
    [
        ("global", "pause", "pause-global"),
        ("task:resize*", "concurrency", "concurrency-task:resize*"),
        ("task:call_api", "rate_limit", "ratelimit-task:call_api"),
    ],
)
def test_a_message_has_the_five_keys_of_the_protocol(scope: str, kind: str, found: str) -> None:
    """In their order, each also where there is nothing to say."""
    assert list(constraint_message(scope, kind).items()) == [
        ("id", found),
        ("scope", scope),
        ("type", kind),
        ("params", {}),
        ("expires_at", None),
    ]
    full = constraint_message(scope, kind, {"limit": 3}, expires_at=1.5)
    assert (full["id"], full["params"], full["expires_at"]) == (constraint_id(scope, kind), {"limit": 3}, 1.5)


def test_a_cancel_of_many_says_when_it_was_written() -> None:
    """A process that starts later cannot tell otherwise which runs it means; a cancel of one run needs no time."""
    for scope in ("source:press-3", "task:resize*"):
        assert constraint_message(scope, "cancel", now=0.0)["ts"] == "1970-01-01T00:00:00.000000+00:00"
        assert "ts" in constraint_message(scope, "cancel")
    assert "ts" not in constraint_message("run:1", "cancel")


def test_each_store_has_an_identity_of_its_own() -> None:
    """Two tools that both find none do not agree by chance."""
    one, other = store_message(), store_message()
    assert list(one) == ["store"]
    assert one != other


@pytest.mark.parametrize(
    ("topic", "kind", "command"),
    [
        (constraint_topic("global", "pause"), "pause", "cascade resume"),
        (constraint_topic("global"), "pause", "cascade resume"),
        (constraint_topic("source:a b", "pause"), "pause", "cascade resume 'source:a b'"),
        (constraint_topic("run:1", "concurrency"), "concurrency", "cascade clear run:1 concurrency"),
        ("elsewhere", "pause", ""),
    ],
)
def test_the_command_that_lifts_a_register(topic: str, kind: str, command: str) -> None:
    """As it is typed in a shell."""
    assert lift_command(topic, kind) == command
