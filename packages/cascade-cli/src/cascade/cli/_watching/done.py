"""The end of a run that a watcher waits for. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cascade.cli.errors import CANCELLED, FAILED, OK, USAGE
from cascade.interfaces.text import nearest
from cascade.interfaces.wire import LOST
from cascade.wire import RunView, View, run_progress
from cascade.wire.progress import ACTIVE

MIN_PREFIX = 4
"""Characters of a run's id that stand for it, where no other run's id begins with them."""
SURE_SECONDS = 15.0
"""After which a lost engine counts as dead: a link that was cut comes back sooner."""
MAX_NAMED = 5
"""Engines that a message names."""
_DOUBTS = {LOST: "its engine is lost", "Ended": "how it has ended is not known"}
_CODES = {"Succeeded": OK, "Failed": FAILED, "Cancelled": CANCELLED}


@dataclass(frozen=True, slots=True)
class End:
    """The end of a run."""

    code: int
    text: str


class Until:
    """Waits for the end of one run, named by its id, the beginning of it, its name, or the id of the request that started it.

    ``RUN@ENGINE`` names the engine too, which an id that several engines have needs. An end counts once the
    engine's own report confirms it: any client that may publish events can publish this one.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._key: tuple[str, str] | None = None
        """Source and id of the run, once it is found: what another engine says later does not change it."""
        self._doubtful_since: float | None = None

    def end(self, view: View, now: float) -> End | None:
        """Return how the run has ended; None while it has not, or is not known."""
        if self._key is None:
            matches = self._matches(view)
            if len({run.source for run in matches}) > 1:
                return self._ambiguous(matches)
            self._key = (matches[0].source, matches[0].run_id) if matches else None
        found = view.runs.get(self._key) if self._key is not None else None
        if found is None:
            return None
        status = run_progress(view, found, now).status
        is_over = status in _CODES or (status == LOST and found.recent is not None)
        if is_over and not self._is_believed(view, found):
            return self._doubtful(found, status, now)
        if is_over:
            error = f": {found.error}" if found.error else ""
            return End(_CODES.get(status, FAILED), f"run {found.run_id} {status.lower()}{error}")
        if status in ACTIVE:
            self._doubtful_since = None
            return None
        return self._doubtful(found, status, now)

    def note(self, view: View) -> str:
        """Return what a person may not know while no such run has been seen; empty afterwards."""
        if self._key is not None:
            return ""
        near = nearest(self._run, {run.run_id for run in view.runs.values()})
        hint = f"; did you mean {near}?" if near else ""
        return f"no run {self._run} is known: the watch waits for one that begins{hint}"

    def _doubtful(self, run: RunView, status: str, now: float) -> End | None:
        if self._doubtful_since is None:
            self._doubtful_since = now
        if now - self._doubtful_since < SURE_SECONDS:
            return None
        why = _DOUBTS.get(status, "its engine does not report what events say of its end")
        return End(FAILED, f"run {run.run_id} is no longer running: {why}")

    def _is_believed(self, view: View, run: RunView) -> bool:
        """Return whether the engine's report confirms the run, or no report of its runs arrives here."""
        engine = view.engines.get(run.source)
        return run.is_confirmed or engine is None or engine.place is None

    def _matches(self, view: View) -> list[RunView]:
        """Return the run: one for each engine that has it; of several with one name, the latest."""
        run, _, source = self._run.rpartition("@")
        at_engine = [each for each in view.runs.values() if each.source == source]
        return self._named(self._run, view.runs.values()) or (self._named(run, at_engine) if run else [])

    def _named(self, name: str, runs: Iterable[RunView]) -> list[RunView]:
        exact = [run for run in runs if run.run_id == name]
        named = [run for run in runs if run.name == name]
        if exact or named:
            return exact or [max(named, key=lambda run: run.started or 0.0)]
        asked = [run for run in runs if run.run_id.endswith(f"~{name}")]
        near = asked or [run for run in runs if len(name) >= MIN_PREFIX and run.run_id.startswith(name)]
        return near if len({run.run_id for run in near}) == 1 else []

    def _ambiguous(self, runs: list[RunView]) -> End:
        run_id = runs[0].run_id
        named = ", ".join(f"{run_id}@{source}" for source in sorted({run.source for run in runs})[:MAX_NAMED])
        return End(USAGE, f"several engines have a run {run_id}: write {named}")
