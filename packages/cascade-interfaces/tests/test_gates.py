"""Gates as they are declared: what is refused, and what a register says of them."""

from __future__ import annotations

from typing import Any

import pytest

from cascade.interfaces.errors import ConfigurationError
from cascade.interfaces.gates import Gate, GateMistake, Window, duration_in_words, gate

T = {"topic": "site/power"}


@pytest.mark.parametrize(
    ("settings", "setting", "message"),
    [
        ({}, "topic", "a gate needs a topic, or a window"),
        (
            T,
            "above",
            "a gate needs one of above, below, inside, outside and equals, and has none; it is closed",
        ),
        ({**T, "above": 1, "below": 2}, "below", "and has above and below"),
        ({**T, "above": "hot"}, "above", "needs a number, not 'hot'"),
        ({**T, "above": True}, "above", "needs a number, not True"),
        ({**T, "below": float("nan")}, "below", "needs a number from -1e+300 to 1e+300"),
        ({**T, "below": 10**4500}, "below", "needs a number from -1e+300 to 1e+300"),
        ({**T, "inside": (20, 10)}, "inside", "needs the lower number first: 10 and 20"),
        ({**T, "outside": [1]}, "outside", "needs two numbers, the lower one first, not [1]"),
        ({**T, "equals": 1}, "equals", "needs a word such as 'ON', not 1"),
        ({**T, "equals": ""}, "equals", "needs a word such as 'ON', not ''"),
        ({**T, "above": 800, "clear_at": 900}, "clear_at", "must lie on the open side: at most 800, not 900"),
        ({**T, "below": 50, "clear_at": 40}, "clear_at", "must lie on the open side: at least 50, not 40"),
        ({**T, "equals": "ON", "clear_at": 1}, "clear_at", "goes with above or below, not with equals"),
        ({**T, "above": 1, "settle": -1}, "settle", "needs from 0 to a year, not -1 s"),
        ({**T, "above": 1, "settle": "60s"}, "settle", "needs a number, not '60s'"),
        ({**T, "above": 1, "stale": 0}, "stale", "needs above 0 to a year, not 0 s"),
        ({**T, "above": 1, "on_stale": "open"}, "on_stale", "needs 'hold' or 'pass', not 'open'"),
        ({**T, "above": 1, "path": "/w"}, "path", "is written without its first slash: 'w'"),
        ({**T, "above": 1, "path": "a~b"}, "path", "write '~0' for '~' and '~1' for '/' in a name"),
        ({**T, "above": 1, "path": 3}, "path", "needs a text of at most 200 printable characters, not 3"),
        ({"topic": "site/+", "above": 1}, "topic", "'site/+' has a wildcard"),
        ({"topic": "", "above": 1}, "topic", "'' is empty"),
        ({"topic": 3, "above": 1}, "topic", "3 is not text"),
        (
            {"topic": "$SYS/uptime", "above": 1},
            "topic",
            "topics that begin with '$' or 'cascade/' are not the plant's",
        ),
        (
            {"topic": "cascade/state/a/runs", "above": 1},
            "topic",
            "are not the plant's; publish the value on another",
        ),
        (
            {"window": "22:00-06:00"},
            "window",
            "needs hours and a time zone, such as '22:00-06:00 Europe/Berlin'",
        ),
        ({"window": "25:00-06:00 UTC"}, "window", "needs hours and a time zone"),
        ({"window": 3}, "window", "needs hours and a time zone, such as '22:00-06:00 Europe/Berlin', not 3"),
        ({"window": "08:00-24:30 UTC"}, "window", "the day ends at 24:00, so 24:30 never comes"),
        (
            {"window": "08:00-08:00 UTC"},
            "window",
            "'08:00-08:00 UTC' never opens: it begins and ends at the same time",
        ),
        ({"window": "08:00-09:00 Mars/Base"}, "window", "this computer knows no time zone 'Mars/Base'"),
        ({"window": "08:00-09:00 ../../etc/x"}, "window", "this computer knows no time zone"),
        (
            {"window": "08:00-09:00 UTC", **T},
            "window",
            "a gate has a window or a topic; leave topic out, or make two",
        ),
        ({"window": "08:00-09:00 UTC", "settle": 1}, "window", "leave settle out"),
    ],
)
def test_a_gate_that_cannot_work_is_refused(settings: dict[str, Any], setting: str, message: str) -> None:
    """Where it is declared, naming the keyword; and in a register, naming the key."""
    with pytest.raises(ConfigurationError) as raised:
        gate("power", **settings)
    assert raised.value.setting == f"gate({setting}=)"
    assert message in str(raised.value)
    params = {
        {"settle": "settle_s", "stale": "stale_s"}.get(key, key): value for key, value in settings.items()
    }
    with pytest.raises(GateMistake) as refused:
        Gate.from_params("power", params)
    assert (refused.value.setting, refused.value.problem) == (setting, raised.value.problem)


@pytest.mark.parametrize("name", ["", "a b", "a.b", "x" * 41, "ü", None])
def test_a_name_is_short_and_plain(name: Any) -> None:
    """It is a part of a topic, of a command line and of a report."""
    with pytest.raises(ConfigurationError, match="needs 1 to 40 letters, digits, '-' and '_'"):
        gate(name, window="08:00-09:00 UTC")


@pytest.mark.parametrize(
    "declared",
    [
        gate(
            "power",
            topic="site/power",
            path="w",
            above=800,
            clear_at=700,
            settle=60,
            stale=600,
            on_stale="pass",
        ),
        gate("level", topic="tank", inside=(10, 20.5)),
        gate("door", topic="door", equals="open"),
        gate("night", window="22:00-06:00 Europe/Berlin"),
        gate("day", window="00:00-24:00 UTC"),
    ],
)
def test_a_register_says_the_same(declared: Gate) -> None:
    """What a tool writes, an engine reads; keys that it does not know are ignored."""
    assert Gate.from_params(declared.name, {**declared.params(), "colour": "red"}) == declared
    assert declared.window is None or Window.parse(str(declared.window)) == declared.window


def test_durations_are_words() -> None:
    """In the unit in which a person would say them."""
    assert [duration_in_words(each) for each in (0.5, 90, 600, 9_000)] == ["0.5 s", "90 s", "10 min", "2 h"]
