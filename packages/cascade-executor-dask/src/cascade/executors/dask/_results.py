"""Fetches the results of calls from the cluster that do not come on their own."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from cascade.interfaces.numbered_calls import Answer

SHORT = 1024
"""Bytes of a packed result up to which its worker sends it along, so that no request has to fetch it.

The scheduler and the worker keep the latest 1,000 messages, with what is in them.
"""


class Results:
    """Fetches the results of calls, in one request those that are there when the previous one has ended."""

    def __init__(self) -> None:
        self._wanted: list[tuple[Any, asyncio.Future[Answer | None]]] = []
        self._fetching: asyncio.Task[None] | None = None

    async def fetch(self, future: Any) -> Answer:
        """Return the result of a Dask future that is done.

        :raises Exception: what Dask raises for it.
        """
        fetched: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        self._wanted.append((future, fetched))
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch_all(), name="cascade dask results")
        if (answer := await fetched) is not None:
            return answer
        result: Answer = await future
        return result

    async def _fetch_all(self) -> None:
        while self._wanted:
            wanted, self._wanted = self._wanted, []
            futures = [future for future, _ in wanted]
            answers: list[Answer | None] = [None] * len(wanted)
            with contextlib.suppress(Exception):  # one of them failed: each fetches its own
                answers = await futures[0].client.gather(futures)
            for (_, fetched), answer in zip(wanted, answers, strict=True):
                if not fetched.done():
                    fetched.set_result(answer)
        self._fetching = None
