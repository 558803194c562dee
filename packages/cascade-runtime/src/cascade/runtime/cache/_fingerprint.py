"""The version of a task's code: a digest of a function and of everything that it uses. No I/O."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import inspect
import re
import sys
import types
from collections.abc import Callable, Collection, Iterator
from pathlib import PurePath
from typing import Any

from cascade.runtime.cache._code_facts import CodeFacts, facts_of
from cascade.runtime.cache._digest import PLAIN, digest, object_parts
from cascade.runtime.cache._library_values import UndigestibleError, full_name, is_implemented_in_c
from cascade.spec import Task


class Fingerprints:
    """Digests the functions, classes and variables that one call of ``function`` uses, each once.

    The digest of a function covers its module and qualified name, its code with literals and
    inner functions, its defaults, and the present values of the captured and the global variables
    that it reads. Functions and classes of the task's own module count with all that they use in
    turn; those of other modules count by name. Comments, line numbers and the attributes of
    imported modules do not count, nor does a list that the code only appends to.

    ``ignore`` names variables and parameters that do not count.
    """

    def __init__(self, function: Callable[..., Any], *, ignore: Collection[str] = ()) -> None:
        self._root = function
        self._module = _module_of(function)
        self._ignore = frozenset(ignore)
        self._done: dict[Any, bytes] = {}
        self._in_progress: dict[Any, int] = {}
        self._by_name: dict[int, tuple[Any, bool]] = {}
        self.names: set[str] = set()
        """Variables that the code names, collected if some are ignored."""

    def of_task(self) -> bytes:
        """Return the digest of the task's function.

        :raises UndigestibleError: if it is a callable object whose state has no digest, or if it
            uses a variable whose value has none; the error then names the variable.
        """
        function, kind = self._root, type(self._root)
        if (
            isinstance(function, types.FunctionType)
            or is_implemented_in_c(kind)
            or isinstance(function, type)
        ):
            return digest(function, self)
        return digest((kind, *object_parts(function)), self)

    def of_function(self, function: types.FunctionType) -> bytes:
        """Return the digest of a plain function."""
        return self._once(function, self._function_digest, function)

    def of_class(self, class_: type) -> bytes:
        """Return the digest of a class of the task's module; the name of any other one."""
        if is_implemented_in_c(class_) or (
            class_.__module__ != self._module and self._is_known_by_name(class_)
        ):
            return full_name(class_).encode()
        return self._once(class_, self._class_digest, class_)

    def of_type(self, class_: type) -> bytes:
        """Return the name of an instance's class; its digest if the name does not identify it."""
        if is_implemented_in_c(class_) or self._is_known_by_name(class_):
            return full_name(class_).encode()
        return self._once(class_, self._class_digest, class_)

    def of_callable(self, value: Any) -> bytes:
        """Return the name of a callable object of another module.

        :raises UndigestibleError: if it has no name there, or belongs to the task's module.
        """
        foreign = getattr(value, "__module__", None) != self._module or is_implemented_in_c(type(value))
        if foreign and self._is_known_by_name(value):
            return full_name(value).encode()
        raise UndigestibleError(f"no digest can be computed of a {full_name(type(value))}")

    def _once(self, thing: Any, compute: Callable[[Any], bytes], argument: Any) -> bytes:
        if thing in self._in_progress:  # it uses itself, perhaps through others
            return b"use %d" % self._in_progress[thing]
        if thing not in self._done:
            self._in_progress[thing] = len(self._in_progress)
            try:
                self._done[thing] = compute(argument)
            finally:
                del self._in_progress[thing]
        return self._done[thing]

    def _class_digest(self, class_: type) -> bytes:
        return digest((full_name(class_), *class_content(class_)), self)

    def _function_digest(self, function: types.FunctionType) -> bytes:
        facts = facts_of(function)
        if self._ignore:
            self.names.update(facts.names, vars(function))
        variables = [
            (kind, name, self._variable(function, kind, name, value))
            for kind, name, value in _variables(function, facts)
            if name not in self._ignore and not facts.only_writes_to(name, value)
        ]
        return digest((function.__module__, function.__qualname__, facts.digest, variables), self)

    def _variable(self, function: types.FunctionType, kind: str, name: str, value: object) -> object:
        """Return what stands for a variable's value."""
        if type(value) in PLAIN:
            return value
        strict = self._counts_in_full(function)
        if kind == _GLOBAL:
            if type(value) is object:  # a sentinel: it has nothing but its name
                return None
            if isinstance(value, types.FunctionType | Task) and self._is_imported(value, function):
                return full_name(value)
            if not strict and not isinstance(value, _CONSTANTS):
                return None
        try:
            return digest(value, self)
        except UndigestibleError as exc:
            if not strict and (kind == _GLOBAL or self._is_known_by_name(function)):
                return None
            if exc.variable:
                raise
            place = f"{kind} {name!r} of {full_name(function)}"
            raise UndigestibleError(exc.problem, variable=name, place=place) from None

    def _counts_in_full(self, function: types.FunctionType) -> bool:
        """Return whether every global that a function reads counts: the constants do in any case.

        So it is for a function of the task's module, and for one of another module that a decorator replaced.
        """
        if function.__globals__.get("__name__") == self._module:
            return True
        return "<locals>" not in function.__code__.co_qualname and not self._is_known_by_name(function)

    def _is_imported(self, value: types.FunctionType | Task[..., Any], user: types.FunctionType) -> bool:
        """Return whether a global is a function or a task of another module, known by its name."""
        if value.__module__ in {self._module, user.__globals__.get("__name__")}:
            return False
        if self._is_known_by_name(value):
            return True
        function = value.function if isinstance(value, Task) else value
        fixed = isinstance(value, Task) and value._fixed
        return isinstance(function, types.FunctionType) and not (
            fixed or function.__closure__ or "<" in function.__qualname__
        )

    def _is_known_by_name(self, thing: Any) -> bool:
        """Return whether a function, class or object is what its module has under its name."""
        found = self._by_name.get(id(thing))
        if found is None:
            found = self._by_name[id(thing)] = thing, _named(thing) is thing
        return found[1]


def values_read_by(function: Callable[..., Any]) -> list[object]:
    """Return the values of the variables that a plain function reads; [] for any other callable object."""
    if not isinstance(function, types.FunctionType):
        return []
    return [value for _, _, value in _variables(function, facts_of(function))]


def _named(thing: Any) -> object:
    """Return what a module has under the name of a thing; None if it does not have the name."""
    found: Any = sys.modules.get(getattr(thing, "__module__", None) or "")
    for name in getattr(thing, "__qualname__", "<none>").split("."):
        found = inspect.getattr_static(found, name, None)
        if found is None:
            return None
    return found


def _module_of(function: Any) -> str | None:
    """Return the module whose functions and classes count with their content; never one of Python's own."""
    while isinstance(function, functools.partial | types.MethodType):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    module: str | None = getattr(function, "__module__", None) or type(function).__module__
    return None if str(module).partition(".")[0] in sys.stdlib_module_names else module


def _variables(function: types.FunctionType, facts: CodeFacts) -> Iterator[tuple[str, str, object]]:
    """Yield kind, name and value of each variable that the function reads besides its arguments."""
    code = function.__code__
    if code is _SINGLE_DISPATCH:  # what else it captures are caches
        yield "attribute", "registry", list(function.registry.items())  # type: ignore[attr-defined]
        return
    yield from _defaults(function)
    if attributes := vars(function):
        for name, value in sorted(attributes.items()):
            yield "attribute", name, value
    for position in facts.cells:
        # a variable that has no value yet
        with contextlib.suppress(ValueError):
            yield (
                "captured variable",
                code.co_freevars[position],
                (function.__closure__ or ())[position].cell_contents,
            )
    for name in facts.reads:
        if name in function.__globals__:
            yield _GLOBAL, name, function.__globals__[name]


def _defaults(function: types.FunctionType) -> Iterator[tuple[str, str, object]]:
    code = function.__code__
    if defaults := function.__defaults__:  # most functions have none
        positional = code.co_varnames[: code.co_argcount]
        for name, value in zip(positional[len(positional) - len(defaults) :], defaults, strict=True):
            yield _DEFAULT, name, value
    if by_keyword := function.__kwdefaults__:
        for name, value in sorted(by_keyword.items()):
            yield _DEFAULT, name, value


_GLOBAL, _DEFAULT = "global variable", "default"
_SINGLE_DISPATCH = functools.singledispatch(full_name).__code__  # type: ignore[attr-defined]
_CONSTANTS = (
    *(
        types.FunctionType,
        Task,
        type(None),
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        tuple,
        frozenset,
        enum.Enum,
    ),
    *(decimal.Decimal, dt.date, dt.time, dt.timedelta, PurePath, re.Pattern),
)
"""Types of the globals that count in functions of other modules, if they have a digest."""


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
    # made from the fields
    if name == "__setattr__" and vars(class_).get("__attrs_own_setattr__"):
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
# The functions that compute annotations (Python 3.14) name their class; a field's type counts with the field.
_GENERATED = frozenset(
    {"_abc_impl", "model_fields", "model_computed_fields", "__annotate__", "__annotate_func__"}
)
