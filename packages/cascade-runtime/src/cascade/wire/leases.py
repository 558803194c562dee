"""The messages of a lease on ``cascade/leases/{name}`` (``PROTOCOL.md``, section 6)."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, ValidationError, convert, field

from cascade.wire.message import Message, Whole
from cascade.wire.reading import json_object

MAX_TTL = 86_400.0
"""Seconds."""
MAX_TICKS = 100
"""Workflows of which a renewal says which tick began last."""

Term = Annotated[int, Meta(ge=1, le=(1 << 53) - 1)]
TickTime = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ(?!\n)$")]


class LeaseMessage(Message, frozen=True, kw_only=True):
    """A claim of a lease, never retained, or a renewal by its holder, retained."""

    v: str
    claim: bool = False
    term: Term
    """Counts the holders; a claim has the highest one that its sender has seen, plus 1."""
    session: Annotated[str, Meta(min_length=1)]
    """Random for each process."""
    source: str
    n: Whole
    """Counts the renewals of a term from 1; 0 for a claim."""
    ttl: Annotated[float, Meta(gt=0.0, le=MAX_TTL)]
    """Seconds for which others listen before they claim."""
    tick: Annotated[dict[str, TickTime], Meta(max_length=MAX_TICKS)] = field(default_factory=dict)
    """By workflow: the time of the last tick that began, with whichever holder."""
    since: str = ""
    """When the term began, as the holder's clock says."""


def parse_lease(payload: bytes | bytearray) -> LeaseMessage | None:
    """Return the message of a lease in a payload; None if it is not one."""
    data = json_object(payload)
    try:
        found = convert(data, LeaseMessage)
    except (ValidationError, RecursionError):
        return None
    return found if found.claim is (found.n == 0) else None
