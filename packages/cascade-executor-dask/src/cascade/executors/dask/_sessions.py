"""At which workers the session of an executor is open: only these get calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cascade.executors.dask._line import connect_to
from cascade.executors.dask._placement import WINDOW
from cascade.executors.dask._results import SHORT
from cascade.interfaces.logs import get_logger
from cascade.interfaces.numbered_calls import UNDERSTANDS_CONFIRMATIONS, UNDERSTANDS_ORDERS, open_session

_log = get_logger("cascade.executor")


class Sessions:
    """One session, opened at each worker on its own: a worker that does not answer delays no other.

    All methods run on one event loop.

    :param opened: called when a worker has answered.
    """

    def __init__(self, name: str, *, opened: Callable[[], object]) -> None:
        self.name = name
        self._opened = opened
        self._opening: dict[str, asyncio.Task[None]] = {}
        self._answers: dict[str, object] = {}  # by address: what open_session returned, or an error

    def open_at(self, client: Any, addresses: Iterable[str]) -> None:
        """Begin to open the session at workers where it is not open; forget other workers."""
        for address in addresses:
            if address not in self._opening and not self._is_open(address):
                task = asyncio.create_task(self._open(client, address), name="cascade dask session")
                self._opening[address] = task
        for address in {*self._opening, *self._answers}.difference(addresses):
            self.forget(address)

    def forget(self, address: str) -> None:
        """Forget a worker that is lost; one at its address is a new one."""
        self._answers.pop(address, None)
        if (opening := self._opening.pop(address, None)) is not None:
            opening.cancel()

    async def wait(self, timeout: float) -> None:
        """Wait until each worker has answered, at most ``timeout`` seconds."""
        if self._opening:
            await asyncio.wait([*self._opening.values()], timeout=timeout)

    def among(self, threads: Mapping[str, int]) -> dict[str, int]:
        """Return the workers among these at which the session is open."""
        return {address: count for address, count in threads.items() if self._is_open(address)}

    def problem(self) -> tuple[str, Exception] | None:
        """Return the address of a worker that cannot open it, and why."""
        failed = ((where, answer) for where, answer in self._answers.items() if isinstance(answer, Exception))
        return next(failed, None)

    def understands_orders(self, address: str) -> bool:
        """Return whether the calls of a worker may get orders; one of an older version ignores them."""
        return self._understands(address, UNDERSTANDS_ORDERS)

    def understands_confirmations(self, address: str) -> bool:
        """Return whether the calls of a worker wait until their values are confirmed."""
        return self._understands(address, UNDERSTANDS_CONFIRMATIONS)

    def _understands(self, address: str, what: int) -> bool:
        answer = self._answers.get(address)
        return isinstance(answer, int) and answer >= what

    async def close(self) -> None:
        """Open it at no further worker."""
        opening, self._opening = [*self._opening.values()], {}
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)

    def _is_open(self, address: str) -> bool:
        return address in self._answers and not isinstance(self._answers[address], Exception)

    async def _open(self, client: Any, address: str) -> None:
        try:
            line = connect_to(self.name)
            for settings in ((line, WINDOW, SHORT), (line, WINDOW), (line,)):
                answer = await self._open_with(client, address, *settings)
                if not isinstance(answer, TypeError):  # an older version knows fewer settings
                    break
            self._answers[address] = answer
        except Exception as exc:
            self._answers[address] = exc
        finally:
            if self._opening.get(address) is asyncio.current_task():
                del self._opening[address]
        self._opened()

    async def _open_with(self, client: Any, address: str, *settings: object) -> object:
        answers = await client.run(open_session, self.name, *settings, workers=[address], on_error="return")
        return answers[address]


class OldWorkers:
    """Warns once of each worker whose calls ignore orders."""

    def __init__(self) -> None:
        self._warned: set[str] = set()

    def warn(self, address: str) -> None:
        """Log that pause and cancel do not reach the calls that run at a worker."""
        if address not in self._warned:
            self._warned.add(address)
            _log.warning("worker %s understands no directives; pause holds only starts there", address)
