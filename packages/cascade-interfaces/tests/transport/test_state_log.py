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
