"""The gates that engines report."""

from __future__ import annotations

from collections.abc import Iterator

from cascade.interfaces.gates import is_gate
from cascade.wire.parsed import Register
from cascade.wire.reports import EffectiveEntry
from cascade.wire.view import View


def gate_rows(view: View) -> list[tuple[str, EffectiveEntry]]:
    """Return each gate in force with the engine that reports it, by engine; a reader shows the ``text`` of its ``gate``."""
    return sorted(_found(view), key=lambda found: (found[0], found[1].topic))


def with_reported_gates(view: View) -> dict[str, Register]:
    """Return the registers by topic, and those of gates that engines report and the broker does not show.

    Gates have no finite list of topics: on a broker that sends nothing retained for wildcards, only the engines know their names.
    """
    reported = {
        row.topic: Register(
            topic=row.topic,
            scope=row.scope,
            type=row.type,
            id=row.id,
            params=row.params,
            expires_at=row.expires_at,
            by=row.by,
        )
        for _, row in _found(view)
    }
    return {**reported, **view.registers}


def _found(view: View) -> Iterator[tuple[str, EffectiveEntry]]:
    for source, engine in view.engines.items():
        for row in engine.constraints.effective if engine.constraints is not None else ():
            if is_gate(row.type) and row.gate:
                yield source, row
