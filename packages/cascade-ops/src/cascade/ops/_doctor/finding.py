"""One thing that is wrong, or may be: what was found, what it means, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem, or a warning about something that works but has a risk."""

    name: str
    """A word by which a program knows it."""
    found: str
    means: str
    remedy: str
    steps: tuple[str, ...] = ()
    """Commands, or lines of a configuration, that do what ``remedy`` says."""
    warning: bool = False

    @property
    def text(self) -> str:
        """What was found, and what it means."""
        return f"{self.found}; {self.means}"

    @property
    def row(self) -> dict[str, str]:
        """Its JSON."""
        return {"name": self.name, "text": self.text, "remedy": self.remedy}


def parted(findings: Iterable[Finding]) -> tuple[list[Finding], list[Finding]]:
    """Return problems and warnings."""
    problems: list[Finding] = []
    warnings: list[Finding] = []
    for each in findings:
        (warnings if each.warning else problems).append(each)
    return problems, warnings


def some(texts: Iterable[str], separator: str = ", ") -> str:
    """Return the first three texts, and how many more there are."""
    found = sorted(texts)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return separator.join(found[:_SHOWN]) + more
