"""Values that come from outside when a run begins: parameters and environment variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Generic, TypeVar, overload

from cascade.interfaces.call_errors import explains_calls
from cascade.interfaces.errors import ConfigurationError, InputsError, UsageError
from cascade.interfaces.text import nearest
from cascade.spec.definition import structural
from cascade.spec.labels import short
from cascade.spec.lazy import Call, CallSettings, LazyResult
from cascade.spec.nested import find_lazies

T = TypeVar("T")


class _Default(Enum):
    """An enum, because a pickled member keeps its identity."""

    NONE = "none: the input is required"


_REQUIRED: Any = _Default.NONE
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Input:
    """Where a value comes from, and its type."""

    name: str
    from_environment: bool
    convert: Callable[[Any], Any]
    default: Any
    description: str

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is _REQUIRED


@dataclass(slots=True, eq=False, repr=False, kw_only=True)
class InputCall(Call):
    """A value that comes from outside when the run begins."""

    source: Input

    def shown(self) -> str:
        """Return its name, and the default if it has one."""
        return (
            self.source.name
            if self.source.required
            else f"{self.source.name} default={short(self.source.default)}"
        )


class _Outside(LazyResult[T], Generic[T]):
    """A lazy result whose value comes from outside when the run begins."""

    __slots__ = ()
    _from_environment: ClassVar[bool]

    def __init__(
        self,
        name: str,
        *,
        default: Any,
        type: Callable[[Any], Any],  # noqa: A002 - the name users expect
        description: str,
    ) -> None:
        kind = self.__class__.__name__
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"{kind}(name)", f"needs a text, not {name!r}")
        if not callable(type):
            raise ConfigurationError(f"{kind}(type=)", f"needs a type or a function, not {type!r}")
        if _holds_lazy(default):
            raise ConfigurationError(
                f"{kind}(default=)",
                "is or holds a lazy result; a default is a value that is known before the run",
            )
        source = Input(name, self._from_environment, type, default, description)
        super().__init__(InputCall(CallSettings(structural(type, name)), source=source))


class Param(_Outside[T], Generic[T]):
    """A value that the caller gives: ``cs.run(target, params={"name": value})``.

    ``type`` is called with a value that is not of that type yet; ``bool`` understands 1, true,
    yes, on and their opposites. Only parameters of the target itself can be given; in a step
    that a task returns, the value is the one given under the name, else the default.

    :raises ConfigurationError: if the name is empty or the type cannot be called.
    """

    __slots__ = ()
    _from_environment = False

    @overload
    def __init__(self: Param[str], name: str, *, default: Any = ..., description: str = ...) -> None: ...
    @overload
    def __init__(
        self, name: str, *, type: Callable[[Any], T], default: Any = ..., description: str = ...
    ) -> None: ...
    @explains_calls
    def __init__(
        self,
        name: str,
        *,
        type: Callable[[Any], Any] = str,  # noqa: A002 - the name users expect
        default: Any = _REQUIRED,
        description: str = "",
    ) -> None:
        super().__init__(name, type=type, default=default, description=description)


class Env(_Outside[T], Generic[T]):
    """A value from an environment variable; see :class:`Param`.

    It is read when the run begins; in a step that a task returns, when that step begins.

    :raises ConfigurationError: if the name is empty or the type cannot be called.
    """

    __slots__ = ()
    _from_environment = True

    @overload
    def __init__(self: Env[str], name: str, *, default: Any = ..., description: str = ...) -> None: ...
    @overload
    def __init__(
        self, name: str, *, type: Callable[[Any], T], default: Any = ..., description: str = ...
    ) -> None: ...
    @explains_calls
    def __init__(
        self,
        name: str,
        *,
        type: Callable[[Any], Any] = str,  # noqa: A002 - the name users expect
        default: Any = _REQUIRED,
        description: str = "",
    ) -> None:
        super().__init__(name, type=type, default=default, description=description)


def read_inputs(
    inputs: Iterable[Input], params: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[Input, Any]:
    """Return the value of each input, converted.

    :raises InputsError: once for all inputs that are missing, unknown or cannot be converted.
    """
    wanted = list(inputs)
    values: dict[Input, Any] = {}
    problems = _unknown(wanted, params) | _contradictions(wanted)
    for source in wanted:
        given = environ if source.from_environment else params
        if source.name in given:
            if _holds_lazy(given[source.name]):
                problems[f"the value of {_described(source)} is or holds a lazy result"] = (
                    "pass the lazy result to the task itself, in place of the input"
                )
                continue
            try:
                values[source] = _converted(source, given[source.name])
            except Exception as exc:  # whatever a user's own conversion raises
                problems[f"{_described(source)} cannot be converted"] = f"{type(exc).__name__}: {exc}"
        elif source.required:
            problems[f"{_described(source)} is missing"] = _remedy(source)
        else:
            values[source] = source.default
    if problems:
        raise InputsError(problems)
    return values


def _unknown(wanted: list[Input], params: Mapping[str, Any]) -> dict[str, str]:
    known = sorted({source.name for source in wanted if not source.from_environment})
    takes = f"the target takes {', '.join(known)}" if known else "the target takes none"
    return {
        f"parameter {name!r} is unknown{_nearest(name, known)} ({takes})": ""
        for name in params
        if name not in known
    }


def _nearest(name: str, known: list[str]) -> str:
    near = nearest(str(name), known)
    return f"; did you mean {near!r}?" if near else ""


def _contradictions(wanted: list[Input]) -> dict[str, str]:
    """Return the inputs that are declared more than once, and differently."""
    first: dict[tuple[bool, str], Input] = {}
    problems = {}
    for source in wanted:
        other = first.setdefault((source.from_environment, source.name), source)
        differ = [
            f"{name}s"
            for name in ("type", "default")
            if not _is_same(getattr(source, _FIELDS[name]), getattr(other, _FIELDS[name]))
        ]
        if differ:
            problems[f"{_described(source)} is declared twice with different {' and '.join(differ)}"] = (
                "declare it once, and use that object in each place"
            )
    return problems


def _is_same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:  # arrays, for one, have no single truth
        return False


def _holds_lazy(value: object) -> bool:
    try:
        return bool(find_lazies(value))
    except UsageError:
        return True


_FIELDS = {"type": "convert", "default": "default"}


def _described(source: Input) -> str:
    kind = "environment variable" if source.from_environment else "parameter"
    return f"{kind} {source.name!r}" + (f" ({source.description})" if source.description else "")


def _remedy(source: Input) -> str:
    return (
        "set it or give it a default" if source.from_environment else f"pass params={{{source.name!r}: ...}}"
    )


def _converted(source: Input, value: Any) -> Any:
    kind = source.convert
    if isinstance(kind, type) and type(value) is kind:
        return value
    if kind is bool:
        return _truth(value)
    return kind(value)


def _truth(value: Any) -> bool:
    text = str(value).strip().lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError("it is not a boolean; write true or false")
