"""Topics: built, checked and matched as MQTT says."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.matcher import MQTTMatcher

from cascade.interfaces import InvalidTopicError, ReplyTo
from cascade.interfaces.topics import (
    TopicMatcher,
    ack_topic,
    canary_topic,
    check_filter,
    check_topic,
    decode_level,
    encode_level,
    is_control,
    is_request,
    is_response_to,
    matches,
    parse_ack_topic,
    parse_request_topic,
    parse_response_topic,
    parse_state_topic,
    parse_status_topic,
    parse_telemetry_topic,
    request_filters,
    request_topic,
    response_topic,
    state_topic,
    status_topic,
    sync_filter,
    sync_topic,
    telemetry_topic,
)

levels = st.sampled_from(["a", "b", "c", "", "$SYS", "$x"])
topics = st.lists(levels, min_size=1, max_size=5).map("/".join).filter(bool)
filters = (
    st.tuples(st.lists(st.one_of(levels, st.just("+")), min_size=1, max_size=4), st.booleans())
    .map(lambda parts: "/".join([*parts[0], "#"] if parts[1] else parts[0]))
    .filter(bool)
)


@given(topics, st.lists(filters, max_size=8))
def test_the_matcher_agrees_with_paho(topic: str, candidates: list[str]) -> None:
    """For any topic and filters the same filters match as in paho's matcher."""
    ours: TopicMatcher[str] = TopicMatcher()
    oracle: Any = MQTTMatcher()  # type: ignore[no-untyped-call]
    for candidate in set(candidates):
        ours.add(candidate, candidate)
        oracle[candidate] = candidate
    assert sorted(ours.match(topic)) == sorted(oracle.iter_match(topic))


@given(topics, st.lists(filters, max_size=8), st.data())
def test_removed_filters_match_no_more(topic: str, candidates: list[str], data: st.DataObject) -> None:
    """Adding and removing values leaves exactly those that were not removed, and no empty branch."""
    matcher: TopicMatcher[int] = TopicMatcher()
    for number, candidate in enumerate(candidates):
        matcher.add(candidate, number)
    gone = {n for n in range(len(candidates)) if data.draw(st.booleans())}
    for number in gone:
        matcher.remove(candidates[number], number)
    expected = [n for n, f in enumerate(candidates) if n not in gone and matches(f, topic)]
    assert sorted(matcher.match(topic)) == expected
    for number in set(range(len(candidates))) - gone:
        matcher.remove(candidates[number], number)
    assert not matcher._root.children


def test_removing_what_is_not_there_is_an_error() -> None:
    """A value that does not stand under the filter raises KeyError, and nothing changes."""
    matcher: TopicMatcher[int] = TopicMatcher()
    matcher.add("a/+", 1)
    for topic_filter, value in (("a/+", 2), ("a/b", 1), ("x", 1)):
        with pytest.raises(KeyError):
            matcher.remove(topic_filter, value)
    assert list(matcher.match("a/b")) == [1]


@given(st.text(alphabet=st.characters(), max_size=30))
def test_an_encoded_level_comes_back_and_is_safe(text: str) -> None:
    """Any text, lone surrogates too, becomes one level that a broker accepts, and comes back."""
    level = encode_level(text)
    assert decode_level(level) == text
    assert not set(level) & set("/+# ")
    assert not level.startswith(("$", "@"))
    assert check_topic(f"x/{level}")


def test_bytes_that_are_no_text_are_refused() -> None:
    """A level whose percent-encoding is not UTF-8 is an error for a builder."""
    with pytest.raises(InvalidTopicError, match="percent-encoded"):
        decode_level("%ff")


@given(*[st.text(min_size=1, max_size=12)] * 3)
def test_a_telemetry_topic_tells_what_it_was_built_from(org: str, project: str, run: str) -> None:
    """Whatever an organisation, project or run is called, a reader of the topic gets it back."""
    topic = telemetry_topic(org, project, run)
    assert parse_telemetry_topic(topic) == (org, project, run, "events")
    assert check_topic(topic)


@pytest.mark.parametrize(
    "topic",
    [
        *("cascade/telemetry/a/b/c", "cascade/telemetry/a/b/c/d/events", "cascade/status/x", ""),
        *("x/telemetry/a/b/c/events", "cascade/telemetri/a/b/c/events"),
        *("cascade/telemetry/%ff/b/c/events", "cascade/telemetry/a/%ff/c/events"),
    ],
)
def test_other_topics_are_no_telemetry(topic: str) -> None:
    """A topic of another shape, or with a name that is not UTF-8, is recognised."""
    assert parse_telemetry_topic(topic) is None


@pytest.mark.parametrize(
    ("topic", "problem"),
    [
        ("", "empty"),
        ("a/+/b", "wildcard"),
        ("a/#", "wildcard"),
        ("a\x00b", "control"),
        ("a\tb", "control"),
        ("a\x7f", "control"),
        ("a\ud800", "surrogate"),
        ("a\ufdd0", "noncharacter"),
        ("a\ufdef", "noncharacter"),
        ("a\ufffe", "noncharacter"),
        ("a\uffff", "noncharacter"),
        ("a\U0001fffe", "noncharacter"),
        ("a\U0010ffff", "noncharacter"),
        ("/" * 201, "201 levels"),
        ("ä" * 32_768, "65535"),
        (b"a", "text"),
        (None, "text"),
        (["a"], "text"),
    ],
)
def test_a_topic_that_a_broker_would_refuse_is_refused_in_words(topic: object, problem: str) -> None:
    """Every topic for which a broker cuts the link is refused before it gets there."""
    with pytest.raises(InvalidTopicError, match=problem):
        check_topic(topic)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff"])
def test_a_noncharacter_is_encoded_in_a_level_and_refused_in_a_filter(text: str) -> None:
    """No broker need take one (MQTT 5.0, section 1.5.4), and a level built from data may have any."""
    level = encode_level(f"a{text}b")
    assert level.isascii()
    assert decode_level(level) == f"a{text}b"
    with pytest.raises(InvalidTopicError, match="noncharacter"):
        check_filter(f"a/{text}/#")


@pytest.mark.parametrize("text", ["\ufdcf", "\ufdf0", "\ufffd", "\U00020000", "\U0010fffd"])
def test_the_neighbours_of_noncharacters_are_letters_like_others(text: str) -> None:
    """They go as they are."""
    assert encode_level(text) == check_topic(text) == text


@pytest.mark.parametrize("topic", ["a", "/", "a/b c", "ä" * 32_767, "$SYS/x", "/" * 200])
def test_what_mqtt_allows_is_allowed(topic: str) -> None:
    """Valid topics pass, up to the limit of 65,535 bytes."""
    assert check_topic(topic) == topic


@pytest.mark.parametrize(
    "topic_filter",
    ["a+", "a/b#", "#/a", "a/#/b", "", "a\x00", "$share/g", "$share//a", "$share/g/", "$share/+/a"],
)
def test_an_invalid_filter_is_refused(topic_filter: str) -> None:
    """Wildcards stand only where MQTT allows them, and a shared subscription is whole."""
    with pytest.raises(InvalidTopicError):
        check_filter(topic_filter)


@pytest.mark.parametrize(
    "topic_filter", ["#", "+", "+/+", "a/#", "a/+/b", "$share/g/a/#", "$share/g/a", "$share/g//a", "$SYS/#"]
)
def test_a_valid_filter_passes(topic_filter: str) -> None:
    """Every placement of wildcards that MQTT allows is allowed."""
    assert check_filter(topic_filter) == topic_filter


def test_only_presence_sync_and_reports_overtake_telemetry() -> None:
    """The lane is decided by the topic alone."""
    assert is_control(status_topic("host 1-5"))
    assert is_control("cascade/sync/a/b")
    assert is_control("cascade/state/a/constraints")
    assert not is_control(telemetry_topic("a", "b", "c"))
    assert not is_control("cascade/statusx")


@pytest.mark.parametrize(
    ("parse", "build", "others"),
    [
        (parse_status_topic, status_topic, ["cascade/status", "cascade/status/", "cascade/status/a/b"]),
        (parse_ack_topic, ack_topic, ["cascade/ack", "cascade/ack/", "cascade/ack/a/b", "other/ack/a"]),
    ],
)
def test_a_topic_of_a_source_tells_its_name(
    parse: Callable[[str], str | None], build: Callable[[str], str], others: list[str]
) -> None:
    """Whatever it is called; a topic of another shape or kind, or with a name that is not UTF-8, tells none."""
    for source in ("press-line-3", "a/b", "ü %+#", "@x", "$y"):
        assert parse(check_topic(build(source))) == source
    for topic in [*others, build("a") + "/runs", build("") + "%ff", "cascade/state/a", "cascade/sync/a"]:
        assert parse(topic) is None


def test_topics_of_a_source_are_written_as_the_protocol_says() -> None:
    """Letter by letter."""
    source = "line 3/press"
    assert status_topic(source) == "cascade/status/line%203%2Fpress"
    assert ack_topic(source) == "cascade/ack/line%203%2Fpress"
    assert state_topic(source, "graph") == "cascade/state/line%203%2Fpress/graph"
    assert canary_topic(source) == "cascade/sync/line%203%2Fpress/@canary"
    assert sync_topic(source, "@canary") == "cascade/sync/line%203%2Fpress/%40canary"
    assert sync_filter(source) == "cascade/sync/line%203%2Fpress/+"
    assert telemetry_topic("o/1", "p", "r", "data") == "cascade/telemetry/o%2F1/p/r/data"


@pytest.mark.parametrize(
    "topic", ["cascade/state/a", "cascade/state/a/b/c", "cascade/status/a/runs", "x/state/a/runs"]
)
def test_other_topics_are_no_reports(topic: str) -> None:
    """Of another length, kind or root."""
    assert parse_state_topic(topic) is None


def test_a_matcher_knows_whether_anything_stands_in_it() -> None:
    """Several values may stand under one filter; a shared subscription stands under the filter that it shares."""
    matcher: TopicMatcher[int] = TopicMatcher()
    seen = [matcher.has_filters]
    for number in (1, 2):
        matcher.add("$share/group/a/+", number)
    seen.append(matcher.has_filters)
    assert list(matcher.match("a/b")) == [1, 2]
    matcher.remove("$share/group/a/+", 1)
    assert list(matcher.match("a/b")) == [2]
    matcher.remove("a/+", 2)
    assert [*seen, matcher.has_filters] == [False, True, False]


@pytest.mark.parametrize(
    ("parse", "build", "kind"),
    [
        (parse_request_topic, request_topic, "requests"),
        (parse_response_topic, response_topic, "responses"),
    ],
)
def test_topics_of_requests_and_responses_tell_whom_they_name(
    parse: Callable[[str], Any], build: Callable[[str | None, str], str], kind: str
) -> None:
    """A source of any name, also one that is called like every one of them; a topic of another shape tells nothing."""
    for source in (None, "press-line-3", "a/b", "@all", "ü %+#"):
        for last in ("audit", "b7.x_-", "no such/+", "grün"):
            assert parse(check_topic(build(source, last))) == (source, last)
    assert build(None, "x") == f"cascade/{kind}/@all/x"
    for other in ("", "/a", "/a/", "//b", "/a/b/c", "/%ff/b", "s/a/b"):
        assert parse(f"cascade/{kind}{other}") is None
    assert parse("x/" + build("a", "b")) is None


def test_the_filters_of_a_source_bring_its_requests_and_those_to_every_one() -> None:
    """And no others."""
    filters = request_filters("line 3")
    for filter_ in filters:
        check_filter(filter_)
    for source, wanted in (("line 3", True), (None, True), ("line", False), ("@all", False)):
        topic = request_topic(source, "audit")
        assert is_request(topic)
        assert any(matches(each, topic) for each in filters) is wanted
    assert all(map(is_request, filters))
    assert not is_request(response_topic("line 3", "b7"))


@pytest.mark.parametrize(
    ("reply", "request_", "expected"),
    [
        ("cascade/responses/press/b7", "cascade/requests/press/audit", True),
        ("cascade/responses/press/client/9", "cascade/requests/press/audit", True),
        ("cascade/responses/@all/b7", "cascade/requests/@all/audit", True),
        ("cascade/responses/@all/b7", "cascade/requests/press/audit", False),
        ("cascade/responses/press/b7", "cascade/requests/@all/audit", False),
        ("cascade/responses/press/", "cascade/requests/press/audit", False),
        ("cascade/responses/press-2/b7", "cascade/requests/press/audit", False),
        ("cascade/responses/pr%65ss/b7", "cascade/requests/press/audit", False),
        ("cascade/constraints/global/@pause", "cascade/requests/press/audit", False),
        ("cascade/requests/press/audit", "cascade/requests/press/audit", False),
        ("answers", "cascade/requests/press/audit", False),
        ("cascade/responses/press/b7", "cascade/status/press", False),
    ],
)
def test_a_request_is_answered_only_below_the_responses_of_whom_it_names(
    reply: str, request_: str, expected: bool
) -> None:
    """Row 57: who may send a request could otherwise have its answer published where only the engine may write."""
    assert is_response_to(reply, request_) is expected
    assert ReplyTo(reply, b"9").is_permitted(request_) is expected
    assert ReplyTo(reply, is_inbox=True).is_permitted(request_)
