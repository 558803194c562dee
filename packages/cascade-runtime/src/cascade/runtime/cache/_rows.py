"""The rows of a cache, signed. No I/O."""

from __future__ import annotations

import hmac
import struct
from typing import Any, NamedTuple

from cascade.runtime._storage.codec import Signer, decode, encode


class Row(NamedTuple):
    """One value as it is stored."""

    key: str
    encoding: str
    payload: bytes
    mac: bytes
    created: float
    """Seconds since the epoch."""
    expires: float | None


class BadSignatureError(Exception):
    """A row that was not signed with this key, or was changed since."""


class RowCodec:
    """Encodes and decodes rows, signed with one secret key."""

    def __init__(self, signing_key: bytes) -> None:
        self._signer = Signer(signing_key)

    def encode(self, key: str, value: Any, *, created: float, ttl: float | None) -> Row:
        """Return the row for a value's present state; ``created`` in seconds since the epoch.

        :raises Exception: what pickle raises if the value cannot be pickled.
        """
        encoding, payload = encode(value)
        row = Row(key, encoding, payload, b"", created, None if ttl is None else created + ttl)
        return row._replace(mac=self._sign(row))

    def decode(self, row: Row) -> Any:
        """Return the value of a row.

        :raises BadSignatureError: if the signature is wrong.
        :raises Exception: what pickle raises if a class was changed or removed since.
        """
        try:
            valid = hmac.compare_digest(self._sign(row), row.mac)
        except (TypeError, AttributeError, UnicodeError, struct.error):  # columns of the wrong types
            valid = False
        if not valid:
            raise BadSignatureError
        return decode(row.encoding, row.payload)

    def _sign(self, row: Row) -> bytes:
        times = struct.pack("<d?d", row.created, row.expires is not None, row.expires or 0.0)
        return self._signer.sign(row.key.encode(), row.encoding.encode(), times, row.payload)
