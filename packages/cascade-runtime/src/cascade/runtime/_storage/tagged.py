"""Values as JSON in which types that JSON lacks are tagged: restored equal and of the same types. No I/O.

``{"$": ["tuple", [1, 2]]}`` stands for ``(1, 2)``. A dict with a key ``$``, or with keys other than
texts, is tagged too, so that no value of a user can be taken for a tag. What has no tag, such as
a subclass of a list, is refused.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import importlib
import json
import pathlib
import sys
import uuid
import zoneinfo
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

_TAG = "$"
_PLAIN = frozenset({type(None), bool, float})
_MAX_DECIMAL = 10**4000
"""An integer from here on is written in hexadecimal digits: Python limits decimal ones."""
_PATHS = (pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePosixPath, pathlib.PureWindowsPath)


class UntaggableError(TypeError):
    """A value of a type that has no tag."""

    def __init__(self, value: object) -> None:
        kind = type(value)
        super().__init__(f"holds a {kind.__module__}.{kind.__qualname__}, which cannot be written as JSON")


def dumps(value: object) -> bytes:
    """Return a value as JSON.

    :raises UntaggableError: if a part of it has no tag.
    :raises RecursionError: if it is nested too deeply, or contains itself.
    """
    return json.dumps(_tagged(value), ensure_ascii=False, separators=(",", ":")).encode()


def loads(payload: bytes) -> Any:
    """Return the value that was written, with classes imported by their names.

    :raises Exception: if a class was changed or removed since.
    """
    return json.loads(payload, object_hook=_restored)


def _tagged(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    writer = _WRITERS.get(kind)
    if writer is not None:
        return writer(value)
    if isinstance(value, enum.Enum):
        return _tag("enum", _of_enum(value))
    if dataclasses.is_dataclass(kind):
        return _tag("dataclass", _of_dataclass(value))
    raise UntaggableError(value)


def _tag(name: str, data: object) -> dict[str, list[object]]:
    return {_TAG: [name, data]}


def _listed(values: Iterable[object]) -> list[Any]:
    return [_tagged(value) for value in values]


def _of_int(value: int) -> object:
    return value if -_MAX_DECIMAL < value < _MAX_DECIMAL else _tag("int", hex(value))


def _of_str(value: str) -> object:
    """Return a text as it is; half a surrogate pair has no place in UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return _tag("str", _base64(value.encode("utf-8", "surrogatepass")))
    return value


def _of_dict(value: dict[Any, Any]) -> object:
    if _TAG not in value and all(type(key) is str and _of_str(key) is key for key in value):
        return {key: _tagged(item) for key, item in value.items()}
    return _tag("dict", [[_tagged(key), _tagged(item)] for key, item in value.items()])


def _of_datetime(value: dt.datetime) -> object:
    return _tag("datetime", [value.replace(tzinfo=None).isoformat(), value.fold, _of_zone(value.tzinfo)])


def _of_time(value: dt.time) -> object:
    return _tag("time", [value.replace(tzinfo=None).isoformat(), value.fold, _of_zone(value.tzinfo)])


def _of_zone(zone: dt.tzinfo | None) -> object:
    if zone is None:
        return None
    if type(zone) is dt.timezone and len(zone.__getinitargs__()) == 1:  # type: ignore[attr-defined]
        offset = zone.utcoffset(None)
        return [offset.days, offset.seconds, offset.microseconds]
    if type(zone) is zoneinfo.ZoneInfo and zone.key and zone is zoneinfo.ZoneInfo(zone.key):
        return zone.key
    raise UntaggableError(zone)


def _of_enum(value: enum.Enum) -> list[str]:
    kind = type(value)
    if kind.__members__.get(value.name or "") is not value or _found(kind) is not kind:
        raise UntaggableError(value)
    return [lasting_name(kind.__module__), kind.__qualname__, value.name]


def _of_dataclass(value: Any) -> list[object]:
    """Return the class's name and the fields' values, if these are all that the object has."""
    kind = type(value)
    names = [field.name for field in dataclasses.fields(value)]
    complete = set(getattr(value, "__dict__", names)) <= set(names) and all(
        hasattr(value, name) for name in names
    )
    if not complete or not _is_plain(kind) or _found(kind) is not kind:
        raise UntaggableError(value)
    tagged = {name: _tagged(getattr(value, name)) for name in names}
    return [lasting_name(kind.__module__), kind.__qualname__, tagged]


def _is_plain(kind: type) -> bool:
    """Return whether a class and its bases are dataclasses that do not define how they are pickled."""
    bases = kind.__mro__[:-1]
    return all("__dataclass_params__" in vars(base) for base in bases) and not any(
        name in vars(base) and vars(base)[name] not in _GENERATED for base in bases for name in _PICKLING
    )


_PICKLING = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__new__")
# What dataclass(frozen=True, slots=True) itself adds to a class.
_GENERATED = [getattr(dataclasses, f"_dataclass_{name}", None) for name in ("getstate", "setstate")]


def _found(kind: type) -> object:
    """Return what a later process finds under the name of a class; None if nothing."""
    try:
        return _by_name(lasting_name(kind.__module__), kind.__qualname__)
    except (ImportError, AttributeError):
        return None


def _by_name(module: str, qualname: str) -> Any:
    return functools.reduce(getattr, qualname.split("."), importlib.import_module(present_name(module)))


def _restored(found: dict[str, Any]) -> Any:
    """Restore one JSON object; what is inside it is restored already."""
    if _TAG not in found:
        return found
    name, data = found[_TAG]
    return _READERS[name](data)


def _read_datetime(data: list[Any]) -> dt.datetime:
    text, fold, zone = data
    return dt.datetime.fromisoformat(text).replace(tzinfo=_read_zone(zone), fold=fold)


def _read_time(data: list[Any]) -> dt.time:
    text, fold, zone = data
    return dt.time.fromisoformat(text).replace(tzinfo=_read_zone(zone), fold=fold)


def _read_zone(zone: Any) -> dt.tzinfo | None:
    if isinstance(zone, list):
        return dt.timezone(dt.timedelta(*zone))
    return None if zone is None else zoneinfo.ZoneInfo(zone)


def _read_enum(data: list[str]) -> Any:
    module, qualname, name = data
    return _by_name(module, qualname)[name]


def _read_dataclass(data: list[Any]) -> Any:
    """Restore an object as pickle does: its class's ``__init__`` is not called.

    :raises TypeError: if the class has other fields by now.
    """
    module, qualname, values = data
    kind = _by_name(module, qualname)
    if {field.name for field in dataclasses.fields(kind)} != set(values):
        raise TypeError(f"{module}.{qualname} has other fields by now")
    made = kind.__new__(kind)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


def _base64(raw: bytes | bytearray) -> str:
    return base64.b64encode(raw).decode()


_WRITERS: dict[type, Callable[[Any], object]] = {
    int: _of_int,
    str: _of_str,
    list: _listed,
    dict: _of_dict,
    tuple: lambda value: _tag("tuple", _listed(value)),
    set: lambda value: _tag("set", _listed(value)),
    frozenset: lambda value: _tag("frozenset", _listed(value)),
    bytes: lambda value: _tag("bytes", _base64(value)),
    bytearray: lambda value: _tag("bytearray", _base64(value)),
    complex: lambda value: _tag("complex", [value.real, value.imag]),
    dt.datetime: _of_datetime,
    dt.time: _of_time,
    dt.date: lambda value: _tag("date", value.isoformat()),
    dt.timedelta: lambda value: _tag("timedelta", [value.days, value.seconds, value.microseconds]),
    decimal.Decimal: lambda value: _tag("Decimal", str(value)),
    uuid.UUID: lambda value: _tag("UUID", value.hex),
    **{kind: lambda value: _tag(type(value).__name__, str(value)) for kind in _PATHS},
}
_READERS: dict[str, Callable[[Any], object]] = {
    "int": lambda data: int(data, 16),
    "str": lambda data: base64.b64decode(data).decode("utf-8", "surrogatepass"),
    "dict": dict,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "bytes": base64.b64decode,
    "bytearray": lambda data: bytearray(base64.b64decode(data)),
    "complex": lambda data: complex(*data),
    "datetime": _read_datetime,
    "time": _read_time,
    "date": dt.date.fromisoformat,
    "timedelta": lambda data: dt.timedelta(*data),
    "Decimal": decimal.Decimal,
    "UUID": uuid.UUID,
    "enum": _read_enum,
    "dataclass": _read_dataclass,
    **{kind.__name__: kind for kind in _PATHS},
}


MAIN = "__main__"


def lasting_name(module: str) -> str:
    """Return the name by which another process finds a module: for a script that of its file.

    ``python night.py`` has the script as ``__main__``, ``cascade run night.py`` as ``night``. That of ``python jobs/night.py`` is
    ``jobs.night`` if ``jobs`` is a package, as for ``python -m jobs.night``. That of ``python -m jobs`` is ``jobs.__main__``; the
    package ``jobs`` is another module.
    """
    if module != MAIN:
        return module
    main = sys.modules[MAIN]
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    # that of a folder, as in ``python jobs/``, says nothing
    if spec is not None and spec.name != MAIN:
        return str(spec.name)
    return _of_file(file) if file else MAIN


def present_name(module: str, *, is_script: bool = False) -> str:
    """Return the name that a module has in this process, from its lasting one.

    A script may have the stem of another module that is imported, such as ``queue``: its lasting name is that of the script.
    ``python jobs/night.py`` and ``python -m jobs.night`` name the script differently where ``jobs`` has no ``__init__.py``: a name
    that no imported module has is the script's if its file ends with that name.

    :param is_script: whether the name is known to be that of a script.
    """
    if module == lasting_name(MAIN):
        return MAIN
    parts = module.split(".")
    of_script = (is_script or module not in sys.modules) and _file_of_main()[-len(parts) :] == parts
    return MAIN if of_script else module


@functools.lru_cache(maxsize=16)
def _of_file(file: str) -> str:
    """Return the dotted name of a file, with the packages that it is in."""
    path = Path(file).absolute()
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return ".".join(parts)


def _file_of_main() -> list[str]:
    file = getattr(sys.modules[MAIN], "__file__", None)
    return [*Path(file).absolute().with_suffix("").parts] if file else []
