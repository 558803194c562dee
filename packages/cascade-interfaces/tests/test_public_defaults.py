"""What stands in a public value of which only the required parts are given: authors of connectors and tools rely on it."""

from __future__ import annotations

from typing import Any

import pytest

from cascade.interfaces import (
    Complete,
    ConnectorStatistics,
    DataEvent,
    Lifecycle,
    LifecycleEvent,
    LogEvent,
    Message,
    ProgressEvent,
    TaskState,
    TaskStateEvent,
)
from cascade.spec import CachePolicy, CallSettings, Param, Policies, RetryPolicy, call_of, settings_of, task
from cascade.wire import body_of, to_wire


@task
def one(number: int = 1) -> int:
    return number


def test_a_connector_that_has_done_nothing_counts_nothing() -> None:
    """A third-party connector states only the counts that it has; unknown limits of the broker are None."""
    empty = ConnectorStatistics()
    counts = [
        "connections",
        "accepted",
        "sent",
        "pending",
        "sanitized",
        "received",
        "delivered",
        "window",
        "window_limit",
    ]
    assert {name: getattr(empty, name) for name in counts} == dict.fromkeys(counts, 0)
    assert empty.linked is False
    assert (empty.receive_maximum, empty.packet_limit) == (None, None)
    assert empty.dropped == empty.discarded == empty.refused == {}
    assert ConnectorStatistics(dropped={"full": 1}) != empty == ConnectorStatistics()


def test_a_message_of_a_watch_has_no_expiry_and_a_set_has_lost_nothing_unless_it_says_so() -> None:
    """Networks that do not transmit an expiry, and stores that lose nothing, need not name them."""
    message = Message("a/b", b"1", True)
    assert (message.topic, message.payload, message.retain, message.expires_in) == ("a/b", b"1", True, None)
    complete = Complete(True, None)
    assert (complete.proved, complete.topics, complete.forgotten) == (True, None, frozenset())


EVENTS: list[tuple[Any, dict[str, Any]]] = [
    (
        TaskStateEvent("r", "a:0", "a", TaskState.RUNNING, 1.5),
        {"duration_ms": 0.0, "error": "", "reason": "", "attempt": 1, "parent": "", "item": None, "node": ""},
    ),
    (
        LifecycleEvent("r", Lifecycle.ENGINE_STARTED, 1.5),
        {"status": None, "error": "", "name": "", "tags": {}, "kept": 0},
    ),
    (ProgressEvent("r", "a:0", "a", 1.5, 3.0), {"total": None, "message": "", "unit": ""}),
    (LogEvent("r", "", "", 1.5, "INFO", "app", "hello"), {"skipped": 0}),
    (DataEvent("r", "a:0", "a", 1.5, "t", [1]), {}),
]


@pytest.mark.parametrize(("event", "rest"), EVENTS, ids=lambda value: type(value).__name__)
def test_an_event_says_nothing_that_it_was_not_made_of(event: Any, rest: dict[str, Any]) -> None:
    """It is of the first attempt of its run and its task, and its body on the wire has no optional key."""
    assert (event.run_id, event.timestamp, event.token, event.run_attempt) == ("r", 1.5, "", 1)
    assert {name: getattr(event, name) for name in rest} == rest
    given = len(event) - len(rest) - 2
    assert {*event._fields[given:]} == {*rest, "token", "run_attempt"}
    optional = {"reason", "attempt", "parent", "item", "node", "name", "tags", "kept", "status", "unit"}
    body = to_wire(body_of(event))
    assert {*body} & optional == ({"name"} if body["type"] == "DataEvent" else set())


def test_a_task_without_settings_is_tried_once_and_recorded() -> None:
    """It has no time limit, no cache and no demands; a call waits for nothing and is made under no condition."""
    for policies in (settings_of(one).policies, call_of(one()).policies, Policies()):
        assert (policies.retry, policies.timeout, policies.cache, policies.demands) == (None,) * 4
        assert (policies.at_most_once, policies.recorded) == (False, True)
    settings = call_of(one()).settings
    assert (settings.predecessors, settings.condition, settings.label) == ((), None, "")
    assert settings.is_plain
    assert not CallSettings(settings.definition, Policies(timeout=1)).is_plain
    assert (settings.definition.inline, settings.definition.structural) == (False, False)
    assert call_of(one.map(number=[1])).limit is None  # type: ignore[attr-defined]


def test_retries_are_three_attempts_without_a_delay() -> None:
    """After any error, whether the policy or the method of a task is used."""
    for policy in (RetryPolicy(), call_of(one.with_retry()()).policies.retry):
        assert policy is not None
        assert (policy.max_attempts, policy.on) == (3, (Exception,))
        assert [policy.delay_after(attempt, chance) for attempt in (1, 2) for chance in (0, 1)] == [0.0] * 4
    grown = RetryPolicy(9, delay=50_000.0, backoff=2.0)
    assert [grown.delay_after(attempt) for attempt in (1, 2)] == [50_000.0, 86_400.0]
    steady = RetryPolicy(9, delay=2.0)
    assert [steady.delay_after(attempt, chance=1.0) for attempt in (1, 5)] == [2.0, 2.0]


def test_a_cached_value_is_good_for_ever_in_the_cache_of_the_engine() -> None:
    """All arguments count and no version does."""
    policy = call_of(one.with_cache()()).policies.cache
    assert policy == CachePolicy()
    assert policy is not None
    assert (policy.ttl, policy.key, policy.version, policy.backend, policy.file) == (None,) * 5
    assert policy.ignore == policy.newer_than == ()


def test_a_parameter_is_a_required_text_without_a_description() -> None:
    """A default that is given counts, also None and an empty one."""
    source = call_of(Param("n")).source  # type: ignore[attr-defined]
    assert (source.convert, source.required, source.description) == (str, True, "")
    for default in (None, "", 0, False):
        assert not call_of(Param("n", default=default)).source.required  # type: ignore[attr-defined]
