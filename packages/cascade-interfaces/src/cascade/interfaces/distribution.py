"""The name by which pip installs Cascade. Every message with a pip line takes it from here."""

from __future__ import annotations

DISTRIBUTION = "cascade-py"


def install_line(extra: str, distribution: str = DISTRIBUTION) -> str:
    """Return the command line that installs an extra of Cascade, or of one of its further distributions.

    >>> install_line("mqtt")
    'pip install "cascade-py[mqtt]"'
    """
    return f'pip install "{distribution}[{extra}]"'
