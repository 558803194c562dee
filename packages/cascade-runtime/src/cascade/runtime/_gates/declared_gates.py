"""The gates that a program declares for the runs of one engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context

from cascade.interfaces import Clock, ConfigurationError, SupportsWatch
from cascade.interfaces.gates import MAX_TOPICS, Gate
from cascade.runtime._admission.controller import AdmissionController
from cascade.runtime._admission.rules import ENGINE, Effective, GateRule, Key
from cascade.runtime._gates.plant_gates import PlantGates
from cascade.runtime._support.loops import cancel

_STOP_LIMIT = 1.0


class DeclaredGates:
    """Holds the runs of an engine while a gate is closed, also when no broker steers them.

    The gates are followed from the first of several runs to the last one.

    :param watcher: reads their topics; None if the engine has no connector that can.
    """

    def __init__(
        self,
        gates: Sequence[Gate],
        controller: AdmissionController,
        watcher: SupportsWatch | None,
        *,
        clock: Clock,
    ) -> None:
        self._constraints = {(ENGINE, gate.type): Effective(GateRule(gate), "") for gate in gates}
        self._controller = controller
        self._watcher = watcher
        self._clock = clock
        self._runs: set[str] = set()
        self._plant: PlantGates | None = None

    def begin(self, run_id: str) -> None:
        """Hold a run from now on, until its gates have opened."""
        self._runs.add(run_id)
        if self._plant is None:
            self._plant = PlantGates(
                self._watcher, clock=self._clock, changed=self._changed, context=Context()
            )
            self._plant.start(asyncio.get_running_loop())
            self._controller.apply(self._plant.follow(self._constraints))

    async def end(self, run_id: str) -> None:
        """Hold a run no longer. Idempotent."""
        self._runs.discard(run_id)
        if self._runs or self._plant is None:
            return
        plant, self._plant = self._plant, None
        self._controller.apply(dict.fromkeys(self._constraints))
        plant.end()
        await cancel(plant.take_readers(), timeout=_STOP_LIMIT)

    def _changed(self, turned: list[Key]) -> None:
        if turned:
            self._controller.gates_turned(turned)


def checked_gates(gates: object, *, can_read: bool) -> tuple[Gate, ...]:
    """Return the gates that an engine is given.

    :param can_read: whether the engine has a connector that can read topics.
    :raises ConfigurationError: if they cannot work, with the right form.
    """
    setting = "Engine(gates=)"
    if isinstance(gates, str | Gate) or not isinstance(gates, Sequence):
        raise ConfigurationError(
            setting, "takes a list; write gates=[cs.gate('power', topic=..., above=...)]"
        )
    if wrong := [each for each in gates if not isinstance(each, Gate)]:
        raise ConfigurationError(setting, "takes what cs.gate(...) returns", value=wrong[0])
    names = [gate.name for gate in gates]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise ConfigurationError(setting, f"has two gates called {twice!r}; give each a name of its own")
    if len({gate.topic for gate in gates}) > MAX_TOPICS:
        raise ConfigurationError(setting, f"has gates on more than {MAX_TOPICS} topics")
    reading = next((gate for gate in gates if gate.topic), None)
    if reading is not None and not can_read:
        raise ConfigurationError(
            setting,
            f"the gate {reading.name!r} reads the topic {reading.topic!r}, which needs a connector with watch(), "
            "such as connector='mqtt://broker'",
        )
    return tuple(gates)
