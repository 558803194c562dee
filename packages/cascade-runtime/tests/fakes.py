"""What stands in the tests for an engine's runs and its clock."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import asdict

from cascade.runtime._admission.request_queues import AdmittedRun, BlockReason, StartRequest
from cascade.runtime._support.clock import SystemClock
from cascade.wire import EndedRun, RecentRun

_BEGAN = 1_799_999_000.0  # so that the wall clock begins at a round number


class FakeClock:
    """A wall clock and a monotonic one, which only a test moves."""

    def __init__(self) -> None:
        self.ticks = 1_000.0
        self.put_forward = 0.0
        """Seconds by which the wall clock was changed."""

    def now(self) -> float:
        return _BEGAN + self.ticks + self.put_forward

    def monotonic(self) -> float:
        return self.ticks


class Racing(SystemClock):
    """A clock for which every step of building takes long, so that the loop turns after each."""

    def __init__(self) -> None:
        self._past = 0.0

    def monotonic(self) -> float:
        self._past += 0.01
        return super().monotonic() + self._past


HOUR = 3600.0


class Run(AdmittedRun):
    """A run as admission knows it, which only records how it is called."""

    def __init__(self, run_id: str = "r1", workflow: str = "") -> None:
        self.run_id = run_id
        self.workflow = workflow
        self.without_request: list[StartRequest] = []
        """Of tasks that run and never needed a request."""
        self.started: list[StartRequest] = []
        self.notified: list[tuple[str, str]] = []
        """The notifications, each with the topic of the register that caused it."""
        self.cancelled: list[Callable[[str], object] | None] = []
        self.reconsidered = 0
        self.on_start: Callable[[StartRequest], None] = lambda request: None

    def running(self) -> list[StartRequest]:
        return self.without_request

    def start(self, request: StartRequest) -> None:
        self.started.append(request)
        self.on_start(request)

    def reject(self, request: StartRequest, reason: BlockReason) -> None:
        self.notified.append((f"rejected {request.name}", reason.topic))

    def report_blocked(self, request: StartRequest, reason: BlockReason) -> None:
        self.notified.append((f"blocked {request.name}", reason.topic))

    def cancel(self, reason: BlockReason, covers: Callable[[str], object] | None) -> None:
        self.cancelled.append(covers)
        self.notified.append(("cancel", reason.topic))

    def reconsider(self) -> None:
        self.reconsidered += 1

    def abort(self, error: Exception) -> None:
        self.notified.append((f"abort {error}", ""))


def recent_run(number: int, status: str = "Succeeded") -> RecentRun:
    """Return the row of a run that has ended, some minutes after 2026 began."""
    return RecentRun(
        run_id=f"r{number}",
        target="add",
        status=status,
        error="",
        started="2026-01-01T00:00:00.000000+00:00",
        ended=f"2026-01-01T00:{number:02}:00.000000+00:00",
        attempt=1,
        duration_ms=number * 60_000.0,
        counts={},
        known=0,
    )


def ended_run(number: int, status: str = "Succeeded") -> EndedRun:
    """Return the same run, whole."""
    return EndedRun(**asdict(recent_run(number, status)), tasks={}, failures=[], interrupted=[])


class Plain:
    """A connector with only the four methods of the protocol; it records what it is asked to do."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.sent: list[tuple[str, Mapping[str, Any], int]] = []

    async def connect(self) -> None:
        self.log.append("connect")

    async def disconnect(self) -> None:
        self.log.append("disconnect")

    async def publish(self, topic: str, payload: Any, qos: int = 0, *, retain: bool = False) -> None:
        await asyncio.sleep(0)
        self.sent.append((topic, payload, qos))

    async def subscribe(self, topic: str, callback: Any, qos: int = 0) -> Any:
        raise AssertionError("an engine subscribes only through watch()")
