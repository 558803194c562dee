"""The command with limits that no test meets: ``python -P patient.py ARGUMENTS``.

A broker that gets no processor for seconds is not one that does not answer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from cascade.cli.link import Address
from cascade.cli.main import main
from cascade.interfaces.connector import Connector

PATIENT = (sys.executable, "-P", str(Path(__file__)))
"""The command line of this program, for a test of the command in a process of its own."""
SECONDS = 60.0
LIMITS = (
    ("cascade.cli.snapshot", "ANSWER_SECONDS"),
    ("cascade.cli.snapshot", "ECHO_SECONDS"),
    ("cascade.cli._watching.feed", "SUBSCRIBE_SECONDS"),
    ("cascade.cli._steering.publishing", "ACKNOWLEDGE_SECONDS"),
    ("cascade.ops._retained_writes", "ACKNOWLEDGE_SECONDS"),
)
"""After which a command says that the broker does not answer, or takes what has come for everything."""


def lengthen(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Set every limit, and the time to connect.

    :param replace: sets an attribute of a module or a class.
    """
    for module, name in LIMITS:
        found = import_module(module)
        assert hasattr(found, name)
        replace(found, name, SECONDS)
    lengthen_connecting(replace)


def lengthen_connecting(replace: Callable[[Any, str, Any], None]) -> None:
    """Set the time in which a link is made; a test of silence sets ``SECONDS`` to what it waits.

    :param replace: sets an attribute of a module or a class.
    """
    connector = Address.connector

    def patient_connector(address: Address, **keywords: Any) -> Connector:
        return connector(address, **{"connect_timeout": SECONDS, **keywords})

    replace(Address, "connector", patient_connector)


if __name__ == "__main__":
    lengthen()
    sys.exit(main())
