"""The workflows that engines offer to start, as rows of a table. No I/O."""

from __future__ import annotations

from typing import Any

from cascade.wire import View, to_wire
from cascade.wire.requests import OfferedWorkflow


def offer_rows(view: View, now: float) -> list[dict[str, Any]]:
    """Return a row for each workflow that an engine offers, by engine; ``now`` is on the reader's clock.

    Of an engine that is not online, it has no next start and no lease: its clock starts nothing, and another one may hold that.
    """
    return [
        _row(source, row, status=engine.status(now), live=engine.is_live(now))
        for source, engine in sorted(view.engines.items())
        for row in (engine.workflows.workflows if engine.workflows is not None else ())
    ]


def _row(source: str, row: OfferedWorkflow, *, status: str, live: bool) -> dict[str, Any]:
    return {
        "source": source,
        **{key: value for key, value in to_wire(row).items() if key != "digest"},
        "last": None if row.last is None else to_wire(row.last),
        "status": status,
        "accepting": row.accepting and live,
        "last_success": row.last_success or None,
        "schedule": None if row.schedule is None else to_wire(row.schedule),
        "next": row.schedule.next if row.schedule is not None and live else None,
        "missed": row.missed or None,
        "lease": to_wire(row.lease) if row.lease is not None and live else None,
    }
