"""Run a graph from ordinary synchronous code, or from inside a running event loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any, TypeVar, overload

from cascade.interfaces import Connector, EventBus, Executor, UsageError
from cascade.sdk._signals import Termination
from cascade.sdk.connectors import connector as make_connector
from cascade.spec import LazyResult

R = TypeVar("R")


@overload
def run(
    target: LazyResult[R],
    *,
    connector: Connector | str | None = None,
    executor: Executor | None = None,
    bus: EventBus | None = None,
) -> R: ...
@overload
def run(
    target: Sequence[LazyResult[R]],
    *,
    connector: Connector | str | None = None,
    executor: Executor | None = None,
    bus: EventBus | None = None,
) -> list[R]: ...
def run(
    target: LazyResult[Any] | Sequence[LazyResult[Any]],
    *,
    connector: Connector | str | None = None,
    executor: Executor | None = None,
    bus: EventBus | None = None,
) -> Any:
    """Run what ``target`` needs and return its value; a list of targets gives a list.

    ``connector`` may also be a URL such as ``"mqtt://broker"``. Ctrl-C and SIGTERM (in the main
    thread) cancel the run: its last events are sent before this returns. A second one ends it
    at once.

    :raises UsageError: inside a running event loop; use ``await cs.arun(...)`` there.
    :raises InvalidTargetError: if a target is no lazy result.
    :raises KeyboardInterrupt: after Ctrl-C.
    :raises SystemExit: with status 143 after SIGTERM.
    """
    if _in_event_loop():
        raise UsageError("cs.run(...) cannot run inside a running event loop; write: await cs.arun(...)")
    loop_factory = asyncio.SelectorEventLoop if sys.platform == "win32" else None  # aiomqtt needs add_reader
    with Termination() as termination, asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(termination.guard(arun(target, connector=connector, executor=executor, bus=bus)))


@overload
async def arun(
    target: LazyResult[R],
    *,
    connector: Connector | str | None = None,
    executor: Executor | None = None,
    bus: EventBus | None = None,
) -> R: ...
@overload
async def arun(
    target: Sequence[LazyResult[R]],
    *,
    connector: Connector | str | None = None,
    executor: Executor | None = None,
    bus: EventBus | None = None,
) -> list[R]: ...
async def arun(
    target: LazyResult[Any] | Sequence[LazyResult[Any]],
    *,
    connector: Connector | str | None = None,
    executor: Executor | None = None,
    bus: EventBus | None = None,
) -> Any:
    """Do what :func:`run` does inside a running event loop (a notebook); signals are left alone.

    :raises InvalidTargetError: if a target is no lazy result.
    """
    from cascade.runtime import Engine  # here, so that importing the SDK stays quick

    link = make_connector(connector) if isinstance(connector, str) else connector
    return await Engine(connector=link, executor=executor, bus=bus).run(target)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
