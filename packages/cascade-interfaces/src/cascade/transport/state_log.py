"""Log a failure once, until it works again."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable


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
