"""Limits so long that no test meets them: what stays is a fault of the product, not a slow machine."""

from __future__ import annotations

from importlib import import_module

AGES = 600.0
"""Seconds that no test waits."""

LIMITS = (
    ("cascade.runtime._support.connection", "START_LIMIT"),
    ("cascade.runtime._support.loop_lag", "LAG_LIMIT"),
    ("cascade.runtime._control.sync", "COMPLETE_LIMIT"),
    ("cascade.runtime.engine", "TELEMETRY_DRAIN"),
    ("cascade.transport.drain", "NO_PROGRESS"),
    ("cascade.transport.link", "ANSWER_TIMEOUT"),
    ("cascade.transport.link", "LEAVE_TIMEOUT"),
    ("cascade.transport.link", "STUCK_TIMEOUT"),
)
"""Module and name of each limit after which a run or a link goes on without an answer, mostly with a warning."""

PATIENT = {"keepalive": 600, "connect_timeout": AGES, "drain_timeout": AGES}
"""Keywords of a connector for MQTT that gives nothing up, and that the broker does not miss."""


def lengthen() -> None:
    """Set all limits, in a program of its own; a test uses the fixture ``patient``."""
    for module, name in LIMITS:
        setattr(import_module(module), name, AGES)
