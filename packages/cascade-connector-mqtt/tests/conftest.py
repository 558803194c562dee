"""What the tests of this package share."""

from __future__ import annotations

from dataclasses import fields

import pytest

from cascade.connectors.mqtt.config import Settings
from cascade.transport import drain, link

LIMITS = {
    (module, name): getattr(module, name)
    for module, name in (
        (drain, "NO_PROGRESS"),
        (link, "LEAVE_TIMEOUT"),
        (link, "ANSWER_TIMEOUT"),
        (link, "STUCK_TIMEOUT"),
    )
}
"""What the limits of a link are. A test patches them with one fixture only: two would restore each other's values."""
AGES = 60.0
"""Seconds that no test waits, unless the machine stands still."""


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give nothing up because the machine is slow: a test that is about a limit sets it itself."""
    for (module, name), limit in LIMITS.items():
        assert getattr(module, name) == limit, "an earlier test has left its own limit"
        monkeypatch.setattr(module, name, AGES)
    names = [each.name for each in fields(Settings)]
    make = Settings.__init__
    assert make.__defaults__ is not None
    defaults = dict(zip(names[-len(make.__defaults__) :], make.__defaults__, strict=True))
    defaults |= {"connect_timeout": AGES, "drain_timeout": AGES}
    monkeypatch.setattr(make, "__defaults__", tuple(defaults.values()))


@pytest.fixture
def hasty_end(patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a link that carries nothing up soon, at the end of a connector."""
    monkeypatch.setattr("cascade.transport.drain.NO_PROGRESS", 0.2)
    monkeypatch.setattr("cascade.transport.link.LEAVE_TIMEOUT", 0.2)
