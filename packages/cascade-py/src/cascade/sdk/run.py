"""Run a graph from ordinary synchronous code, or from inside a running event loop."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from cascade.interfaces.errors import ConfigurationError, UsageError
from cascade.interfaces.text import meant
from cascade.interfaces.tracebacks import begin_in_user_code
from cascade.sdk import plugins
from cascade.sdk.run_settings import Settings
from cascade.sdk.signals import run_guarded

if TYPE_CHECKING:
    from cascade.interfaces import Connector, Executor
    from cascade.runtime import Engine, SqliteCache
    from cascade.sdk.overloads import awaits_targets, runs_targets
    from cascade.spec import LazyResult
else:  # what only a type checker needs takes a millisecond of each start

    def runs_targets(function: Any) -> Any:
        """Return the function."""
        return function

    awaits_targets = runs_targets

_POSITIONAL = ("target", "params", "system_resources", "connector")
_DEFAULTS: Mapping[str, Any] = {
    "resources": (),
    "require_control": False,
    "middleware": (),
    "gates": (),
    "observers": (),
    "host_report": True,
    "stop_timeout": 2.0,
    "close_timeout": 30.0,
    "on_failure": "stop",
    "progress": False,
    "resume": "auto",
    "on_change": "refuse",
    "max_starts": 5,
    "forget_control": False,
}
"""Those of the engine, for ``help()``, because its import is slow; the default of every other setting is None."""

_OF_ENGINE_RUN = (  # the other settings are the engine's
    "run_id",
    "name",
    "tags",
    "on_failure",
    "progress",
    "resume",
    "on_change",
    "max_starts",
    "forget_control",
    "workflow",
    "traceparent",
)


@runs_targets
def run(
    target: LazyResult[Any] | Sequence[LazyResult[Any]],
    params: Mapping[str, Any] | None = None,
    system_resources: Mapping[str, float] | None = None,
    connector: Connector | str | None = None,
    **settings: Unpack[Settings],
) -> Any:
    """Run what ``target`` needs and return its value; a list of targets gives a list, a tuple a tuple.

    ``params`` are the values of ``cs.Param`` inputs, ``system_resources`` how much there is of
    what ``with_constraints`` asks for. ``connector`` may also be a URL such as
    ``"mqtt://broker"``. The settings are those of :class:`cascade.Engine` and ``Engine.run``, such
    as ``run_id="night-7"``, ``tags={"line": 3}`` or ``middleware=[around]``; with ``state="runs"`` the run is
    recorded in that folder, and continues there when it is run again with its ``run_id``. Ctrl-C, SIGTERM and
    SIGHUP (in the main thread) cancel the run: its last events are sent before this returns. A
    second one ends it at once. What does not stop within ``stop_timeout``, and resources within
    ``close_timeout``, is named in a warning and left behind.

    :raises UsageError: inside a running event loop; use ``await cs.arun(...)`` there. Also while a worker or
        the command ``cascade`` imports the program.
    :raises InvalidTargetError: if a target is not a lazy result.
    :raises InputsError: once for all inputs that are missing, unknown or wrong.
    :raises Exception: what the first task that failed had raised, with a note that names it.
    :raises KeyboardInterrupt: after Ctrl-C.
    :raises RunCancelledError: if a constraint has cancelled the run.
    :raises SystemExit: with status 143 after SIGTERM, 129 after SIGHUP.
    """
    if in_event_loop():
        raise UsageError("cs.run(...) cannot run inside a running event loop; write: await cs.arun(...)")
    refuse_mistakes("run", (params, system_resources, connector), settings)
    refuse_import()
    try:
        return run_guarded(
            lambda: arun(target, params, system_resources, connector, **settings),
            close_timeout=_stop_timeout(settings),
        )
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error.__context__, asyncio.CancelledError):
            # Ctrl-C has cancelled our own coroutine
            error.__suppress_context__ = True
        raise begin_in_user_code(error)  # noqa: B904 - the same error


@awaits_targets
async def arun(
    target: LazyResult[Any] | Sequence[LazyResult[Any]],
    params: Mapping[str, Any] | None = None,
    system_resources: Mapping[str, float] | None = None,
    connector: Connector | str | None = None,
    **settings: Unpack[Settings],
) -> Any:
    """Do what :func:`run` does inside a running event loop (a notebook); signals are left alone.

    :raises InvalidTargetError: if a target is not a lazy result.
    """
    refuse_mistakes("arun", (params, system_resources, connector), settings)
    refuse_import()
    opened = await open_engine({**settings, "system_resources": system_resources}, connector)
    try:
        return await opened.engine.run(target, params, **opened.of_run)
    finally:
        await opened.close()


class OpenedEngine:
    """An engine, the settings of its runs, and what was made for it."""

    def __init__(
        self, engine: Engine, of_run: dict[str, Any], made: list[SqliteCache | Executor | None]
    ) -> None:
        self.engine = engine
        self.of_run = of_run
        self._made = made

    async def close(self) -> None:
        """Close the cache and the executor that only a name or a file had given."""
        await _close(self._made)


async def open_engine(settings: Mapping[str, Any], connector: Connector | str | None) -> OpenedEngine:
    """Make an engine by the settings of :func:`run`; close it at the end."""
    given = dict(settings)
    of_run = {setting: given.pop(setting) for setting in _OF_ENGINE_RUN if setting in given}
    _take_state(given)
    given["connector"] = plugins.connector(connector) if isinstance(connector, str) else connector
    if isinstance(folder := given.get("outbox"), str | os.PathLike):
        from cascade.runtime import Outbox

        given["outbox"] = Outbox(folder)
    if observers := given.get("observers"):
        given["observers"] = plugins.observers(observers)
    made = [_take_cache(given), _take_executor(given)]
    try:
        return OpenedEngine(_engine(given), of_run, made)
    except BaseException:
        await _close(made)
        raise


async def _close(made: list[SqliteCache | Executor | None]) -> None:
    for each in made:
        if each is not None:
            await each.close()


def _engine(given: dict[str, Any]) -> Engine:
    """Make the engine of one run; an error names the keyword of the run."""
    # here, so that importing the SDK stays quick
    from cascade.runtime import Engine

    try:
        return Engine(**given)
    except ConfigurationError as error:
        if not error.setting.startswith("Engine("):
            raise
        problem = str(error).removeprefix(f"{error.setting}: ")
        raise ConfigurationError(error.setting.replace("Engine(", "run(", 1), problem) from None


def _stop_timeout(settings: Settings) -> float | None:
    limit = settings.get("stop_timeout")
    # The engine rejects a limit of another type.
    return limit if isinstance(limit, int | float) else None


def _take_state(given: dict[str, Any]) -> None:
    """Make the state of a folder, if one is named."""
    folder = _take_path(given, "state", "state_backend", "a folder, such as 'runs'")
    if folder is not None:
        from cascade.runtime import SqliteState

        given["state_backend"] = SqliteState(folder)


def _take_cache(given: dict[str, Any]) -> SqliteCache | None:
    """Make the cache in a file, if one is named; the run closes it."""
    file = _take_path(given, "cache", "cache_backend", "a file, such as 'cache.db'")
    if file is None:
        return None
    from cascade.runtime import SqliteCache

    made = given["cache_backend"] = SqliteCache(file)
    return made


def _take_path(given: dict[str, Any], short: str, backend: str, needed: str) -> str | os.PathLike[str] | None:
    """Remove and return the path that stands for a backend; None if none is named."""
    path = given.pop(short, None)
    if path is None:
        return None
    if given.get(backend) is not None:
        raise UsageError(
            f"run({short}=) and run({backend}=) are two ways to name one thing; give one of them"
        )
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ConfigurationError(f"run({short}=)", f"needs {needed}", value=path)
    return path


def _take_executor(given: dict[str, Any]) -> Executor | None:
    """Make the executor, if only its name is given; the run closes it."""
    named = given.get("executor")
    if not isinstance(named, str):
        return None
    made = given["executor"] = plugins.executor(named)
    return made


def refuse_mistakes(function: str, others: tuple[Any, ...], settings: Settings) -> None:
    """Refuse further targets that are not in a list, and settings that do not exist, with the form that does."""
    if any(hasattr(type(other), "run_if") for other in others):
        raise UsageError(f"cs.{function}(...) takes several targets as a list: cs.{function}([a, b])")
    refuse_unknown(function, settings.keys(), Settings.__annotations__)


def refuse_unknown(function: str, given: Collection[str], known: Collection[str]) -> None:
    """Refuse settings that do not exist, with the nearest one that does.

    :raises TypeError: naming the first of them in the order of the alphabet.
    """
    unknown = min({*given} - {*known}, default=None)
    if unknown is None:
        return
    remedy = f"; write {_OTHER_FORMS[unknown]}" if unknown in _OTHER_FORMS else ""
    remedy = remedy or meant(unknown, (*_POSITIONAL, *Settings.__annotations__), "{}=")
    remedy = (
        remedy
        or f"; for an input of the target write params={{{unknown!r}: ...}}; help(cs.run) lists the settings"
    )
    raise TypeError(f"{function}() got an unexpected keyword argument {unknown!r}{remedy}")


_OTHER_FORMS = {
    **dict.fromkeys(("broker", "url", "mqtt", "host", "hostname"), "connector='mqtt://broker'"),
    **dict.fromkeys(
        ("source_id", "sourceid", "source", "engine", "engine_name"),
        "the engine's name into the URL: connector='mqtt://broker?source_id=press-3'",
    ),
    "cache_file": "cache='cache.db'",
    **dict.fromkeys(("workers", "max_workers", "threads", "concurrency"), "executor=cs.ThreadExecutor(4)"),
    "processes": "executor=cs.ProcessExecutor(4)",
    "timeout": "task.with_timeout(seconds) where the task is called",
    "retries": "task.with_retry(3) where the task is called",
    "rate": "task.with_rate('20/s') where the task is called",
}
"""What people call something that is set elsewhere, and its form."""


def refuse_import() -> None:
    """Refuse a run that begins because a worker or the command imports the program: the program runs already."""
    if "multiprocessing.process" not in sys.modules:
        # its import takes longer than that of the whole SDK, and whatever imports a program has paid it
        return
    from cascade.interfaces.main_module import GUARD, is_importing_main

    if is_importing_main():
        raise UsageError(f"a run starts while the program is imported; put it under `{GUARD}`")


def in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def signature_of_run() -> inspect.Signature:
    """Return the signature of both functions that lists every setting: for ``help()`` and completion."""
    signature = inspect.signature(run)
    positional = [signature.parameters[name] for name in _POSITIONAL]
    # its types are those of the forms that return a value; the other form gives a RunResult
    shown = {"on_failure": "Literal['stop', 'continue', 'return']"}
    settings = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_DEFAULTS.get(name),
            annotation=shown.get(name, annotation),
        )
        for name, annotation in inspect.get_annotations(Settings).items()
    ]
    return signature.replace(parameters=[*positional, *settings])


run.__signature__ = arun.__signature__ = signature_of_run()  # type: ignore[attr-defined]
