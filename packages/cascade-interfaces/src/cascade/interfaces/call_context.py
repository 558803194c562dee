"""The context of a call in another process: what the call and its engine report to each other while it runs."""

from __future__ import annotations

import enum
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable

from cascade.interfaces.step import StepInfo


class Directive(enum.Enum):
    """What a running call is to do at its checkpoints."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


class CallContext(Protocol):
    """The engine's side of one call. Executors may call the methods from any thread, also after the call."""

    @property
    def step(self) -> StepInfo:
        """Which step the call is: it travels with the call."""
        ...

    def progress(self, done: float, total: float | None = None, message: str = "", unit: str = "") -> None:
        """Report how far the call is."""
        ...

    def publish(self, name: str, data: Any) -> None:
        """Publish a value of the call; the call has checked it."""
        ...

    def arrived(self, *, paused: bool) -> None:
        """Report that the call waits at a checkpoint since it was paused, or that it goes on."""
        ...

    def follow(self, notify: Callable[[Directive], None]) -> Callable[[], None]:
        """Call ``notify`` with the directive in force, at once if that is not RUN, and whenever it changes.

        This and ``notify`` are called on the event loop. Return how to stop it.
        """
        ...


@runtime_checkable
class SupportsCallContext(Protocol):
    """Ability of an executor: its calls, in other processes, report progress and obey pause and cancel.

    A worker offers its end as :data:`in_call`. An executor in whose workers the engine's own
    context variables are visible, such as one over threads, does not need this.
    """

    async def run_with(
        self,
        context: CallContext,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Do what ``run`` does, with a context.

        A directive reaches the call as long as its worker can be reached; a call that runs again
        elsewhere gets the one in force. After ``arrived(paused=True)`` the call does nothing until
        its directive is RUN.
        """
        ...


class InCall(Protocol):
    """The worker's side of one call; the code of a task uses it through ``cs.checkpoint`` and ``cs.publish``."""

    def checkpoint(self, progress: tuple[float, float | None, str, str] | None) -> None:
        """Report progress if there is any, at most every half second; wait while the call is paused.

        :raises asyncio.CancelledError: if the call is to stop.
        """
        ...

    def publish(self, name: str, data: Any) -> None:
        """Send a value to the engine."""
        ...


in_call: ContextVar[InCall | None] = ContextVar("cascade call", default=None)
"""The worker's side of the call that runs; what runs the call in a worker sets it."""
