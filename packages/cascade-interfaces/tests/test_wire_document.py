"""The AsyncAPI document: it is what the messages of ``cascade.wire`` are, and every example of the protocol's page is valid by it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator
from wire_document import CHANNELS, EXAMPLES, FILE, PARAMETERS, document, examples, examples_of, text

DOCUMENT = document()


def problems(message: str, content: dict[str, Any]) -> list[str]:
    """What is wrong with a message, by the document's schema."""
    schema = {**DOCUMENT["components"]["messages"][message]["payload"], "components": DOCUMENT["components"]}
    return [f"{list(error.path)}: {error.message}" for error in Draft7Validator(schema).iter_errors(content)]


def test_the_file_is_up_to_date() -> None:
    """After a change of a message: python packages/cascade-interfaces/tests/wire_document.py."""
    assert FILE.read_text("utf-8") == text()


@pytest.mark.parametrize("message", EXAMPLES)
def test_every_example_of_the_page_is_valid(message: str) -> None:
    """Each is in the document, too."""
    found = examples_of(message)
    assert found
    for content in found:
        assert problems(message, content) == []
    shown = DOCUMENT["components"]["messages"][message]["examples"]
    assert [each["payload"] for each in shown] == found


def test_every_body_of_the_page_is_valid_in_its_kind_and_in_no_other() -> None:
    """Bodies of progress, logs and data are examples of other messages than those of events."""
    (envelope,) = examples("envelope")
    kinds = {"ProgressEvent": "progress", "LogEvent": "log", "DataEvent": "data"}
    bodies = examples("body")
    assert {kinds.get(body["type"], "event") for body in bodies} == {"event", *kinds.values()}
    for body in bodies:
        right = kinds.get(body["type"], "event")
        for message in ("event", *kinds.values()):
            assert (problems(message, envelope | {"body": body}) == []) == (message == right), (message, body)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("event", {"seq": "17"}),
        ("event", {"body": {"type": "TaskStateEvent", "state": "DONE"}}),
        ("summary", {"up": 2}),
        ("summary", {"last_status": "Ended"}),
        ("constraintsReport", {"applied": {"x": {"id": "", "status": "obeyed"}}}),
        ("runsReport", {"runs": [{"run_id": "9a81"}]}),
        ("acknowledgement", {"upto": {"a": "b"}}),
    ],
)
def test_a_wrong_message_is_not_valid(message: str, change: dict[str, Any]) -> None:
    """A wrong type, an unknown value, a missing key; further keys are valid, at every level."""
    (content, *_) = examples_of(message)
    assert problems(message, content | change) != []
    assert problems(message, content | {"later": {"x": [1]}}) == []


def test_references_and_parameters_lead_somewhere() -> None:
    """Every reference is in the document, and every parameter of an address is described."""
    references = {
        line.partition('"$ref": "')[2].rstrip('",') for line in text().splitlines() if '"$ref"' in line
    }
    for reference in references:
        found: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found
    used = {name for channel in DOCUMENT["channels"].values() for name in channel["parameters"]}
    assert used == PARAMETERS.keys()
    assert DOCUMENT["channels"].keys() == DOCUMENT["operations"].keys() == CHANNELS.keys()


def test_the_file_is_json_that_others_can_read() -> None:
    """Version 3.0.0 of AsyncAPI, with the binding of MQTT."""
    read = json.loads(FILE.read_text("utf-8"))
    assert read["asyncapi"] == "3.0.0"
    assert {each["bindings"]["mqtt"]["bindingVersion"] for each in read["operations"].values()} == {"0.2.0"}
