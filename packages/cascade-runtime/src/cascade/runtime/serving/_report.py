"""The report of what a service offers (``PROTOCOL.md``, section 6). No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from cascade.interfaces.redaction import Redactor
from cascade.interfaces.wire import VERSION, timestamp
from cascade.runtime.serving._intake import Offer
from cascade.wire.message import encoded_size, to_wire
from cascade.wire.requests import LastRun, OfferedLease, OfferedSchedule, OfferedWorkflow, WorkflowsReport

MAX_BYTES = 64 * 1024
"""Of a report: what does not fit is counted under ``more``."""
_HEAD = 512


def workflows_report(
    offers: Iterable[Offer],
    *,
    source: str,
    session: str,
    presence: str,
    accepting: bool,
    redactor: Redactor,
    now: float,
    problem: str = "",
    schedule_of: Callable[[str], OfferedSchedule | None] = lambda workflow: None,
    lease_of: Callable[[str], OfferedLease | None] = lambda workflow: None,
) -> dict[str, Any]:
    """Return the body of ``cascade/state/{source}/workflows``."""
    rows, room, more = list[OfferedWorkflow](), MAX_BYTES - _HEAD, 0
    for offer in offers:
        schedule, lease = schedule_of(offer.name), lease_of(offer.name)
        row = _row(offer, schedule, lease, accepting=accepting, redactor=redactor)
        room -= encoded_size(row)
        if room < 0:
            more += 1
        else:
            rows.append(row)
    return to_wire(
        WorkflowsReport(
            v=VERSION,
            source=source,
            session=session,
            presence=presence,
            workflows=rows,
            more=more,
            problem=problem,
            ts=timestamp(now),
        )
    )


def _row(
    offer: Offer,
    schedule: OfferedSchedule | None,
    lease: OfferedLease | None,
    *,
    accepting: bool,
    redactor: Redactor,
) -> OfferedWorkflow:
    last = None
    if offer.last is not None and (outcome := offer.last.outcome) is not None:
        last = LastRun(run_id=offer.last.run_id, status=outcome.status, ended=timestamp(outcome.ended))
    return OfferedWorkflow(
        name=offer.name,
        doc=redactor.one_line(offer.startable.summary),
        params=offer.startable.schema(redactor),
        overlap=offer.overlap,
        accepting=accepting,
        digest=offer.digest,
        last=last,
        last_success="" if offer.last_success is None else timestamp(offer.last_success),
        schedule=schedule,
        missed="" if schedule is None else offer.missed,
        lease=lease,
    )
