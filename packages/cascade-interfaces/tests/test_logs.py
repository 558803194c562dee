"""Log lines of Cascade show no secrets, and are otherwise as they were logged."""

import gc
import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascade.interfaces import Redactor
from cascade.interfaces.logs import get_logger, mask_logs_with

log = get_logger("cascade.test")

PACKAGES = Path(__file__).parents[2]
ELSEWHERE = {"__init__.py": '"cascade"', "_aiomqtt_internals.py": '"mqtt"'}
"""Files that may ask for another logger, and for which one."""


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    log.addHandler(handler)
    yield stream
    log.removeHandler(handler)


def test_a_message_and_its_arguments_are_masked(
    written: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    """A record with a secret keeps its level and gets a masked message; another record is not changed."""
    log.warning("cannot log in: %s", "password=hunter2")
    log.warning("tried %d times", 3)
    assert written.getvalue() == "cannot log in: password=***\ntried 3 times\n"
    assert caplog.records[1].args == (3,)


def test_a_traceback_is_masked(written: io.StringIO, caplog: pytest.LogCaptureFixture) -> None:
    """Chained causes too, for every formatter: the record no longer holds the errors."""
    try:
        try:
            raise OSError("amqp://guest:hunter2@host refused")
        except OSError as exc:
            raise ValueError("token: hunter3") from exc
    except ValueError:
        log.exception("failed")
    assert "amqp://***@host refused" in written.getvalue()
    assert "ValueError: token: ***" in written.getvalue()
    assert "hunter" not in written.getvalue()
    assert caplog.records[0].exc_info is None


def test_a_clean_traceback_stays_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """Handlers that send errors elsewhere get the error object."""
    error = ValueError("clean")
    log.warning("failed", exc_info=error)
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[1] is error


def test_a_redactor_of_the_user_masks_while_it_exists(written: io.StringIO) -> None:
    """Its names and patterns hold for all lines of the process, and end with it."""
    redactor = Redactor(names=["iban"])
    for _ in range(2):
        mask_logs_with(redactor)
    log.warning("iban=1")
    del redactor
    gc.collect()
    log.warning("iban=2")
    assert written.getvalue() == "iban=***\niban=2\n"


def test_redactors_of_two_engines_mask_side_by_side(written: io.StringIO) -> None:
    """What one engine was told to mask stays masked when a second engine names other words."""
    first, second = Redactor(names=["iban"]), Redactor(names=["plate"])
    for redactor in (first, second):
        mask_logs_with(redactor)
    log.warning("iban=1 plate=2")
    assert written.getvalue() == "iban=*** plate=***\n"


def test_a_message_that_cannot_be_formatted_is_left_to_the_handler(
    written: io.StringIO, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong log call does not raise in the code that logs."""
    monkeypatch.setattr(logging, "raiseExceptions", False)
    log.propagate = False
    try:
        log.warning("%d", "no number")
    finally:
        log.propagate = True
    assert written.getvalue() == ""


def test_every_logger_of_the_packages_masks() -> None:
    """No source asks logging for a logger by itself."""
    found = [
        (path.name, line)
        for path in PACKAGES.glob("*/src/**/*.py")
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"= logging\.getLogger\(|import getLogger", line)
        and ELSEWHERE.get(path.name, "-") not in line
        and path.name != "logs.py"
    ]
    assert found == []
