"""Values that come from outside when a run begins: parameters and environment variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from cascade.interfaces.errors import ConfigurationError, InputsError
from cascade.spec.definition import structural
from cascade.spec.lazy import Call, LazyResult

T = TypeVar("T")


class _Default(Enum):
    """An enum, because a pickled one is still itself."""

    NONE = "none: the input is required"


_REQUIRED: Any = _Default.NONE
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """Where a value comes from, and what it has to be."""

    name: str
    from_environment: bool
    convert: Callable[[Any], Any]
    default: Any
    description: str

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is _REQUIRED


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class InputCall(Call):
    """A value that comes from outside when the run begins."""

    source: Input


class Param(LazyResult[T], Generic[T]):
    """A value that the caller gives: ``cs.run(target, params={"name": value})``.

    ``type`` is called with a value that is not of that type yet; ``bool`` understands 1, true,
    yes, on and their opposites. Only what the target itself asks for can be given; in a step
    that a task returns, the value is that given under the name, else the default.

    :raises ConfigurationError: if the name is empty or the type cannot be called.
    """

    __slots__ = ()

    def __init__(
        self,
        name: str,
        *,
        default: Any = _REQUIRED,
        type: Callable[[Any], T] = str,  # type: ignore[assignment] # noqa: A002 - the name users expect
        description: str = "",
    ) -> None:
        super().__init__(_input_call("Param", name, default, type, description))


class Env(LazyResult[T], Generic[T]):
    """A value from an environment variable; see :class:`Param`.

    It is read when the run begins; in a step that a task returns, when that comes.

    :raises ConfigurationError: if the name is empty or the type cannot be called.
    """

    __slots__ = ()

    def __init__(
        self,
        name: str,
        *,
        default: Any = _REQUIRED,
        type: Callable[[Any], T] = str,  # type: ignore[assignment] # noqa: A002 - the name users expect
        description: str = "",
    ) -> None:
        super().__init__(_input_call("Env", name, default, type, description))


def read_inputs(
    inputs: Iterable[Input], params: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[Input, Any]:
    """Return the value of each input, converted.

    :raises InputsError: once for everything that is missing, unknown or cannot be converted.
    """
    wanted = list(inputs)
    values: dict[Input, Any] = {}
    problems = _unknown(wanted, params)
    for source in wanted:
        given = environ if source.from_environment else params
        if source.name in given:
            try:
                values[source] = _converted(source, given[source.name])
            except Exception as exc:  # whatever a user's own conversion raises
                problems[f"{_told(source)} cannot be converted"] = f"{type(exc).__name__}: {exc}"
        elif source.required:
            problems[f"{_told(source)} is missing"] = ""
        else:
            values[source] = source.default
    if problems:
        raise InputsError(problems)
    return values


def _unknown(wanted: list[Input], params: Mapping[str, Any]) -> dict[str, str]:
    known = sorted({source.name for source in wanted if not source.from_environment})
    takes = f"the target takes {', '.join(known)}" if known else "the target takes none"
    return {f"parameter {name!r} is unknown ({takes})": "" for name in params if name not in known}


def _told(source: Input) -> str:
    kind = "environment variable" if source.from_environment else "parameter"
    return f"{kind} {source.name!r}" + (f" ({source.description})" if source.description else "")


def _converted(source: Input, value: Any) -> Any:
    kind = source.convert
    if isinstance(kind, type) and type(value) is kind:
        return value
    if kind is bool:
        return _truth(value)
    return kind(value)


def _truth(value: Any) -> bool:
    word = str(value).strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError("is neither true nor false")


def _input_call(
    kind: str, name: str, default: Any, convert: Callable[[Any], Any], description: str
) -> InputCall:
    if not isinstance(name, str) or not name:
        raise ConfigurationError(f"{kind}(name)", f"needs a text, not {name!r}")
    if not callable(convert):
        raise ConfigurationError(f"{kind}(type=)", f"needs a type or a function, not {convert!r}")
    source = Input(name, kind == "Env", convert, default, description)
    return InputCall(structural(convert, name), source=source)
