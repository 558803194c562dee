"""What a reader does with wrong values: they leave out their row, and nothing else of the message."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces.topics import ack_topic, constraint_topic, state_topic, status_topic, telemetry_topic
from cascade.wire import (
    Acknowledgement,
    EventMessage,
    Register,
    RunsReport,
    parse,
    to_wire,
)

PAGE = (Path(__file__).parents[3] / "cascade-interfaces" / "PROTOCOL.md").read_text("utf-8")
EXAMPLES: dict[str, dict[str, Any]] = {
    kind: json.loads(text) for kind, text in re.findall(r"```json (\w+)\n(.*?)```", PAGE, re.DOTALL)
}
BODIES = [json.loads(text) for text in re.findall(r"```json body\n(.*?)```", PAGE, re.DOTALL)]
SOURCE = "press-line-3"
TOPICS = {
    **{kind: state_topic(SOURCE, kind) for kind in ("runs", "graph", "ended", "summary", "host")},
    "report": state_topic(SOURCE, "constraints"),
    "ack": ack_topic(SOURCE),
}
WRONG: tuple[Any, ...] = (None, True, -1, 1.5, float("nan"), 1e30, "x", [], {}, [[["x"]]], {"a": [None]})
"""One of these is wrong for any key; some are right for some keys."""
EVENTS = telemetry_topic("o", "p", "r")


def read(kind: str, data: object) -> Any:
    found = parse(TOPICS[kind], json.dumps(data).encode())
    assert found is not None
    return found


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a JSON value."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from places(each, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a copy of a JSON value with another value at a path."""
    made = place = copy.deepcopy(value)
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return made


@pytest.mark.parametrize("kind", TOPICS)
def test_what_is_read_is_what_was_written(kind: str) -> None:
    """Every example of the page has the same keys and values after reading and writing."""
    assert to_wire(read(kind, EXAMPLES[kind])) == EXAMPLES[kind]


@pytest.mark.parametrize("kind", TOPICS)
def test_no_wrong_value_anywhere_is_raised_or_costs_the_message(kind: str) -> None:
    """A message with a wrong value is read; what is wrong in it is left out, what it has beside that is unchanged."""
    example, lost = EXAMPLES[kind], 0
    for path in places(example):
        for wrong in WRONG if path[0] not in ("v", "source") else ():
            found = to_wire(read(kind, changed(example, path, wrong)))
            others = [key for key in example if key != path[0] and (kind != "ack" or key == "by")]
            assert {key: found[key] for key in others} == {key: example[key] for key in others}
            lost += found != example
    assert lost


@pytest.mark.parametrize(
    ("kind", "key"), [("runs", "runs"), ("runs", "recent"), ("graph", "runs"), ("report", "effective")]
)
def test_a_wrong_value_leaves_out_its_row_and_no_other(kind: str, key: str) -> None:
    """Of two rows the one with a wrong value anywhere is left out, or a row inside it, or nothing if the value is right."""
    (row,) = EXAMPLES[kind][key]
    for path in places(row):
        for wrong in WRONG:
            damaged = changed(row, path, wrong)
            *first, second = to_wire(read(kind, EXAMPLES[kind] | {key: [damaged, row]}))[key]
            assert second == row
            assert (
                first == []
                or path[0] in ("tasks", "running", "waiting", "graph")
                or _is_right(first[0], damaged)
            )


def _is_right(found: dict[str, Any], written: dict[str, Any]) -> bool:
    """Return whether a row says what was written; null, NaN and an empty object are like none, and so is an object without its keys."""
    none: tuple[Any, ...] = (None, {})
    return all(
        found.get(key) == each
        or each in none
        or each != each  # noqa: PLR0124
        or (
            isinstance(each, dict)
            and found.get(key) == {"name": "", "term": 0}
            and not {*each} & {*found[key]}
        )
        for key, each in written.items()
    ) and all(key in written for key in found)


@pytest.mark.parametrize("kind", TOPICS)
def test_a_key_that_is_missing_costs_nothing_but_itself(kind: str) -> None:
    """A row needs only its ``run_id``; a later version may leave out a key, an earlier one did not have it."""
    example = EXAMPLES[kind]
    for key in example.keys() - {"source"}:
        assert to_wire(read(kind, {name: each for name, each in example.items() if name != key})).keys() >= {
            name for name in example if name not in (key, "presence", "paused", "org_id", "project_id")
        }
    if kind == "runs":
        for key in ("runs", "recent"):
            (row,) = example[key]
            rows = [{name: each for name, each in row.items() if name != missing} for missing in row]
            assert len(getattr(read(kind, example | {key: rows}), key)) == len(row) - 1
        (bare,) = read(kind, {"runs": [{"run_id": "r", "counts": {"RUNNING": 2, "FAILED": 1}}]}).runs
        assert (bare.attempt, bare.open, bare.known, bare.eta_s) == (1, True, 3, None)


@pytest.mark.parametrize(
    "holes", [[[4, 3]], [[1]], [[1, 2, 3]], [[-1, 2]], [[True, 2]], "12", {"3": 4}, None]
)
def test_a_run_whose_holes_cannot_be_read_is_not_acknowledged(holes: object) -> None:
    """An engine would forget events that nobody has stored; that of another run counts."""
    ack = read("ack", {"by": "c", "upto": {"r-t": 9, "q-t": 0}, "missing": {"r-t": holes}})
    assert ack == Acknowledgement(v="", by="c", upto={"q-t": 0}, missing={})


@pytest.mark.parametrize("body", BODIES)
def test_a_body_with_a_wrong_value_is_not_read_and_its_event_is(body: dict[str, Any]) -> None:
    """It counts among the events that have arrived; of another type it is shown as unknown."""
    for path in places(body):
        for wrong in WRONG if path[0] != "data" else ():
            data = {"run_id": "r", "seq": 4, "body": changed(body, path, wrong)}
            event = parse(EVENTS, json.dumps(data).encode())
            assert isinstance(event, EventMessage)
            assert event.seq == 4
            assert event.content is None or _is_right(to_wire(event.content), data["body"])
    event = parse(EVENTS, json.dumps({"run_id": "r", "body": body}).encode())
    assert isinstance(event, EventMessage)
    assert event.content is not None
    assert to_wire(event.content) == body


@pytest.mark.parametrize(
    "change",
    [{"id": 1}, {"params": []}, {"expires_at": "soon"}, {"expires_at": True}, {"by": None}, {"type": 1}],
)
def test_a_register_with_a_wrong_value_is_shown_as_one_that_nobody_obeys(change: dict[str, Any]) -> None:
    """Engines refuse it, too."""
    topic = constraint_topic("global", "pause")
    found = parse(topic, json.dumps({"type": "pause"} | change).encode())
    assert found == Register(topic, "global", "pause", problem="one of its values has a wrong type")


def test_deep_nesting_long_texts_and_large_numbers_are_cut() -> None:
    """Whatever a message claims: memory and the stack of a reader have a bound."""
    deep: Any = 1
    for _ in range(300):
        deep = [deep]
    (row,) = EXAMPLES["runs"]["runs"]
    rows = [
        row | {"later": deep},
        row | {"target": "x" * 5_000},
        row | {"counts": deep},
        row | {"lost": 1 << 63},
    ]
    report = read("runs", EXAMPLES["runs"] | {"runs": rows, "later": deep, "more": deep})
    assert isinstance(report, RunsReport)
    assert [len(each.target) for each in report.runs] == [len(row["target"]), 1_000]


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e999", None), ("-1e999", None), ("NaN", None), ("1e308", 1e308), ("-2.5", -2.5), ("0", 0), ("true", None),
     ('"1"', None), (f"1{'0' * 400}", None), (f"1{'0' * 20}", 1e20)],
)  # fmt: skip
def test_a_number_is_finite_and_no_boolean(text: str, number: float | None) -> None:
    """Otherwise it leaves out its row; null is none, where a number may be missing."""
    payload = f'{{"runs": [{{"run_id": "r", "eta_s": {text}}}, {{"run_id": "q"}}]}}'.encode()
    found = parse(TOPICS["runs"], payload)
    assert isinstance(found, RunsReport)
    kept = {row.run_id: row.eta_s for row in found.runs}
    assert kept.pop("q") is None
    assert kept.get("r") == number


@pytest.mark.parametrize("topic", [TOPICS["runs"], TOPICS["ack"], EVENTS])
def test_a_message_of_version_2_is_not_understood(topic: str) -> None:
    """Any minor version of 1 is read; a version that is not a text is not."""
    data = {"run_id": "r", "body": {}, "by": "c"}
    assert parse(topic, json.dumps(data | {"v": "1.99"}).encode()) is not None
    for version in ("2.0", "10.0", "1", 1.0, None):
        assert parse(topic, json.dumps(data | {"v": version}).encode()) is None


@pytest.mark.parametrize("length", [100, 2_000])
def test_a_topic_of_more_than_1000_characters_is_not_understood(length: int) -> None:
    """Its name would stand in the memory of every reader; so would a long name of a run."""
    name = "x" * length
    topics = [
        status_topic(name),
        state_topic(name, "runs"),
        ack_topic(name),
        constraint_topic(f"run:{name}", "pause"),
    ]
    data = {"status": "online", "type": "pause", "by": "c", "run_id": name, "body": {}}
    messages = [
        parse(topic, json.dumps(data).encode()) for topic in (*topics, telemetry_topic("o", "p", name))
    ]
    assert [message is not None for message in messages] == [length <= 1_000] * 5
