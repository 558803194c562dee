"""Facts about the running step, for a task and for middleware around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NamedTuple


class StepInfo(NamedTuple):
    """One attempt of one step of a run."""

    run_id: str
    key: str
    """Path of declarations, such as ``resize:0[17]``: the same in every run of one declaration."""
    name: str
    """The task's name."""
    attempt: int = 1
    """Attempt of the run, counted from 1; a run that is continued has more than one."""
    start: int = 1
    """Attempt of the step, counted from 1; a retry is the next one."""

    @property
    def idempotency_key(self) -> str:
        """32 hex digits of ``run_id`` and ``key``: the same in every attempt of the step.

        Send it to a service that drops requests which it has already carried out.
        """
        from hashlib import blake2b  # OpenSSL takes time to load, and few programs need it

        text = f"{self.run_id}\0{self.key}".encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=16).hexdigest()


step_in_worker: ContextVar[StepInfo | None] = ContextVar("cascade step in a worker", default=None)
"""The step that runs, where its engine is in another process: what calls its function there sets it."""

in_worker: ContextVar[bool] = ContextVar("cascade call in a worker", default=False)
"""Whether a worker of an executor calls the code that asks: then its engine is in another process."""

Middleware = Callable[[StepInfo, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""An async callable ``around(step, call_next)`` that wraps every attempt of every task.

``await call_next()`` makes the call and returns its value. What the middleware returns is the
value of the task; what it raises is the failure of this attempt. It may skip the call.
"""
