"""A window that bounds the messages from a call to its engine."""

from __future__ import annotations

import threading
from collections.abc import Callable

# seconds after which a call that waits checks again whether an engine awaits it
_CHECK_INTERVAL = 1.0


class SendWindow:
    """Holds back a call that sends faster than its engine takes. Any thread may call any method.

    :param size: characters that may be on the way at the same time; a longer text goes alone.
    :param is_awaited: returns whether an engine still awaits the call, as far as the worker knows.
    """

    def __init__(self, size: int, is_awaited: Callable[[], bool]) -> None:
        self._size = size
        self._is_awaited = is_awaited
        self._changed = threading.Condition()
        self._sent = 0
        self._taken = 0
        self._ended = False
        self.waiting = 0
        """How many threads wait for room."""

    def send(self, text: str, send: Callable[[str], None]) -> None:
        """Send a text when there is room for it; drop it if there is none and the call is to stop, or no engine awaits it."""
        with self._changed:
            if self._wait_for(len(text)):
                self._sent += len(text)
                # here: the texts of several threads leave in the order in which they got room
                send(text)

    def confirm(self, total: int) -> None:
        """Note that the engine has taken ``total`` characters of the call so far."""
        with self._changed:
            self._taken = max(self._taken, total)
            self._changed.notify_all()

    def end(self) -> None:
        """Drop from now on what has no room: the call is to stop."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _wait_for(self, amount: int) -> bool:
        """Wait for room; return False if the call is to stop, or no engine awaits it."""
        while not self._has_room(amount):
            if not self._ended and not self._wait():
                self._ended = not self._is_awaited()
            if self._ended:
                return False
        return True

    def _wait(self) -> bool:
        self.waiting += 1
        try:
            return self._changed.wait(_CHECK_INTERVAL)
        finally:
            self.waiting -= 1

    def _has_room(self, amount: int) -> bool:
        on_the_way = self._sent - self._taken
        return not on_the_way or on_the_way + amount <= self._size
