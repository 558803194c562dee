"""The executor: runs the calls of synchronous tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Executor(Protocol):
    """Runs the calls of synchronous tasks outside the event loop."""

    @property
    def workers(self) -> int:
        """Number of calls that run at the same time; an engine submits no more than that, over all its runs."""
        ...

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what ``function(*args, **kwargs)`` returns, or raise what it raises.

        When the awaiting task is cancelled, the call is abandoned: its outcome is ignored, a
        call that has not started never starts, and a running one is stopped where that is possible.
        """
        ...

    async def settle(self, timeout: float) -> int:
        """Wait up to ``timeout`` seconds for abandoned calls to end; return how many still run."""
        ...

    async def close(self) -> None:
        """Free the executor's threads, processes and connections without waiting for running calls. Idempotent.

        A running call is stopped where that is possible; otherwise it runs to its end. Used
        again afterwards, the executor works, or refuses with a ``CascadeError``.
        """
        ...
