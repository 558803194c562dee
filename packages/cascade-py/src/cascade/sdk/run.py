"""Run a graph from ordinary synchronous code, or from inside a running event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar, Unpack, overload

from cascade.interfaces.errors import UsageError
from cascade.sdk import plugins
from cascade.sdk._signals import Termination
from cascade.spec import LazyResult, Resource

if TYPE_CHECKING:
    from cascade.interfaces import CacheBackend, Clock, Connector, EventBus, Executor

R = TypeVar("R")


class Settings(TypedDict, total=False):
    """What a run may be given beside its target; see :class:`cascade.Engine`."""

    executor: Executor | str | None
    """Also a name: ``"thread"``, ``"process"``, ``"dask"``, or that of any other that is installed."""
    executors: Mapping[str, Executor]
    resources: Sequence[Resource]
    cache_backend: CacheBackend
    require_control: bool
    bus: EventBus
    clock: Clock
    stop_timeout: float
    close_timeout: float
    on_failure: Literal["stop", "continue"]


@overload
def run(
    target: LazyResult[R],
    params: Mapping[str, Any] | None = None,
    system_resources: Mapping[str, float] | None = None,
    connector: Connector | str | None = None,
    **settings: Unpack[Settings],
) -> R: ...
@overload
def run(
    target: Sequence[LazyResult[R]],
    params: Mapping[str, Any] | None = None,
    system_resources: Mapping[str, float] | None = None,
    connector: Connector | str | None = None,
    **settings: Unpack[Settings],
) -> list[R]: ...
def run(
    target: LazyResult[Any] | Sequence[LazyResult[Any]],
    params: Mapping[str, Any] | None = None,
    system_resources: Mapping[str, float] | None = None,
    connector: Connector | str | None = None,
    **settings: Unpack[Settings],
) -> Any:
    """Run what ``target`` needs and return its value; a list of targets gives a list.

    ``params`` are the values of ``cs.Param`` inputs, ``system_resources`` how much there is of
    what ``with_constraints`` asks for. ``connector`` may also be a URL such as
    ``"mqtt://broker"``. Ctrl-C and SIGTERM (in the main thread) cancel the run: its last events
    are sent before this returns. A second one ends it at once.

    :raises UsageError: inside a running event loop; use ``await cs.arun(...)`` there.
    :raises InvalidTargetError: if a target is no lazy result.
    :raises InputsError: once for all inputs that are missing, unknown or wrong.
    :raises Exception: what the first task that failed had raised, with a note that names it.
    :raises KeyboardInterrupt: after Ctrl-C.
    :raises SystemExit: with status 143 after SIGTERM.
    """
    if _in_event_loop():
        raise UsageError("cs.run(...) cannot run inside a running event loop; write: await cs.arun(...)")
    from cascade.runtime.loops import new_event_loop  # here, so that importing the SDK stays quick

    with Termination() as termination, asyncio.Runner(loop_factory=new_event_loop) as runner:
        work = arun(target, params, system_resources, connector, **settings)
        return runner.run(termination.guard(work))


@overload
async def arun(
    target: LazyResult[R],
    params: Mapping[str, Any] | None = None,
    system_resources: Mapping[str, float] | None = None,
    connector: Connector | str | None = None,
    **settings: Unpack[Settings],
) -> R: ...
@overload
async def arun(
    target: Sequence[LazyResult[R]],
    params: Mapping[str, Any] | None = None,
    system_resources: Mapping[str, float] | None = None,
    connector: Connector | str | None = None,
    **settings: Unpack[Settings],
) -> list[R]: ...
async def arun(
    target: LazyResult[Any] | Sequence[LazyResult[Any]],
    params: Mapping[str, Any] | None = None,
    system_resources: Mapping[str, float] | None = None,
    connector: Connector | str | None = None,
    **settings: Unpack[Settings],
) -> Any:
    """Do what :func:`run` does inside a running event loop (a notebook); signals are left alone.

    :raises InvalidTargetError: if a target is no lazy result.
    """
    from cascade.runtime import Engine  # here for the same reason

    _refuse_unknown(settings)
    given: dict[str, Any] = {**settings, "system_resources": system_resources}
    on_failure = given.pop("on_failure", "stop")
    given["connector"] = plugins.connector(connector) if isinstance(connector, str) else connector
    named = given.get("executor")
    if not isinstance(named, str):
        return await Engine(**given).run(target, params, on_failure=on_failure)
    executor = given["executor"] = plugins.executor(named)
    try:
        return await Engine(**given).run(target, params, on_failure=on_failure)
    finally:
        await executor.close()


def _refuse_unknown(settings: Settings) -> None:
    unknown = sorted(settings.keys() - Settings.__annotations__.keys())
    if unknown:
        known = ", ".join(sorted(Settings.__annotations__))
        raise TypeError(f"run() got an unexpected keyword argument {unknown[0]!r}; it takes {known}")


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
