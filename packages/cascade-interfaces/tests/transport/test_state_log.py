"""A failure is logged once, until it works again."""

import logging

import pytest

from cascade.transport.state_log import StateLog

LOGGER = logging.getLogger("cascade.test.state_log")


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_first_failure_only(caplog: pytest.LogCaptureFixture) -> None:
    """The second failure of a key is not logged."""
    state = StateLog(LOGGER)
    for reason in ("disk full", "disk still full"):
        state.failed("write", "cannot write: %s", reason)
    assert messages(caplog) == ["cannot write: disk full"]
    assert caplog.records[0].levelno == logging.WARNING


def test_logs_again_after_it_worked(caplog: pytest.LogCaptureFixture) -> None:
    """A failure after a success is a new one."""
    state = StateLog(LOGGER)
    state.works("write")
    state.failed("write", "first")
    state.works("write")
    state.works("write")
    state.failed("write", "second")
    assert messages(caplog) == ["first", "second"]


def test_what_is_reported_is_logged_again_after_it_worked(caplog: pytest.LogCaptureFixture) -> None:
    """A reason that is gone ends a failure as well as a call that says so."""
    state = StateLog(LOGGER)
    for reason in ("disk full", "disk full", "", "disk full"):
        state.report("write", reason, "cannot write: %s", reason)
    assert messages(caplog) == ["cannot write: disk full"] * 2


def test_keys_are_independent(caplog: pytest.LogCaptureFixture) -> None:
    """The state of one key does not change that of another."""
    state = StateLog(LOGGER)
    state.failed("read", "read")
    state.failed(("write", 1), "write")
    state.works("read")
    state.failed(("write", 1), "write")
    assert messages(caplog) == ["read", "write"]


def test_recovery_is_logged_on_request(caplog: pytest.LogCaptureFixture) -> None:
    """A recovery is logged once, at INFO, if there is a message for it and the key had failed."""
    state = StateLog(LOGGER)
    state.works("read", "can %s again", "read")
    state.failed("read", "cannot read")
    state.works("read", "can %s again", "read")
    state.works("read", "can %s again", "read")
    assert messages(caplog) == ["cannot read", "can read again"]
    assert caplog.records[1].levelno == logging.INFO


def test_level_and_exception(caplog: pytest.LogCaptureFixture) -> None:
    """The caller chooses the level, and can add a traceback."""
    problem = ValueError("odd")
    StateLog(LOGGER).failed("parse", "cannot parse", level=logging.ERROR, exc_info=problem)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[1] is problem


def test_quiet_time(caplog: pytest.LogCaptureFixture) -> None:
    """With a quiet time, a failure that comes and goes is logged once in that time."""
    now = 0.0
    state = StateLog(LOGGER, quiet=60.0, clock=lambda: now)
    for second in (0, 30, 59, 60, 61):
        now = float(second)
        state.failed("call", "failed at %d", second)
        state.works("call")
    assert messages(caplog) == ["failed at 0", "failed at 60"]


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
