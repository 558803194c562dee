"""The payloads of results: encoded and signed, large ones in files of their own."""

from __future__ import annotations

import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cascade.interfaces import UnreadableResultError, UnstorableValueError
from cascade.runtime._durable.crash_points import reach
from cascade.runtime._durable.folder import RunPaths
from cascade.runtime._storage.codec import JSON, Signer, decode, decode_all_json, encode
from cascade.runtime._storage.private_files import sync

LARGE = 1 << 20
"""Bytes above which a payload gets a file of its own."""


class Stored(NamedTuple):
    """One row of the table ``result``."""

    key: str
    encoding: str
    payload: bytes | None
    mac: bytes
    file: str | None
    """Name of the file that has the payload, if it is large."""
    size: int


@dataclass(frozen=True, slots=True)
class ResultCodec:
    """Encodes and decodes the results of one run."""

    signer: Signer
    pickled: bool
    max_value_bytes: int

    def encode(self, key: str, value: object) -> Stored:
        """Return the row for a value's present state; its payload is in the row, however large.

        :raises UnstorableValueError: if the value cannot be encoded or is too large.
        """
        try:
            encoding, payload = encode(value, tagged=True, pickled=self.pickled)
        except Exception as exc:
            raise UnstorableValueError(
                value, f"cannot be recorded: {str(exc) or type(exc).__name__}"
            ) from exc
        if len(payload) > self.max_value_bytes:
            limit = f"max_value_bytes={self.max_value_bytes}"
            raise UnstorableValueError(value, f"takes {len(payload)} bytes, more than {limit}")
        return Stored(key, encoding, payload, self._sign(key, encoding, payload), None, len(payload))

    def decode(self, row: Stored, folder: Path) -> Any:
        """Return the value of a row.

        :raises UnreadableResultError: if its file is missing, it was changed, or its class was.
        """
        return self._decoded(row, self._verified(row, folder))

    def decode_all(self, rows: Sequence[Stored], folder: Path) -> list[Any]:
        """Return the value of each row, or the error of one that cannot be read in its place."""
        results: list[Any] = [None] * len(rows)
        plain: list[tuple[int, bytes]] = []
        for number, row in enumerate(rows):
            try:
                payload = self._verified(row, folder)
                if row.encoding == JSON:
                    plain.append((number, payload))
                else:
                    results[number] = self._decoded(row, payload)
            except UnreadableResultError as exc:
                results[number] = exc
        values = decode_all_json([payload for _, payload in plain])
        if values is None:
            values = [self._decoded_or_error(rows[number], payload) for number, payload in plain]
        for (number, _), value in zip(plain, values, strict=True):
            results[number] = value
        return results

    def _verified(self, row: Stored, folder: Path) -> bytes:
        """Return the payload of a row, whose signature is right."""
        try:
            payload = (folder / row.file).read_bytes() if row.file else row.payload
        except (OSError, TypeError, ValueError) as exc:
            # in a damaged file, columns have any type
            raise UnreadableResultError(row.key, str(exc)) from exc
        try:
            valid = hmac.compare_digest(self._sign(row.key, row.encoding, payload), row.mac)
        except (TypeError, AttributeError, UnicodeError):
            # columns of the wrong types
            valid = False
        if not valid or payload is None:
            raise UnreadableResultError(row.key, "it was changed, or signed with another key")
        return payload

    def _decoded(self, row: Stored, payload: bytes) -> Any:
        try:
            return decode(row.encoding, payload, pickled=self.pickled)
        except Exception as exc:
            raise UnreadableResultError(row.key, f"{type(exc).__name__}: {exc}") from exc

    def _decoded_or_error(self, row: Stored, payload: bytes) -> Any:
        try:
            return self._decoded(row, payload)
        except UnreadableResultError as exc:
            return exc

    def digest(self, name: str, value: object) -> str:
        """Return a digest of a secret that cannot be reversed without the folder's key.

        :raises UnstorableValueError: if it cannot be encoded.
        """
        return self.encode(f"secret {name}", value).mac.hex()

    def _sign(self, key: str, encoding: str, payload: bytes | None) -> bytes:
        return self.signer.sign(key.encode("utf-8", "surrogatepass"), encoding.encode(), payload or b"")


def with_own_file(row: Stored, paths: RunPaths) -> Stored:
    """Write a large payload to a file of its own: complete under its name, before its row is committed.

    :raises OSError: if the disk fails.
    """
    if row.file is not None or row.size <= LARGE:
        return row
    path = paths.new_result()
    part = path.with_name(f"{path.name}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(row.payload or b"")
            file.flush()
            os.fsync(file.fileno())
        reach("big-file-written")
        part.rename(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    sync(paths.folder)
    reach("big-file-renamed")
    return row._replace(payload=None, file=path.name)
