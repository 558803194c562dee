"""Encodes values as text or bytes, and decodes them: JSON where it is exact, JSON with tags, or pickled. No I/O."""

from __future__ import annotations

import contextlib
import hmac
import io
import json
import pickle
import sys
from typing import Any

from cascade.runtime._storage.module_names import MAIN, lasting_name, present_name
from cascade.runtime._storage.tagged import UntaggableError, dumps, loads

_JSON, _TAGGED, _PICKLE = "json", "tagged", "pickle"
_MAC_SIZE = 32


class Signer:
    """Signs rows with one secret key.

    A payload may be unpickled only after its signature was verified: unpickling can run any
    code. Sign a row's key too, so that no row can stand in for another.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, *parts: bytes) -> bytes:
        """Return the signature of these parts, in this order and with these boundaries."""
        mac = hmac.new(self._key, digestmod="blake2b")
        for part in parts:
            mac.update(len(part).to_bytes(8, "little"))
            mac.update(part)
        return mac.digest()[:_MAC_SIZE]


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
            return _JSON, json.dumps(value, ensure_ascii=False).encode()
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
    if encoding == _JSON:
        return json.loads(payload)
    if encoding == _TAGGED:
        return loads(payload)
    if not pickled:
        raise TypeError("it is pickled, and pickle=False does not load pickles")
    main = encoding.removeprefix(_PICKLE).removeprefix(":")
    return _Unpickler(payload, main or MAIN).load()


class _Unpickler(pickle.Unpickler):
    """Finds the classes of a script under the name that it has in this process."""

    def __init__(self, payload: bytes, main: str) -> None:
        super().__init__(io.BytesIO(payload))
        self._main = main

    def find_class(self, module: str, name: str, /) -> Any:
        if module == MAIN or module not in sys.modules:  # a pickle tells a script from a module of its name
            of_main = module == MAIN
            module = present_name(self._main if of_main else module, is_script=of_main)
        return super().find_class(module, name)


def _is_json(value: object) -> bool:
    """Return whether JSON restores exactly this value: no subclass, no tuple, only str as dict keys.

    A value of more than ``_MAX_JSON_ITEMS`` items, or one that contains itself, counts as no
    JSON: to check it would take longer than to pickle it.
    """
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
