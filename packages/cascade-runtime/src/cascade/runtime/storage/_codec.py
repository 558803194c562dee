"""Values as rows and back: JSON where it is faithful, otherwise pickle; every row is signed."""

from __future__ import annotations

import contextlib
import hmac
import json
import pickle
import struct
from typing import Any, NamedTuple

_JSON, _PICKLE = "json", "pickle"
_MAC_SIZE = 32


class Row(NamedTuple):
    """One value as it is stored."""

    key: str
    encoding: str
    payload: bytes
    mac: bytes
    created: float
    """Seconds since the epoch."""
    expires: float | None


class ForeignRowError(Exception):
    """A row that was not written with this key, or was changed since."""


class Codec:
    """Writes and reads rows with one secret key.

    Nothing is unpickled before its signature was found right, which also covers the key, so
    that no row can be passed off as another.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def encode(self, key: str, value: Any, *, created: float, ttl: float | None) -> Row:
        """Return the row of a value as it now is.

        :raises Exception: what pickle raises if the value cannot be pickled.
        """
        encoding, payload = _encoded(value)
        row = Row(key, encoding, payload, b"", created, None if ttl is None else created + ttl)
        return row._replace(mac=self._sign(row))

    def decode(self, row: Row) -> Any:
        """Return the value of a row.

        :raises ForeignRowError: if the signature is wrong.
        :raises Exception: what pickle raises if a class has changed or gone.
        """
        try:
            genuine = hmac.compare_digest(self._sign(row), row.mac)
        except (TypeError, AttributeError, UnicodeError, struct.error):  # columns of other types
            genuine = False
        if not genuine:
            raise ForeignRowError
        return json.loads(row.payload) if row.encoding == _JSON else pickle.loads(row.payload)

    def _sign(self, row: Row) -> bytes:
        mac = hmac.new(self._secret, digestmod="blake2b")
        for part in (row.key.encode(), row.encoding.encode(), struct.pack("<d?d", *_times(row)), row.payload):
            mac.update(len(part).to_bytes(8, "little"))
            mac.update(part)
        return mac.digest()[:_MAC_SIZE]


def _times(row: Row) -> tuple[float, bool, float]:
    return row.created, row.expires is not None, row.expires or 0.0


def _encoded(value: object) -> tuple[str, bytes]:
    if _is_json(value):
        # An int of over 4,300 digits, half of a surrogate pair, too deep: pickle can do all three.
        with contextlib.suppress(ValueError, RecursionError):
            return _JSON, json.dumps(value, ensure_ascii=False).encode()
    return _PICKLE, pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def _is_json(value: object) -> bool:
    """Return whether JSON gives back exactly this: no subclass, no tuple, no other key than str.

    What is large (or endless, because it holds itself) is not looked through: pickle is quicker.
    """
    stack: list[Any] = [value]
    looked_at = 0
    while stack:
        item = stack.pop()
        looked_at += 1
        kind = type(item)
        if kind is list:
            stack.extend(item)
        elif kind is dict and all(type(key) is str for key in item):
            stack.extend(item.values())
        elif kind not in _JSON_TYPES:
            return False
        if looked_at + len(stack) > _JSON_ITEMS:
            return False
    return True


_JSON_TYPES = frozenset({type(None), bool, int, float, str})
_JSON_ITEMS = 10_000
