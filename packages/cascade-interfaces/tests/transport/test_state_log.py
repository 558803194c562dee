"""A failure is logged once, until it works again."""

import logging

import pytest

from cascade.transport.state_log import StateLog

LOGGER = logging.getLogger("cascade.test.state_log")


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_reset(caplog: pytest.LogCaptureFixture) -> None:
    """After a reset every failure is new, also within the quiet time."""
    state = StateLog(LOGGER, quiet=60.0, clock=lambda: 0.0)
    state.failed("send", "failed")
    state.reset()
    state.failed("send", "failed")
    assert messages(caplog) == ["failed", "failed"]


def test_a_failure_is_a_warning_without_a_traceback_and_its_return_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Unless the caller sets another level; a report without a failure before it logs nothing, and without a quiet time each failure is logged."""
    caplog.set_level(logging.DEBUG)
    state = StateLog(LOGGER)
    state.works("send", "sends again")
    for count in (1, 2):
        state.report("send", ["jam"], "cannot send %d of %s", count, "two")
        state.report("send", [], "cannot send %d of %s", count, "two")
    state.failed("send", "cannot send")
    state.works("send")
    state.works("send", "sends again")
    found = [(record.levelno, record.getMessage(), record.exc_info) for record in caplog.records]
    assert found == [
        (logging.WARNING, "cannot send 1 of two", None),
        (logging.WARNING, "cannot send 2 of two", None),
        (logging.WARNING, "cannot send", None),
    ]


def test_each_key_has_a_quiet_time_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """It begins with the line that was logged, not with a failure that it hid."""
    now = 0.0
    state = StateLog(LOGGER, quiet=10.0, clock=lambda: now)
    for second, key in ((0, "a"), (5, "b"), (9, "a"), (10, "a"), (14, "b"), (15, "b"), (19, "a"), (20, "a")):
        now = float(second)
        state.failed(key, "%s failed at %d", key, second)
        state.works(key)
    assert messages(caplog) == [
        "a failed at 0",
        "b failed at 5",
        "a failed at 10",
        "b failed at 15",
        "a failed at 20",
    ]
