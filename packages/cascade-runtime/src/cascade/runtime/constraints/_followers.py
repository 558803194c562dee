"""Who follows a broker in this process, and who of them report under one name."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Protocol

_log = logging.getLogger("cascade.constraints")


class Follower(Protocol):
    """A manager, as those see it who report on the same topics."""

    @property
    def source(self) -> str:
        """The name that its reports bear."""
        ...

    def report_again(self) -> None:
        """Report soon, although nothing has changed."""
        ...


class Followers:
    """Everybody who follows now. A connector is known by its identity: it may be of any kind."""

    def __init__(self) -> None:
        self._by_connector: dict[int, list[Follower]] = {}
        self._by_name: Counter[str] = Counter()
        self._warned: set[str] = set()

    def join(self, follower: Follower, connector: object) -> None:
        """Take note of a follower; warn, once for each name, of two of one name."""
        self._by_connector.setdefault(id(connector), []).append(follower)
        self._by_name[follower.source] += 1
        if self._by_name[follower.source] > 1 and follower.source not in self._warned:
            self._warned.add(follower.source)
            _log.warning(
                "two engines of this process are both called %s: give each a connector with a source_id "
                "of its own, or nobody can tell their reports apart",
                follower.source,
            )

    def leave(self, follower: Follower, connector: object) -> list[Follower]:
        """Forget a follower; return those who go on with its connector."""
        self._by_name[follower.source] -= 1
        others = self._by_connector[id(connector)]
        others.remove(follower)
        if not others:
            del self._by_connector[id(connector)]
        return others
