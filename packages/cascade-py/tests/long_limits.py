"""Limits so long that no test meets them: what stays is a fault of the product, not a slow machine.

``python -P long_limits.py ARGUMENTS`` is the command ``cascade`` with these limits.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

AGES = 600.0
"""Seconds that no test waits."""

LIMITS = (
    ("cascade.runtime._support.shared_connection", "START_LIMIT"),
    ("cascade.runtime._support.loop_lag", "LAG_LIMIT"),
    ("cascade.runtime._registers.sync", "COMPLETE_LIMIT"),
    ("cascade.runtime._run", "TELEMETRY_DRAIN"),
    ("cascade.transport.waiting", "NO_PROGRESS"),
    ("cascade.transport.link", "ANSWER_TIMEOUT"),
    ("cascade.transport.link", "LEAVE_TIMEOUT"),
    ("cascade.transport.link", "STUCK_TIMEOUT"),
)
"""Module and name of each limit after which a run or a link goes on without an answer, mostly with a warning."""

PATIENT = {"keepalive": 600, "connect_timeout": AGES, "drain_timeout": AGES}
"""Keywords of a connector for MQTT that gives nothing up, and that the broker does not miss."""


CASCADE = (sys.executable, "-P", str(Path(__file__)))
"""The command line of the command with these limits."""


def lengthen() -> None:
    """Set all limits, in a program of its own; a test uses the fixture ``patient``."""
    for module, name in LIMITS:
        setattr(import_module(module), name, AGES)


def command() -> int:
    """Run the command ``cascade`` with these limits; return its exit code."""
    from cascade.cli import main
    from cascade.cli.link import Address

    lengthen()
    connector = Address.connector

    def patient_connector(address: Address, **keywords: Any) -> Any:
        return connector(address, **PATIENT, **keywords)

    Address.connector = patient_connector  # type: ignore[assignment,method-assign]
    return main()


if __name__ == "__main__":
    sys.exit(command())
