"""The settings of a run beside its target, for type checkers, and their names for everything else."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from typing import Any, TypedDict

    from cascade.interfaces import (
        CacheBackend,
        Clock,
        Connector,
        EventBus,
        Executor,
        Middleware,
        Redactor,
        StateBackend,
    )
    from cascade.interfaces.gates import Gate
    from cascade.interfaces.observer import Observer
    from cascade.runtime import Outbox
    from cascade.spec import Resource
else:

    class TypedDict:
        """Keeps the annotations as text: to make a real one of so many takes half a millisecond of each start."""

        def __init_subclass__(cls, *, total: bool) -> None:
            """Take what a real one takes, and have the keys of those that it adds to."""
            classes = reversed(cls.__mro__[:-2])
            cls.__annotations__ = {
                key: kind for each in classes for key, kind in each.__annotations__.items()
            }


class OtherSettings(TypedDict, total=False):
    """Settings of a run beside its target and ``on_failure``; see :class:`cascade.Engine` and its ``run``."""

    executor: Executor | str | None
    """Also a name: ``"thread"``, ``"process"``, ``"dask"``, or that of any other that is installed."""
    executors: Mapping[str, Executor] | None
    resources: Sequence[Resource]
    cache_backend: CacheBackend | None
    cache: str | os.PathLike[str] | None
    """File of cached values: short for ``cache_backend=SqliteCache(file)``."""
    state_backend: StateBackend | None
    state: str | os.PathLike[str] | None
    """Folder in which the run is recorded: short for ``state_backend=SqliteState(folder)``."""
    require_control: bool
    middleware: Sequence[Middleware]
    gates: Sequence[Gate]
    observers: Sequence[Observer | str]
    """Also names: ``"otel"``, or that of any other that is installed."""
    redactor: Redactor | None
    outbox: Outbox | str | os.PathLike[str] | None
    """Also the folder alone."""
    labels: Mapping[str, str | float | bool] | None
    host_report: bool
    logs: str | None
    bus: EventBus | None
    clock: Clock | None
    stop_timeout: float
    close_timeout: float
    run_id: str | None
    name: str | None
    tags: Mapping[str, str | float | bool] | None
    progress: bool
    resume: Literal["auto", "cancelled"]
    on_change: Literal["refuse", "rerun", "keep"]
    max_starts: int | None
    forget_control: bool
    workflow: str | None
    traceparent: str | None


class Settings(OtherSettings, total=False):
    """Settings of a run that raises what has failed; with ``on_failure="return"`` it returns a :class:`RunResult`."""

    on_failure: Literal["stop", "continue"]


class AllSettings(Settings, total=False):
    """Those that have a position in a call of :func:`run`, too."""

    params: Mapping[str, Any] | None
    system_resources: Mapping[str, float] | None
    connector: Connector | str | None
