"""Capture a payload at the call of ``publish`` whose message is put into the outbox later."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from cascade.interfaces.wire.write import encode_payload

_PROTOCOL = 5


class EncodedPayload(NamedTuple):
    """JSON text, and how many of its values JSON does not have."""

    text: str
    replaced: int


class Capture:
    """Copies payloads. For one thread: its pickler writes to the same list each time."""

    __slots__ = ("_dump", "_written")

    def __init__(self) -> None:
        self._renew()

    def __call__(self, payload: Mapping[str, Any] | None) -> bytes | EncodedPayload | None:
        """Return what ``encoded`` accepts later, with the values of this moment.

        A dict of plain data is pickled, which takes a third of the time of encoding it, and gives Python's
        garbage collector no containers to walk. A mapping that has anything else in it is encoded now.
        None is returned unchanged.
        """
        if type(payload) is not dict:
            return None if payload is None else encoded(payload)
        try:
            self._dump(payload)
        except Exception:  # what a failure leaves in a pickler is not documented
            self._renew()
            return encoded(payload)
        written = self._written
        copy = bytes(written[0]) if len(written) == 1 else b"".join(written)
        written.clear()
        return copy

    def _renew(self) -> None:
        self._written: list[bytes] = []
        pickler = _PlainData(SimpleNamespace(write=self._written.append), _PROTOCOL)
        pickler.fast = True  # it looks for no object that occurs twice
        self._dump = pickler.dump


def encoded(payload: Mapping[str, Any] | bytes | EncodedPayload | None) -> EncodedPayload:
    """Return a payload as JSON text, unless it was encoded when it was captured.

    :param payload: bytes only if a ``Capture`` has made them: they are unpickled.
    """
    if type(payload) is EncodedPayload:
        return payload
    if type(payload) is bytes:
        payload = pickle.loads(payload)
    return EncodedPayload(*encode_payload(payload))  # type: ignore[arg-type]


def size(captured: bytes | EncodedPayload | None) -> int:
    """Return how many bytes or characters a captured payload has."""
    if captured is None:
        return 0
    return len(captured.text) if type(captured) is EncodedPayload else len(captured)


class _PlainData(pickle.Pickler):
    """Takes the built-in types, and nothing whose copy could change with it."""

    def reducer_override(self, value: object) -> Any:
        raise pickle.PicklingError(type(value))
