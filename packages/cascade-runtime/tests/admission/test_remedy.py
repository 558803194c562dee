"""How a warning says that a constraint is lifted."""

import shlex

import pytest

from cascade.interfaces.topics import constraint_topic
from cascade.runtime._admission import wait_reasons
from cascade.runtime._admission.wait_reasons import how_to_lift

BROKER = ("plant-7", 1884)


@pytest.mark.parametrize(
    ("installed", "topic", "kind", "broker", "expected"),
    [
        (True, "cascade/constraints/global/@pause", "pause", None, "clear {topic}: cascade resume"),
        (
            True,
            "cascade/constraints/task/a*/@rate_limit",
            "rate_limit",
            BROKER,
            "clear {topic} of the broker plant-7:1884: cascade clear 'task:a*' rate_limit",
        ),
        (True, "cascade/constraints/run/1", "pause", None, "clear {topic}: cascade resume run:1"),
        (
            False,
            "cascade/constraints/global/@pause",
            "pause",
            BROKER,
            "clear the retained message: mosquitto_pub -h plant-7 -p 1884 -r -n -t {topic}",
        ),
        (True, "of/another/hub", "pause", None, "clear the retained message: mosquitto_pub -r -n -t {topic}"),
    ],
)
def test_the_topic_is_named_and_the_command_only_where_it_is_installed(
    installed: bool,
    topic: str,
    kind: str,
    broker: tuple[str, int] | None,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`cascade resume` if the user has it; otherwise the tool of the broker."""
    monkeypatch.setattr(wait_reasons, "_has_command", lambda: installed)
    assert how_to_lift(topic, kind, broker) == expected.format(topic=topic)


def test_a_hostile_scope_is_one_argument_of_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may hold a quote; control characters are escaped."""
    monkeypatch.setattr(wait_reasons, "_has_command", lambda: True)
    scope = "task:a*'; reboot '\x1b"
    line = how_to_lift(constraint_topic(scope, "pause"), "pause", None)
    assert line.isprintable()
    assert shlex.split(line.partition(": ")[2]) == ["cascade", "resume", scope.replace("\x1b", "\\x1b")]


def test_the_command_is_there_where_its_package_is_installed() -> None:
    """A user who has only the library has no command."""
    wait_reasons._has_command.cache_clear()
    assert wait_reasons._has_command()
