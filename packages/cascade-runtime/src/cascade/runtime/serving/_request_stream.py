"""The requests of a service, as they come."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable

from cascade.interfaces import (
    ConfigurationError,
    Connector,
    Linked,
    Message,
    SupportsStatistics,
    SupportsWatch,
    WatchStream,
    supports,
)
from cascade.interfaces.logs import get_logger
from cascade.interfaces.topics import request_filters

REOPEN_SECONDS = 1.0
"""Until a stream of requests that has failed is opened again."""
_MAX_RETAINED = 1_000
_log = get_logger("cascade.serve")


class RequestStream:
    """Receives the requests of one source; a stream that fails is opened again.

    :param take: called with each message, of which many may be none of this service.
    :param changed: called when the connector has linked, and when the broker begins or ceases to let this service read.
    :raises ConfigurationError: if the connector cannot receive requests.
    """

    def __init__(
        self,
        connector: Connector,
        source: str,
        *,
        take: Callable[[Message], None],
        changed: Callable[[], None],
    ) -> None:
        watcher: object = connector
        if not supports(watcher, SupportsWatch):
            raise ConfigurationError(
                "serve(connector=)", "needs a connector with watch(), such as mqtt://broker"
            )
        self._connector, self._watcher = connector, watcher
        self._source, self._take, self._changed = source, take, changed
        self._opened: WatchStream | None = None
        self._retained: OrderedDict[int, None] = OrderedDict()
        self.is_deaf = False
        """Whether the broker does not permit to read the requests, as far as it says so."""

    def open(self) -> None:
        """Subscribe; before the connector connects, because over MQTT only version 5 has topics for answers."""
        self._opened = self._watcher.watch(*request_filters(self._source))

    async def read(self) -> None:
        """Take requests until the asyncio task is cancelled."""
        while True:
            try:
                if self._opened is None:
                    self.open()
                assert self._opened is not None
                async with contextlib.aclosing(self._opened) as stream:
                    async for item in stream:
                        if isinstance(item, Message):
                            self._take(item)
                        elif isinstance(item, Linked) or self._refuses() is not self.is_deaf:
                            self.is_deaf = self._refuses()
                            self._changed()
            except Exception:
                _log.exception("%s: the stream of requests has failed; it is opened again", self._source)
            self._opened = None
            await asyncio.sleep(REOPEN_SECONDS)

    def is_first(self, message: Message) -> bool:
        """Return whether a retained message comes for the first time: it comes again with each sync."""
        key = hash((message.topic, message.payload))
        if key in self._retained:
            return False
        self._retained[key] = None
        if len(self._retained) > _MAX_RETAINED:
            self._retained.popitem(last=False)
        return True

    def _refuses(self) -> bool:
        own, _ = request_filters(self._source)
        return supports(self._connector, SupportsStatistics) and own in self._connector.statistics().refused
