"""Run the admission policy on the event loop: one step after each change, and one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from cascade.interfaces import Clock, Executor, Timer
from cascade.interfaces.logs import get_logger
from cascade.runtime._admission.policy import AdmissionPolicy
from cascade.runtime._admission.request_queues import AdmittedRun, StartRequest, WorkerSlots
from cascade.runtime._admission.rules import Effective, Key
from cascade.runtime._support.clock import call_later_on
from cascade.runtime._support.loop_steps import BatchSize
from cascade.runtime._support.text import printable

if TYPE_CHECKING:
    from cascade.runtime._admission.wait_reasons import StallDetector

_log = get_logger("cascade.constraints")

# seconds; event loops refuse delays that are much longer
_LONGEST_DELAY = 86_400.0


class AdmissionController:
    """Admits the tasks of all runs of one engine, and applies constraints to them.

    Call every method on the event loop of the attached runs. A run's functions are called in a
    separate iteration of the loop, never from inside a call that the run makes here; only
    ``apply`` and ``clear`` call ``reconsider`` at once.
    """

    def __init__(self, policy: AdmissionPolicy, *, clock: Clock) -> None:
        self.policy = policy
        self.on_step: Callable[[], None] | None = None
        """Called after each step in which a constraint is in force, and between runs when an abandoned call has ended."""
        self.source = ""
        """The name of the engine in log lines, once it follows a broker."""
        self.broker: tuple[str, int] | None = None
        """Host and port of the broker that the constraints come from, if they are known."""
        self._clock = clock
        self._call_later = call_later_on(clock)
        self._runs: set[AdmittedRun] = set()
        # by the executor's id()
        self._slots: WeakValueDictionary[int, WorkerSlots] = WeakValueDictionary()
        # their calls could not be stopped
        self._abandoned: dict[StartRequest, asyncio.Future[Any]] = {}
        self._pace = BatchSize()
        # when the last step began, if it left work for the next iteration, else 0
        self._full_since = 0.0
        # made when the first request waits
        self._stall: StallDetector | None = None
        self._next_step: asyncio.Handle | None = None
        self._timer: Timer | None = None

    @property
    def idle(self) -> bool:
        """Whether a task without demands may start without a request."""
        return self.policy.idle

    def attach(self, run: AdmittedRun) -> None:
        """Begin to serve a run."""
        for request, done in list(self._abandoned.items()):
            # its done callback will never be called
            if done.get_loop().is_closed():
                self._release_abandoned(request)
        self._runs.add(run)
        self.policy.attach(run)
        self.wake()

    def detach(self, run: AdmittedRun) -> None:
        """Stop serving a run; after the last one nothing is left on the loop. Idempotent."""
        self.policy.detach(run)
        self._runs.discard(run)
        if self._runs:
            self.wake()
        else:
            self._stop_waiting()

    def slots_of(self, executor: Executor) -> WorkerSlots:
        """Return the worker slots of an executor: the same for all runs, whatever mode they use it for."""
        slots = self._slots.get(id(executor))
        if slots is None:
            slots = self._slots[id(executor)] = WorkerSlots(executor.workers, executor=executor)
        slots.resize(executor.workers)
        return slots

    def submit(self, request: StartRequest) -> None:
        """Add a request; its run is notified from the next step on."""
        self.policy.submit(request)
        self.wake()

    def release(self, request: StartRequest) -> None:
        """Give back what a request holds. Idempotent."""
        self.policy.release(request)
        if not self.idle:
            self.wake()

    def release_when_done(self, done: asyncio.Future[Any], request: StartRequest) -> None:
        """Count a request until its abandoned call has finished, even if its run is over by then."""
        self.policy.count(request)
        self._abandoned[request] = done
        done.add_done_callback(lambda _: self._release_abandoned(request))

    def abandoned(self, run: AdmittedRun) -> list[StartRequest]:
        """Return the requests of a run whose abandoned calls have not finished."""
        return [request for request in self._abandoned if request.run is run]

    def hold_of(self, run_id: str, name: str) -> str:
        """Return what holds tasks of a name, or with an empty name a whole run, in words for one line of a terminal."""
        reason = self.policy.gates.hold_of(run_id, name)
        if reason is None:
            return ""
        # only a run that is held needs it
        from cascade.runtime._admission.wait_reasons import on_one_line

        return on_one_line(reason)

    def withdraw(self, request: StartRequest) -> None:
        """Remove a request that waits. Idempotent."""
        self.policy.withdraw(request)
        self.wake()

    def withdraw_all(self, run: AdmittedRun) -> None:
        """Remove every waiting request of a run."""
        self.policy.withdraw_all(run)
        self.wake()

    def apply(self, changes: Mapping[Key, Effective | None]) -> None:
        """Put changed constraints in force; tasks at a checkpoint are checked again at once."""
        self.policy.apply(changes, self._clock.monotonic())
        self._reconsider()

    def gates_turned(self, keys: Iterable[Key]) -> None:
        """Note that gates have closed or opened; tasks at a checkpoint are checked again at once."""
        self.policy.signal_gates(keys)
        self._reconsider()

    def clear(self) -> None:
        """Remove every constraint; tasks at a checkpoint are checked again at once."""
        self.policy.clear()
        self._reconsider()

    def wake(self) -> None:
        """Run a step in the next iteration of the loop, while any run is attached."""
        if self._next_step is None and self._runs:
            self._next_step = asyncio.get_running_loop().call_soon(self._step)

    def _step(self) -> None:
        """Admit a batch of requests, notify the runs, and set the timer for what time alone changes."""
        self._next_step = None
        try:
            now = self._clock.monotonic()
            for request in self.policy.admit(now, self._pace.batch):
                request.run.start(request)
            self._notify_runs()
            self._log_stall(now)
            self._learn_from(now)
            self._set_timer(now)
            if self.policy.constrained and self.on_step is not None:
                self.on_step()
        except Exception as exc:
            # no caller would see it, and the runs would wait for ever
            for run in self.policy.runs():
                run.abort(exc)

    def _learn_from(self, now: float) -> None:
        """Adjust the batch to how long the loop's whole iteration takes, with all that other engines do in it."""
        if self._full_since:
            self._pace.learn(now - self._full_since)
        self._full_since = 0.0
        if self.policy.unfinished or self.policy.notifications.blocked:
            self._full_since = now
            self.wake()

    def _notify_runs(self) -> None:
        """Notify the runs of cancels, rejected requests and blocked requests.

        The path of "a waiting task was cancelled" is four functions long: the step, this one,
        ``RunAdmission._reject``, and ``RunOutcome.fail``, which records it.
        """
        notifications = self.policy.notifications
        for run, reason, covers in notifications.take_cancellations():
            # first: a rejected task must not look like why its run was cancelled
            run.cancel(reason, covers)
        for request, reason in notifications.take_rejected():
            request.run.reject(request, reason)
        for request, reason in notifications.take_blocked(self._pace.batch):
            request.run.report_blocked(request, reason)

    def _reconsider(self) -> None:
        for run in self.policy.runs():
            run.reconsider()
        self.wake()

    def _release_abandoned(self, request: StartRequest) -> None:
        self._abandoned.pop(request, None)
        self.release(request)
        # between runs there is no step
        if not self._runs and self.on_step is not None:
            self.on_step()

    def _log_stall(self, now: float) -> None:
        if self._stall is None and not self.policy.waiting:
            return
        # only a run whose tasks wait needs it
        from cascade.runtime._admission.wait_reasons import STALL_LIMIT, StallDetector, how_to_lift

        stall = self._stall = self._stall or StallDetector(self.policy)
        for topic in stall.take_ended():
            _log.info(
                "%s%s was lifted or changed, or has opened, and no longer prevents every start",
                self._prefix,
                printable(topic) or "a gate of the program",
            )
        if (reason := stall.detect(now)) is not None:
            _log.warning(
                "%snothing has started for %g s, because %s; to lift it, %s",
                self._prefix,
                STALL_LIMIT,
                reason.reason,
                how_to_lift(reason.topic, reason.type, self.broker),
            )

    @property
    def _prefix(self) -> str:
        return f"{self.source}: " if self.source else ""

    def _set_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        stalled_at = self._stall.due() if self._stall is not None else None
        times = [at for at in (self.policy.next_wake(now), stalled_at) if at is not None]
        self._timer = None
        if times:
            delay = min(max(0.0, min(times) - now), _LONGEST_DELAY)
            self._timer = self._call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.wake()

    def _stop_waiting(self) -> None:
        for handle in (self._next_step, self._timer):
            if handle is not None:
                handle.cancel()
        self._next_step = self._timer = None
        self._stall = None  # the next run's 5 s without a start begin anew
