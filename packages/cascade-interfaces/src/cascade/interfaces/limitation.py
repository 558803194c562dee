"""Limitations: guarantees that a network does not give its user although there is a link."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Lacking(StrEnum):
    """Which guarantee is missing."""

    STORE = "store"
    """Nothing keeps retained messages."""
    STORE_RIGHTS = "store rights"
    """This user may not use what keeps them."""
    STORE_SETTINGS = "store settings"
    """What keeps them was made with settings that lose constraints."""
    STORE_ANSWER = "store answer"
    """What keeps them does not answer, or refuses for another reason."""
    PRESENCE = "presence"
    """Others cannot see that a process has gone."""
    TELEMETRY = "telemetry"
    """Telemetry is sent, and not kept for readers that are away."""
    ONE_SET = "one set"
    """A second network keeps retained messages of its own, in the same account."""


class Limitation(NamedTuple):
    """A guarantee that is missing, and why."""

    lacking: Lacking
    cause: str
    remedy: str

    @property
    def text(self) -> str:
        """Cause and remedy, for one line of a log."""
        return f"{self.cause}; {self.remedy}"

    @property
    def of_store(self) -> bool:
        """Whether nothing is retained because of it."""
        return self.lacking.startswith("store")
