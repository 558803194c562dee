"""Log a failure once, until it works again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from typing import Any


class StateLog:
    """Turns a stream of successes and failures into one log line for each change of state.

    An operation that is tried again and again, such as sending a message, can fail thousands of
    times for one reason. Report every outcome here; the log gets the first failure only::

        state = StateLog(log)
        try:
            send(message)
        except OSError as exc:
            state.failed("send", "messages are lost: %s", exc)
        else:
            state.works("send")

    Each key has a state of its own; any hashable object can be a key. Safe to use from several
    threads: at worst, two failures at the same moment are both logged.

    :param quiet: seconds after a log line in which a further failure of the same key is not logged,
        even if it worked in between: for failures that come and go.
    :param clock: returns seconds and never goes back.
    """

    __slots__ = ("_clock", "_failing", "_logger", "_quiet", "_quiet_until")

    def __init__(
        self,
        logger: logging.Logger | logging.LoggerAdapter[logging.Logger],
        *,
        quiet: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._quiet = quiet
        self._clock = clock
        self._failing: set[Hashable] = set()
        self._quiet_until: dict[Hashable, float] = {}

    def failed(
        self,
        key: Hashable,
        message: str,
        *args: object,
        level: int = logging.WARNING,
        exc_info: BaseException | None = None,
    ) -> None:
        """Log a failure as ``logger.log(level, message, *args)``; do nothing if ``key`` failed before.

        "Before" means since the last :meth:`works` or :meth:`reset`.
        """
        if key in self._failing:
            return
        self._failing.add(key)
        if self._quiet:
            now = self._clock()
            if now < self._quiet_until.get(key, now):
                return
            self._quiet_until[key] = now + self._quiet
        self._logger.log(level, message, *args, exc_info=exc_info)

    def works(self, key: Hashable, message: str = "", *args: object) -> None:
        """Note that ``key`` works, so that its next failure is logged again; cheap, call it each time.

        :param message: logged at INFO if ``key`` had failed; without it the recovery is not logged.
        """
        if key in self._failing:
            self._failing.discard(key)
            if message:
                self._logger.info(message, *args)

    def report(self, key: Hashable, failing: object, message: str, *args: object) -> None:
        """Do what :meth:`failed` does, or :meth:`works` if ``failing`` is false or empty."""
        if failing:
            self.failed(key, message, *args)
        else:
            self.works(key)

    def reset(self) -> None:
        """Forget every state: for a new connection, after which every failure counts as new."""
        self._failing.clear()
        self._quiet_until.clear()


class QuietLogger(logging.LoggerAdapter[logging.Logger]):
    """Logs each message of the client once, until :meth:`reset` is called.

    The client reports why a socket failed in its log only: the connector takes the cause from here and
    reports it with host and port.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger, None)
        self._state = StateLog(logger)
        self._socket_error: OSError | None = None

    def reset(self) -> None:
        """Log each message again: for a new state of the connection."""
        self._state.reset()

    def note_socket_error(self, error: OSError) -> None:
        """Keep a better cause of the failure than the client has found."""
        self._socket_error = error

    def take_socket_error(self) -> OSError | None:
        """Return why the socket failed and forget it; None if it did not fail."""
        error, self._socket_error = self._socket_error, None
        return error

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a warning or error once; log everything else as it is."""
        if level < logging.WARNING:
            # for each message: nearly always not
            if self.logger.isEnabledFor(level):
                super().log(level, msg, *args, **kwargs)
        elif args and isinstance(args[0], OSError):
            self._socket_error = args[0]
            super().log(logging.DEBUG, msg, *args, **kwargs)
        else:
            error = kwargs.get("exc_info")
            self._state.failed((level, msg), str(msg), *args, level=level, exc_info=error)
