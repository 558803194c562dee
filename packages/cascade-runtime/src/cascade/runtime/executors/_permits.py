"""Permits of a worker process: it starts a call only after it has taken the call's permit.

Permits wait in a pipe that both processes can read. The kernel gives each one to one reader. So
the executor takes back a call without the help of its worker, which may be busy in native code
that keeps the GIL: either the executor reads the permit, or the call has started.
"""

from __future__ import annotations

import contextlib
import os
import struct

_NUMBER = struct.Struct("<Q")
_MANY = 4096  # bytes; more permits than any worker has


class Permits:
    """The executor's side: both ends of the pipe.

    :raises OSError: if the pipe cannot be made.
    """

    def __init__(self) -> None:
        self.readable, self._writable = os.pipe()
        os.set_blocking(self.readable, False)  # for the worker too, which shares this end
        self._closed = False

    def give(self, numbers: list[int]) -> None:
        """Permit calls, in this order.

        :raises OSError: if the pipe is closed.
        """
        os.write(self._writable, b"".join(map(_NUMBER.pack, numbers)))

    def take_back(self) -> list[int]:
        """Return the calls that have not started; they need a new permit."""
        if self._closed:
            return []
        with contextlib.suppress(BlockingIOError):
            return [number for (number,) in _NUMBER.iter_unpack(os.read(self.readable, _MANY))]
        return []

    def end(self) -> None:
        """Close the writable end: the worker ends when no permit is left. Idempotent."""
        if self._writable >= 0:
            os.close(self._writable)
            self._writable = -1

    def close(self) -> None:
        """Close both ends. Idempotent."""
        self.end()
        if not self._closed:
            self._closed = True
            os.close(self.readable)


class PermitReader:
    """The worker's side."""

    def __init__(self, readable: int) -> None:
        os.set_inheritable(readable, False)
        self._readable = readable

    def fileno(self) -> int:
        """Return the file descriptor, for ``select``."""
        return self._readable

    def take(self) -> int | None:
        """Return the number of the next call that may start, 0 if there is none; None if the pipe was closed."""
        try:
            permit = os.read(self._readable, _NUMBER.size)
        except BlockingIOError:
            return 0
        return _NUMBER.unpack(permit)[0] if permit else None
