"""Pickles calls for the workers of a pool, which may be on other machines: they cannot read the program's main module."""

from __future__ import annotations

import functools
import importlib.util
import io
import pickle
from types import FunctionType
from typing import Any

from cascade.interfaces.pickled_calls import pack as pack_by_name
from cascade.interfaces.pickled_calls import run_packed, task_function


def pack(value: object) -> bytes:
    """Pickle a value by name; if a worker cannot find it so, by value where cloudpickle is installed.

    :raises Exception: as the pickler does, if cloudpickle is missing or cannot pickle it either.
    """
    try:
        return pack_by_name(value)
    except (pickle.PicklingError, AttributeError):  # AttributeError: of a class inside a function
        if importlib.util.find_spec("cloudpickle") is None:
            raise
    buffer = io.BytesIO()
    _by_value()(buffer, pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def run_in_pool(packed: bytes) -> bytes:
    """Run a packed call in a worker, and return its packed outcome; it raises nothing."""
    return run_packed(packed, pack)


@functools.cache
def _by_value() -> Any:
    """Return a pickler that sends by value what no module contains."""
    import cloudpickle  # type: ignore[import-untyped]

    class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: object) -> Any:
            if isinstance(obj, FunctionType) and (reduced := task_function(obj)):
                return reduced
            return super().reducer_override(obj)

    return ByValue
