"""The workflows that engines offer to start, as rows of a table. No I/O."""

from __future__ import annotations

from typing import Any

from cascade.wire import View, to_wire


def offer_rows(view: View, now: float) -> list[dict[str, Any]]:
    """Return a row for each workflow that an engine offers, by engine; ``now`` is on the reader's clock."""
    return [
        {
            "source": source,
            **{key: value for key, value in to_wire(row).items() if key != "digest"},
            "last": None if row.last is None else to_wire(row.last),
            "accepting": row.accepting and engine.is_live(now),
            "last_success": row.last_success or None,
            "schedule": None if row.schedule is None else to_wire(row.schedule),
            "next": None if row.schedule is None else row.schedule.next,
            "missed": row.missed or None,
            "lease": None if row.lease is None else to_wire(row.lease),
        }
        for source, engine in sorted(view.engines.items())
        for row in (engine.workflows.workflows if engine.workflows is not None else ())
    ]
