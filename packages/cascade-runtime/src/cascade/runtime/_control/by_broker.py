"""State that a process keeps for each broker, however often it connects."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from cascade.interfaces import Connector, SupportsBroker, supports

T = TypeVar("T")
_Values = dict[tuple[str, str], T]


class ByBroker(Generic[T]):
    """One value for each broker, project and source, for as long as the process lives.

    A broker is known by host and port, or by the hub of a connector inside the process; for any other
    connector it is the connector itself.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self.by_address: dict[tuple[str, int], _Values[T]] = {}
        self.by_hub: WeakKeyDictionary[Hashable, _Values[T]] = WeakKeyDictionary()

    def get(self, connector: Connector, *, project: str, source: str) -> T:
        """Return the value; make it if there is none."""
        values, key = self._of_broker(connector), (project, source)
        if key not in values:
            values[key] = self._make()
        return values[key]

    def _of_broker(self, connector: Connector) -> _Values[T]:
        if supports(connector, SupportsBroker):
            return self.by_address.setdefault((connector.hostname, connector.port), {})
        try:
            hub: Any = getattr(connector, "hub", connector)
            return self.by_hub.setdefault(hub, {})
        except TypeError:  # it cannot be hashed or referenced weakly: its values live as long as one manager
            return {}
