"""Any message of the wire."""

from __future__ import annotations

from cascade.interfaces.wire.read._messages import (
    Cleared,
    EventMessage,
    Presence,
    Register,
    Store,
    parse_event,
    parse_presence,
    parse_register,
)
from cascade.interfaces.wire.read._report import Report, parse_ack, parse_report
from cascade.interfaces.wire.read._state import Ack

Message = EventMessage | Presence | Register | Store | Report | Ack | Cleared


def parse(topic: str, payload: bytes | bytearray) -> Message | None:
    """Return the message on any topic of Cascade, or None for one that is not understood."""
    for read in (parse_event, parse_report, parse_presence, parse_register, parse_ack):
        message = read(topic, payload)
        if message is not None:
            return message
    return None
