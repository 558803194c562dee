"""Contents of a class: methods, fields, members and other attributes. No I/O."""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
from collections.abc import Iterator
from typing import Any


def class_content(class_: type) -> tuple[Any, ...]:
    """Return bases, metaclass, fields, slots and attributes; what Python and libraries generate is left out."""
    own = vars(class_)
    slots = sorted(name for name, value in own.items() if isinstance(value, types.MemberDescriptorType))
    attributes = [
        (name, _attribute(value)) for name, value in sorted(own.items()) if _counts(class_, name, value)
    ]
    return list(class_.__bases__), type(class_), list(_fields(class_)), slots, attributes


def _counts(class_: type, name: str, value: object) -> bool:
    if issubclass(class_, enum.Enum) and (name in class_.__members__ or (name[0] == name[-1] == "_")):
        return isinstance(value, types.FunctionType) and name[:2] == "__"
    if name in _GENERATED or isinstance(value, _DESCRIPTORS_IN_C):
        return False
    if name == "__setattr__" and vars(class_).get("__attrs_own_setattr__"):  # made from the fields
        return False
    if isinstance(value, types.FunctionType):
        return not (value.__code__.co_qualname.startswith("__create_fn__") or _is_from_attrs(value))
    return name[:2] != "__" or isinstance(value, staticmethod | classmethod | property)


def _is_from_attrs(function: types.FunctionType) -> bool:
    return function.__code__.co_filename.startswith("<attrs generated")


def _attribute(value: Any) -> Any:
    """Return the functions behind a descriptor; any other value as it is."""
    if isinstance(value, staticmethod | classmethod):
        return type(value).__name__, value.__func__
    if isinstance(value, property | types.DynamicClassAttribute):
        return "property", value.fget, value.fset, value.fdel
    if isinstance(value, functools.cached_property):
        return "cached property", value.func
    if isinstance(value, functools.partialmethod):
        return "partialmethod", value.func, value.args, value.keywords
    if isinstance(value, functools.singledispatchmethod):
        return "singledispatchmethod", value.func, list(value.dispatcher.registry.items())
    return value


def _fields(class_: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the members of an enum, or the fields of a dataclass, a pydantic model or an attrs class."""
    if issubclass(class_, enum.Enum):
        for name, member in class_.__members__.items():
            yield name, member._value_
    own = vars(class_)
    if "__dataclass_fields__" in own:
        yield "dataclass", repr(own.get("__dataclass_params__"))
        for field in own["__dataclass_fields__"].values():
            settings = (
                field.init,
                field.repr,
                field.compare,
                field.hash,
                field.kw_only is True,  # that of a class variable is not set
                field._field_type.name,
            )
            yield (
                field.name,
                repr(field.type),
                _default(field.default),
                _default(field.default_factory),
                settings,
            )
    for field in own.get("__attrs_attrs__", ()):
        default = getattr(field.default, "factory", field.default)
        yield field.name, default, field.converter, field.init, field.kw_only
        if field.validator is not None or field.on_setattr is not None:
            yield field.validator, field.on_setattr
    if "__pydantic_core_schema__" in own:
        for name, field in class_.model_fields.items():
            default = None if repr(field.default) == "PydanticUndefined" else (field.default,)
            yield (
                name,
                repr(field.annotation),
                repr(field.metadata),
                field.alias,
                default,
                field.default_factory,
            )


def _default(value: object) -> object:
    """Return a default in a tuple; None if there is none."""
    return None if value is dataclasses.MISSING else (value,)


_DESCRIPTORS_IN_C = (
    types.MemberDescriptorType,
    types.GetSetDescriptorType,
    type(vars(__import__("collections").namedtuple("_", "_", rename=True))["_0"]),
)
_GENERATED = frozenset({"_abc_impl", "model_fields", "model_computed_fields"})
