"""Says once what something cannot do, and once that it can again."""

from __future__ import annotations

import logging


class Health:
    """What one thing that may fail cannot do at the moment; only changes are logged."""

    def __init__(self, log: logging.Logger, name: str) -> None:
        self._log = log
        self._name = name
        self._troubles: set[str] = set()

    def failed(self, ability: str, cause: object, *, advice: str = "") -> None:
        """Record that it cannot do what ``ability`` says ("keep values")."""
        if ability not in self._troubles:
            self._troubles.add(ability)
            self._log.warning("%s cannot %s: %s%s", self._name, ability, cause, advice and f"; {advice}")

    def worked(self, ability: str) -> None:
        """Record that it can."""
        if ability in self._troubles:
            self._troubles.discard(ability)
            self._log.info("%s can %s again", self._name, ability)
