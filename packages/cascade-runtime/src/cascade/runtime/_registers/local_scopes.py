"""Which runs and workflows are in this process, and the registers of their scopes. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from cascade.runtime._registers.table import Register

_PLACES = ("run:", "workflow:")  # scopes that cover something only where it is


class LocalScopes:
    """The scopes of runs and workflows: those that are in this process, and the registers of all of them.

    :param own: the scopes that mean the whole engine.
    """

    def __init__(self, own: Collection[str]) -> None:
        self._own = frozenset(own)
        # of active runs, by id; empty for one without
        self._workflow_of: dict[str, str] = {}
        self._offered: set[str] = set()
        self._local: set[str] = set()
        # also of scopes elsewhere; by scope and topic
        self._registers: dict[str, dict[str, Register]] = {}

    def begin_run(self, run_id: str, workflow: str) -> tuple[str, ...]:
        """Note an active run, and return the scopes that it may change."""
        self._workflow_of[run_id] = workflow
        return self.of_run(run_id)

    def end_run(self, run_id: str) -> tuple[str, ...]:
        """Forget a run that has ended, and return the scopes that it may change."""
        scopes = self.of_run(run_id)
        self._workflow_of.pop(run_id, None)
        return scopes

    def offer(self, workflows: Collection[str]) -> Iterable[str]:
        """Note the workflows that are here also without an active run, and return the scopes that it may change."""
        before, self._offered = self._offered, {*workflows}
        return [f"workflow:{name}" for name in sorted(before ^ self._offered)]

    def of_run(self, run_id: str) -> tuple[str, ...]:
        """Return the scopes that name an active run: its own, and that of its workflow."""
        workflow = self._workflow_of.get(run_id, "")
        return (f"run:{run_id}", f"workflow:{workflow}") if workflow else (f"run:{run_id}",)

    def update(self, scope: str) -> Iterable[Register]:
        """Note whether a run or a workflow is here; return the registers of its scope if that has changed."""
        kind, _, value = scope.partition(":")
        runs = self._workflow_of
        is_here = value in (runs if kind == "run" else {*runs.values()} | self._offered)
        if is_here is (scope in self._local):
            return ()
        self._local ^= {scope}
        return self._registers.get(scope, {}).values()

    def is_own(self, scope: str) -> bool:
        """Return whether a scope means the whole engine, or a run or a workflow that is here."""
        return scope in self._own or scope in self._local

    def is_elsewhere(self, scope: str) -> bool:
        """Return whether a scope is another source or project: engines there keep and report its registers."""
        return scope.startswith(("source:", "project:")) and scope not in self._own

    def covers_something(self, scope: str) -> bool:
        """Return whether there is something in this process that a scope can cover."""
        return not scope.startswith(_PLACES) or scope in self._local

    def add(self, scope: str, register: Register) -> None:
        """Keep the register of a run's or a workflow's scope; others are not needed here."""
        if scope.startswith(_PLACES):
            self._registers.setdefault(scope, {})[register.topic] = register

    def remove(self, scope: str, register: Register) -> None:
        """Forget a register. Idempotent."""
        if scope in self._registers:
            self._registers[scope].pop(register.topic, None)
            if not self._registers[scope]:
                del self._registers[scope]

    def clear(self) -> None:
        """Forget all registers; which runs and workflows are here stays known."""
        self._registers.clear()
