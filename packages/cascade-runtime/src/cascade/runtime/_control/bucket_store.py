"""Token buckets that live as long as the process: a limit of two a minute holds across short runs."""

from __future__ import annotations

from typing import ClassVar

from cascade.interfaces import Connector
from cascade.runtime._admission.buckets import TokenBuckets
from cascade.runtime._control.by_broker import ByBroker


class BucketStore:
    """The token buckets of this process by broker, project and source; each then has one for each scope.

    A clear drops the bucket of its scope (see the admission policy).
    """

    _buckets: ClassVar[ByBroker[TokenBuckets]] = ByBroker(dict)

    @classmethod
    def buckets(cls, connector: Connector, *, project: str, source: str) -> TokenBuckets:
        """Return the buckets of all engines with this broker, project and source."""
        return cls._buckets.get(connector, project=project, source=source)
