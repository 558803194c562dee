"""The notifications that the runs have not yet received. No I/O."""

from __future__ import annotations

from collections.abc import Iterable

from cascade.runtime._admission.requests import AdmittedRun, BlockReason, Covers, RequestQueue, StartRequest

Cancellation = tuple[AdmittedRun, BlockReason, Covers | None]
"""Which tasks of a run to cancel; without ``Covers``, the run itself."""


class Notifications:
    """Pending notifications: requests that began to wait, rejected requests, and cancels."""

    def __init__(self) -> None:
        self._unnotified: dict[RequestQueue, None] = {}
        self._rejected: list[tuple[StartRequest, BlockReason]] = []
        self._cancellations: list[Cancellation] = []

    @property
    def blocked(self) -> bool:
        """Whether there may be requests that wait and were not yet reported as blocked."""
        return bool(self._unnotified)

    def block(self, queue: RequestQueue) -> None:
        """Add the requests of a queue that waits."""
        self._unnotified[queue] = None

    def reject(self, request: StartRequest, reason: BlockReason) -> None:
        """Add a request that was rejected."""
        self._rejected.append((request, reason))

    def cancel(self, runs: Iterable[AdmittedRun], reason: BlockReason, covers: Covers | None) -> None:
        """Add the cancel of runs, or of their tasks that ``covers`` selects."""
        self._cancellations += [(run, reason, covers) for run in runs]

    def forget(self, run: AdmittedRun) -> None:
        """Remove the cancels of a run that has ended."""
        self._cancellations = [item for item in self._cancellations if item[0] is not run]

    def take_blocked(self, most: int) -> list[tuple[StartRequest, BlockReason]]:
        """Remove and return up to ``most`` requests that began to wait, each once for each wait."""
        found: list[tuple[StartRequest, BlockReason]] = []
        for queue in tuple(self._unnotified):
            reason = queue.wait_queue.block_reason() if queue.wait_queue is not None else None
            if reason is not None:
                found += [(request, reason) for request in queue.take_unnotified(most - len(found))]
            if reason is None or queue.notified == len(queue.requests):
                del self._unnotified[queue]
            if len(found) >= most:
                break
        return found

    def take_rejected(self) -> list[tuple[StartRequest, BlockReason]]:
        """Remove and return the requests that a cancel has rejected; they hold nothing."""
        found, self._rejected = self._rejected, []
        return found

    def take_cancellations(self) -> list[Cancellation]:
        """Remove and return the cancels of runs and of their tasks."""
        found, self._cancellations = self._cancellations, []
        return found
