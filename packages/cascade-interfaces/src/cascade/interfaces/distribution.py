"""The name by which pip installs Cascade, and the version of all its distributions. Messages take both from here."""

from __future__ import annotations

DISTRIBUTION = "cascade-py"
VERSION = "0.1.0"
"""Of every distribution. A constant, because reading it from what is installed takes a tenth of a program's start."""


def install_line(extra: str, distribution: str = DISTRIBUTION) -> str:
    """Return the command line that installs an extra of Cascade, or of one of its further distributions.

    >>> install_line("mqtt")
    'pip install "cascade-py[mqtt]"'
    """
    return f'pip install "{distribution}[{extra}]"'
