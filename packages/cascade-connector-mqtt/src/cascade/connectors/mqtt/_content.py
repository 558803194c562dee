"""What a message says, fixed at the moment in which it is handed over."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

from cascade.interfaces.wire import encode_payload

_PROTOCOL = 5

Content = str | bytes
"""The JSON text, or a copy of the payload whose JSON is made when it is wanted: that takes four times as long."""


class _PlainData(pickle.Pickler):
    """Takes the built-in types and refuses what only resembles them: an array, a float of numpy's."""

    def reducer_override(self, thing: object) -> Any:
        raise pickle.PicklingError(type(thing))


class Copier:
    """Copies plain data. For one thread: what it writes to is used again and again."""

    __slots__ = ("_dump", "_written")

    def __init__(self) -> None:
        self._renew()

    def copy(self, payload: dict[str, Any]) -> bytes | None:
        """Return a deep copy, or None if something in it is not plain data."""
        written = self._written
        try:
            self._dump(payload)
        except (pickle.PicklingError, ValueError, RuntimeError):  # the last: too deep, or changed by a thread
            self._renew()  # what a failure leaves behind in a pickler is not documented
            return None
        if len(written) == 1:
            return written.pop()
        copy = b"".join(written)  # large parts are written apart
        written.clear()
        return copy

    def _renew(self) -> None:
        self._written: list[bytes] = []
        pickler = _PlainData(SimpleNamespace(write=self._written.append), _PROTOCOL)
        pickler.fast = True  # looks for no object that stands twice
        self._dump = pickler.dump


def text_of(copy: bytes) -> tuple[str, int]:
    """Return the JSON text of a copy, and how many things in it JSON cannot hold."""
    return encode_payload(pickle.loads(copy))
