"""Callbacks of a connector that is about to disconnect."""

from __future__ import annotations

import logging
from collections.abc import Callable


class BeforeDisconnect:
    """What others have asked a connector to call before it disconnects.

    :param logger: gets a warning for a callback that raises an error.
    """

    def __init__(self, logger: logging.Logger | logging.LoggerAdapter[logging.Logger]) -> None:
        self._logger = logger
        self._callbacks: dict[object, Callable[[], object]] = {}

    def add(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Add a callback; return how to remove it, which may be done more than once."""
        key = object()
        self._callbacks[key] = callback

        def remove() -> None:
            self._callbacks.pop(key, None)

        return remove

    def call(self) -> None:
        """Call every callback in the order in which they were added; an error of one does not affect the others."""
        for callback in list(self._callbacks.values()):
            try:
                callback()
            except Exception as exc:
                self._logger.warning(
                    "a callback before the disconnect has failed: %s: %s", type(exc).__name__, exc
                )
