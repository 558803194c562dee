"""The types of functions that run targets: the value of each target is known, whichever of their forms is given."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from cascade.interfaces import Connector, RunResult
from cascade.spec import LazyResult

if TYPE_CHECKING:
    from cascade.sdk.run_settings import OtherSettings

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
R = TypeVar("R")
P = ParamSpec("P")
T = LazyResult  # short, so that a type checker's list of the forms can be read

Params = Mapping[str, Any] | None
Amounts = Mapping[str, float] | None
Broker = Connector | str | None

# A lazy result derives from Any, and a tuple is a sequence: so the forms overlap, and the first one counts.
# Each form names every setting. With **kwargs: Any, one form for tuples would also take a single lazy result, with
# whatever it is given; and because no form takes a misspelled setting, mypy says which it is, and what was meant.


class RunsTargets(Protocol[P]):
    """Takes a target, a tuple or a list of them, and further arguments; returns the value or values."""

    @overload
    def __call__(
        self,
        target: T[R],
        /,
        params: Params = None,
        system_resources: Amounts = None,
        connector: Broker = None,
        *,
        on_failure: Literal["return"],
        **settings: Unpack[OtherSettings],
    ) -> RunResult[R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        target: Sequence[T[R]],
        /,
        params: Params = None,
        system_resources: Amounts = None,
        connector: Broker = None,
        *,
        on_failure: Literal["return"],
        **settings: Unpack[OtherSettings],
    ) -> RunResult[Sequence[R]]: ...
    @overload
    def __call__(self, target: T[R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, target: tuple[T[A], T[B]], /, *args: P.args, **kwargs: P.kwargs
    ) -> tuple[A, B]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, target: tuple[T[A], T[B], T[C]], /, *args: P.args, **kwargs: P.kwargs
    ) -> tuple[A, B, C]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, target: tuple[T[A], T[B], T[C], T[D]], /, *args: P.args, **kwargs: P.kwargs
    ) -> tuple[A, B, C, D]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, target: tuple[T[A], T[B], T[C], T[D], T[E]], /, *args: P.args, **kwargs: P.kwargs
    ) -> tuple[A, B, C, D, E]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, target: tuple[T[R], ...], /, *args: P.args, **kwargs: P.kwargs
    ) -> tuple[R, ...]: ...
    @overload
    def __call__(self, target: Sequence[T[R]], /, *args: P.args, **kwargs: P.kwargs) -> list[R]: ...


class AwaitsTargets(Protocol[P]):
    """Does what :class:`RunsTargets` does, in a coroutine."""

    @overload
    def __call__(
        self,
        target: T[R],
        /,
        params: Params = None,
        system_resources: Amounts = None,
        connector: Broker = None,
        *,
        on_failure: Literal["return"],
        **settings: Unpack[OtherSettings],
    ) -> Coroutine[Any, Any, RunResult[R]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,
        target: Sequence[T[R]],
        /,
        params: Params = None,
        system_resources: Amounts = None,
        connector: Broker = None,
        *,
        on_failure: Literal["return"],
        **settings: Unpack[OtherSettings],
    ) -> Coroutine[Any, Any, RunResult[Sequence[R]]]: ...
    @overload
    def __call__(self, target: T[R], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, target: tuple[T[A], T[B]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, tuple[A, B]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, target: tuple[T[A], T[B], T[C]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, tuple[A, B, C]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, target: tuple[T[A], T[B], T[C], T[D]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, tuple[A, B, C, D]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, target: tuple[T[A], T[B], T[C], T[D], T[E]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, tuple[A, B, C, D, E]]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, target: tuple[T[R], ...], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, tuple[R, ...]]: ...
    @overload
    def __call__(
        self, target: Sequence[T[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, list[R]]: ...


def runs_targets(function: Callable[Concatenate[Any, P], Any]) -> RunsTargets[P]:
    """Return a function that runs targets with the types of what it returns."""
    return cast("RunsTargets[P]", function)


def awaits_targets(function: Callable[Concatenate[Any, P], Coroutine[Any, Any, Any]]) -> AwaitsTargets[P]:
    """Return a coroutine function that runs targets with the types of what it returns."""
    return cast("AwaitsTargets[P]", function)
