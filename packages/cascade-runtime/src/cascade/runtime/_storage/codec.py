"""Encodes values as text or bytes, and decodes them: JSON where it is exact, JSON with tags, or pickled. No I/O."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import struct
import sys
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from cascade.runtime._storage.tagged import MAIN, UntaggableError, dumps, lasting_name, loads, present_name

JSON = "json"
"""The encoding of a value that plain JSON restores."""
_TAGGED, _PICKLE = "tagged", "pickle"
_MAC_SIZE = 32
_JOINED = 1 << 16
"""Bytes up to which it is faster to sign a copy of all parts than one after another."""


class Signer:
    """Signs rows with one secret key.

    A payload may be unpickled only after its signature was verified: unpickling can run any
    code. Sign a row's key too, so that no row can stand in for another.

    :param key: 1 to 64 bytes, of which BLAKE2b makes a keyed hash.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, *parts: bytes) -> bytes:
        """Return the signature of these parts, in this order and with these boundaries."""
        lengths = struct.pack(f"<{len(parts)}Q", *map(len, parts))
        if sum(map(len, parts)) <= _JOINED:
            return blake2b(lengths + b"".join(parts), key=self._key, digest_size=_MAC_SIZE).digest()
        mac = blake2b(lengths, key=self._key, digest_size=_MAC_SIZE)
        for part in parts:
            mac.update(part)
        return mac.digest()


def encode(value: object, *, tagged: bool = False, pickled: bool = True) -> tuple[str, bytes]:
    """Return the name of an encoding, and a value's present state in it.

    :param tagged: write JSON with tags where plain JSON is not exact; pickle only what has no tag.
    :param pickled: whether values may be pickled.
    :raises Exception: what pickle raises if the value cannot be pickled; without pickle a TypeError
        that names the type.
    """
    if _is_json(value):
        # JSON fails for an int of over 4,300 digits, half of a surrogate pair, and deep nesting;
        # pickle can do all three.
        with contextlib.suppress(ValueError, RecursionError):
            return JSON, _written(value).encode()
    if tagged and (not pickled or _is_small(value)):
        try:
            return _TAGGED, dumps(value)
        except (UntaggableError, RecursionError):
            if not pickled:
                raise
    payload = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    if MAIN.encode() not in payload:
        return _PICKLE, payload
    return f"{_PICKLE}:{lasting_name(MAIN)}", payload  # a class of the script


def decode(encoding: str, payload: bytes, *, pickled: bool = True) -> Any:
    """Return the value of a payload whose signature was verified.

    :raises Exception: what pickle raises if a class was changed or removed since.
    :raises TypeError: if the value is pickled and may not be.
    """
    if encoding == JSON:
        return json.loads(payload)
    if encoding == _TAGGED:
        return loads(payload)
    if not pickled:
        raise TypeError("it is pickled, and pickle=False does not load pickles")
    main = encoding.removeprefix(_PICKLE).removeprefix(":")
    return _Unpickler(payload, main or MAIN).load()


def decode_all_json(payloads: Sequence[bytes]) -> list[Any] | None:
    """Return the values of payloads whose encoding is plain JSON, read at once; None if that cannot be done.

    Their signatures were verified, so each is one JSON text: together they cannot mean anything else.
    """
    try:
        values: list[Any] = json.loads(b"[" + b",".join(payloads) + b"]")
    except (ValueError, RecursionError):
        # one is as deep as Python can read, or has very many digits
        return None
    return values


class _Unpickler(pickle.Unpickler):
    """Finds the classes of a script under the name that it has in this process."""

    def __init__(self, payload: bytes, main: str) -> None:
        super().__init__(io.BytesIO(payload))
        self._main = main

    def find_class(self, module: str, name: str, /) -> Any:
        # a pickle tells a script from a module of its name
        if module == MAIN or module not in sys.modules:
            of_main = module == MAIN
            module = present_name(self._main if of_main else module, is_script=of_main)
        return super().find_class(module, name)


_written = json.JSONEncoder(ensure_ascii=False).encode


def _is_json(value: object) -> bool:
    """Return whether JSON restores exactly this value: no subclass, no tuple, only str as dict keys.

    A value of more than ``_MAX_JSON_ITEMS`` items, or one that contains itself, counts as no
    JSON: to check it would take longer than to pickle it.
    """
    if type(value) in _JSON_TYPES:
        return True
    stack: list[Any] = [value]
    checked = 0
    while stack:
        item = stack.pop()
        checked += 1
        kind = type(item)
        if kind is list:
            stack.extend(item)
        elif kind is dict and all(type(key) is str for key in item):
            stack.extend(item.values())
        elif kind not in _JSON_TYPES:
            return False
        if checked + len(stack) > _MAX_JSON_ITEMS:
            return False
    return True


_JSON_TYPES = frozenset({type(None), bool, int, float, str})
_MAX_JSON_ITEMS = 10_000


def _is_small(value: object) -> bool:
    """Return whether the containers in a value hold few items: writing many takes longer than pickling them."""
    stack: list[Any] = [value]
    checked = 0
    while stack:
        item = stack.pop()
        checked += 1
        kind = type(item)
        if kind is dict:
            stack.extend(item)
            stack.extend(item.values())
        elif kind in _CONTAINERS:
            stack.extend(item)
        if checked + len(stack) > _MAX_JSON_ITEMS:
            return False
    return True


_CONTAINERS = frozenset({list, tuple, set, frozenset})
