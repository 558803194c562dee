"""The session of an executor, and the workers at which it is open: only these get calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cascade.executors.dask._worker_side import open_session


class Sessions:
    """One session, opened at each worker on its own: a worker that does not answer delays no other.

    All methods run on one event loop.

    :param opened: called when a worker has answered.
    """

    def __init__(self, name: str, *, opened: Callable[[], object]) -> None:
        self.name = name
        self._opened = opened
        self._opening: dict[str, asyncio.Task[None]] = {}
        # by address; None: the session is open there
        self._answers: dict[str, Exception | None] = {}

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
        failed = ((where, answer) for where, answer in self._answers.items() if answer is not None)
        return next(failed, None)

    async def close(self) -> None:
        """Open it at no further worker."""
        opening, self._opening = [*self._opening.values()], {}
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)

    def _is_open(self, address: str) -> bool:
        return address in self._answers and self._answers[address] is None

    async def _open(self, client: Any, address: str) -> None:
        try:
            answers = await client.run(open_session, self.name, workers=[address], on_error="return")
            self._answers[address] = answers[address]
        except Exception as exc:
            self._answers[address] = exc
        finally:
            if self._opening.get(address) is asyncio.current_task():
                del self._opening[address]
        self._opened()
