"""Topics of control: registers, echoes and reports are built and read back without loss."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.interfaces.topics import (
    CONSTRAINTS_FILTER,
    STORE_TOPIC,
    check_filter,
    check_topic,
    constraint_topic,
    is_control,
    matches,
    parse_constraint_topic,
    parse_state_topic,
    state_topic,
    sync_filter,
    sync_topic,
)

names = st.text(min_size=1, max_size=12)


@given(st.sampled_from(["project", "task", "run", "source"]), names, st.sampled_from(["", "pause", "x y"]))
def test_a_register_topic_tells_what_it_was_built_from(scope: str, value: str, kind: str) -> None:
    """Whatever a task, run, project or source is called, a reader of the topic gets the scope back."""
    topic = constraint_topic(f"{scope}:{value}", kind)
    assert parse_constraint_topic(topic) == (f"{scope}:{value}", kind)
    assert check_topic(topic)
    assert matches(CONSTRAINTS_FILTER, topic)


@pytest.mark.parametrize(
    ("scope", "kind", "topic"),
    [
        ("global", "pause", "cascade/constraints/global/@pause"),
        ("global", "", "cascade/constraints/global"),
        ("task:resize*", "concurrency", "cascade/constraints/task/resize*/@concurrency"),
        ("run:a:b", "cancel", "cascade/constraints/run/a:b/@cancel"),
        ("task:a b/c+#%", "pause", "cascade/constraints/task/a%20b%2Fc%2B%23%25/@pause"),
        ("task:@x", "pause", "cascade/constraints/task/%40x/@pause"),
    ],
)
def test_register_topics_are_written_as_the_protocol_says(scope: str, kind: str, topic: str) -> None:
    """The topics of the protocol, letter by letter, in both directions."""
    assert constraint_topic(scope, kind) == topic
    assert parse_constraint_topic(topic) == (scope, kind)


@pytest.mark.parametrize(
    "topic",
    [
        STORE_TOPIC,
        "cascade/constraints",
        "cascade/constraints/",
        "cascade/constraints//@pause",
        "cascade/constraints/global/@",
        "cascade/constraints/task/a/b/@pause",
        "cascade/constraints/task/%ff/@pause",
        "cascade/constraint/global/@pause",
    ],
)
def test_other_topics_are_no_registers(topic: str) -> None:
    """The store's identity, incomplete and foreign topics are recognised."""
    assert parse_constraint_topic(topic) is None


@given(names, names)
def test_an_echo_reaches_its_own_process_only(source: str, nonce: str) -> None:
    """The filter of a source matches its echoes, whatever both are called, and no other source's."""
    assert check_filter(sync_filter(source))
    assert matches(sync_filter(source), check_topic(sync_topic(source, nonce)))
    assert not matches(sync_filter(source), sync_topic(source + "x", nonce))
    assert is_control(sync_topic(source, nonce))


@given(names, st.sampled_from(["constraints", "runs"]))
def test_a_report_topic_tells_its_source(source: str, kind: str) -> None:
    """A reader of a report's topic gets the source back; other topics do not count as reports."""
    assert parse_state_topic(check_topic(state_topic(source, kind))) == (source, kind)
    assert parse_state_topic(f"cascade/status/{kind}") is None
    assert parse_state_topic("cascade/state/%ff/runs") is None
