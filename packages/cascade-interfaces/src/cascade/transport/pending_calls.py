"""The calls of one client that wait for an answer, until its connection ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from cascade.transport.faults import LinkLost


class PendingCalls:
    """The part of a ``LinkClient`` that knows what waits for an answer, and why the connection has ended.

    For a client that reads the answers itself; the others have a client library that does this.
    """

    def __init__(self) -> None:
        self.cause: BaseException | None = None
        """Why the connection has ended; None while it is up."""
        self._waiting: dict[Any, tuple[Any, asyncio.Future[Any]]] = {}
        self._on_lost: Callable[[BaseException | None], None] | None = None

    def on_lost(self, callback: Callable[[BaseException | None], None]) -> None:
        """Call ``callback`` with the cause when the connection ends, or now if it has ended already."""
        self._on_lost = callback
        if self.cause is not None:
            callback(self.cause)

    def ignore_answers(self) -> None:
        """Do nothing: a call that is cancelled leaves by itself."""

    def lost(self, cause: BaseException) -> None:
        """Note that the connection has ended; every call that waits raises ``LinkLost``. Idempotent."""
        if self.cause is None:
            self.cause = cause
            self.fail(LinkLost(cause))
            if self._on_lost is not None:
                self._on_lost(cause)

    def check_up(self) -> None:
        """Check that the connection is up.

        :raises LinkLost: if it has ended.
        """
        if self.cause is not None:
            raise LinkLost(self.cause)

    @contextlib.contextmanager
    def expecting(self, key: object, about: object = None) -> Iterator[asyncio.Future[Any]]:
        """Yield the future that gets the answer for ``key``.

        :param about: what the call is about; ``fail`` can end all such calls.
        :raises LinkLost: if the connection has ended.
        """
        self.check_up()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[key] = about, answer
        try:
            yield answer
        finally:
            del self._waiting[key]

    def answer(self, key: object, value: Any = None) -> None:
        """Pass an answer on to the call that waits for it, if one does."""
        _, future = self._waiting.get(key, (None, None))
        if future is not None and not future.done():
            future.set_result(value)

    def fail(self, exc: Exception, *, about: object = None) -> None:
        """End the calls that wait: all, or those about one thing."""
        for asked, future in self._waiting.values():
            if about in (None, asked) and not future.done():
                future.set_exception(exc)
                # a call that was cancelled does not retrieve it
                future.exception()
