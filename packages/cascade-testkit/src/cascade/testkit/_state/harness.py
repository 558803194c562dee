"""The methods that the author of a state backend fills in, and what every section of the suite builds on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from cascade.interfaces import Journal, Resume, RunInfo, StateBackend, StepRecord

RUN = "night 2026-11-21/é"


class Harness:
    """Subclass hooks. ``make`` and ``lose`` must be given."""

    pytestmark = pytest.mark.asyncio

    timeout: ClassVar[float] = 10.0
    """Seconds after which what has not happened is a failure."""

    async def make(self) -> StateBackend:
        """Return a new backend on this test's store; each further one is as in another process."""
        raise NotImplementedError

    async def lose(self, backend: StateBackend) -> None:
        """Do what the death of the backend's process would: what was committed stays, and nothing else."""
        raise NotImplementedError

    @pytest_asyncio.fixture(autouse=True)
    async def _close_all(self) -> AsyncIterator[None]:
        yield
        # pytest keeps this object to its end
        for backend in self.__dict__.pop("_backends", []):
            await backend.close()

    async def backend(self) -> StateBackend:
        """Return a backend that is closed after the test."""
        backend = await self.make()
        self.__dict__.setdefault("_backends", []).append(backend)
        return backend

    async def begin(
        self,
        backend: StateBackend | None = None,
        *,
        run_id: str = RUN,
        params: Mapping[str, Any] | None = None,
        resume: Resume = Resume.AUTO,
        **more: Any,
    ) -> Journal:
        """Begin a run, or continue it."""
        run = RunInfo(run_id, more.pop("target", "report"), params, **more)
        journal: Journal = await self.within((backend or await self.backend()).open(run, resume=resume))
        return journal

    async def again(self, journal: Journal, **options: Any) -> Journal:
        """Close a journal without an end, and begin the next attempt in another process."""
        await self.within(journal.close())
        return await self.begin(**options)

    async def within(self, action: Any) -> Any:
        """Await an action that must not hang."""
        async with asyncio.timeout(self.timeout):
            return await action


def start(journal: Journal, key: str, *, code: bytes = b"code") -> None:
    """Record a start of the step's task, whose name the key begins with."""
    journal.started(key, name=key.partition(":")[0], inputs=b"inputs", code=code)


async def complete(journal: Journal, key: str, value: Any = None) -> None:
    """Record a start and a value."""
    start(journal, key)
    assert await journal.completed(key, value), "the value is kept"


def known(journal: Journal, key: str) -> StepRecord:
    """Return what is known of a step that must be known."""
    record = journal.known(key)
    assert record is not None, f"{key} is known"
    return record
