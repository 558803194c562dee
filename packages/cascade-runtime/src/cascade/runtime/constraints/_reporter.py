"""Sends the reports of one engine when they are due."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from cascade.interfaces import Clock
from cascade.interfaces.topics import state_topic
from cascade.runtime.constraints._publisher import Publisher
from cascade.runtime.constraints.registers import Registers
from cascade.runtime.constraints.reports import Cadence, RunBook, constraints_report, runs_report
from cascade.runtime.constraints.sync import Sync, SyncState

_log = logging.getLogger("cascade.constraints")

_SAID = {
    SyncState.DEGRADED: "the broker does not answer: the constraints that are known stay in force",
    SyncState.STALE: "the broker has lost its store: the constraints known before stay in force",
}


class Reporter:
    """Notices changes, and says them on the engine's two state topics and in the log.

    :param running: returns how many tasks run in the scope of a constraint.
    :param retain: whether reports stay at the broker.
    """

    def __init__(
        self,
        publisher: Publisher,
        *,
        registers: Registers,
        sync: Sync,
        clock: Clock,
        source: str,
        session: str,
        retain: bool,
        running: Callable[[], int],
    ) -> None:
        self.book = RunBook()
        self._publisher = publisher
        self._registers = registers
        self._sync = sync
        self._clock = clock
        self._names = {"source": source, "session": session}
        self._retain = retain
        self._running = running
        self._constraints = Cadence(soon=0.002, interval=0.2)
        self._runs = Cadence(soon=0.002, interval=0.5)
        self._noted: tuple[int, SyncState, int] | None = None
        self._book_noted = 0
        self._has_reported = False
        self._said: SyncState | None = None
        self._rejecting = False

    def note(self) -> None:
        """Look for what a report would show, and has not."""
        noted = (self._registers.revision, self._sync.state, self._running())
        if noted != self._noted:
            self._noted = noted
            self._constraints.touch(self._clock.monotonic())
        self._say_state()
        self._say_rejections()

    def note_runs(self) -> bool:
        """Look for what has changed in the runs; return whether a report has become due by that."""
        fresh = self.book.revision != self._book_noted and self._runs.touch(self._clock.monotonic())
        self._book_noted = self.book.revision
        self._constraints.repeating = self._runs.repeating = len(self.book) > 0
        return fresh

    def due(self) -> float | None:
        """Return when something is to be sent, on the monotonic clock, or None."""
        if not self._sync.linked_now:
            return None
        times = (self._constraints.due(), self._runs.due())
        return min((at for at in times if at is not None), default=None)

    def send_due(self) -> None:
        """Send what is due; while changes are still being put in force, nothing claims them."""
        now = self._clock.monotonic()
        if not self._sync.linked_now:
            return
        if _is_due(self._constraints, now) and not self._registers.has_changes:
            self._constraints.sent(now)
            self._send("constraints", self._constraints_body())
        if _is_due(self._runs, now):
            self._runs.sent(now)
            self._send("runs", self._runs_body())

    def touch(self) -> None:
        """Let both reports be due: somebody else has used their topics."""
        for cadence in (self._constraints, self._runs):
            cadence.touch(self._clock.monotonic())

    def send_last(self) -> None:
        """Say that nothing is in force any more, because nobody follows the broker.

        Also without a link, if there is something to take back: the connector keeps the latest
        value of these topics until there is one.
        """
        if self._sync.linked_now or self._has_reported:
            self._send("constraints", self._constraints_body())
            self._send("runs", self._runs_body())

    def _constraints_body(self) -> dict[str, Any]:
        return constraints_report(
            self._registers,
            sync=self._sync.state.value,
            in_scope_running=self._running(),
            now=self._clock.now(),
            **self._names,
        )

    def _runs_body(self) -> dict[str, Any]:
        return runs_report(self.book, now=self._clock.now(), **self._names)

    def _send(self, kind: str, body: dict[str, Any]) -> None:
        self._has_reported = True
        self._publisher.send(state_topic(self._names["source"], kind), body, qos=1, retain=self._retain)

    def _say_state(self) -> None:
        """Log once that the sync does not work, or works again; that there is no link others say."""
        state = self._sync.state
        if state in _SAID and state is not self._said and self._sync.linked_now:
            self._said = state
            _log.warning("%s", _SAID[state])
        elif state is SyncState.SYNCED and self._said is not None:
            self._said = None
            _log.info("the constraints are those of the broker again")

    def _say_rejections(self) -> None:
        """Log once that messages are refused, and why the latest one was, until there are none."""
        rejections = self._registers.rejections
        if rejections and not self._rejecting:
            topic, reason = list(rejections.items())[-1]
            _log.warning("a message on %r is not obeyed: %s; the state report lists all such", topic, reason)
        self._rejecting = bool(rejections)


def _is_due(cadence: Cadence, now: float) -> bool:
    due = cadence.due()
    return due is not None and due <= now
