"""Run a workflow, print its result and what was remarkable, and return the exit code."""

from __future__ import annotations

import os
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from types import MappingProxyType
from typing import Any, NamedTuple

from cascade.cli._running.failure import as_object, frame_lines, in_one_line
from cascade.cli._running.keywords import in_words_of_the_command
from cascade.cli._running.result import as_json, show
from cascade.cli._running.run_ids import RunChoice, shown_time
from cascade.cli._running.summary import RunSummary
from cascade.cli._running.warnings import warnings_on_stderr
from cascade.cli.command import Settings
from cascade.cli.errors import CANCELLED, FAILED, OK, USAGE, CommandError, exit_code
from cascade.cli.link import Address
from cascade.cli.output import Output
from cascade.interfaces import (
    CascadeError,
    Connector,
    Failure,
    LifecycleEvent,
    RecordedStatus,
    RunCancelledError,
    RunResult,
    RunStatus,
    TaskCancelledError,
    TaskState,
    TaskStateEvent,
)
from cascade.interfaces.tracebacks import show_arguments
from cascade.runtime.starting import Target

EVENTS_DRAIN = 5.0
"""Seconds that the file of events may take at the end."""


class Plan(NamedTuple):
    """How a workflow is run."""

    address: Address | None = None
    source: str | None = None
    keywords: Mapping[str, Any] = MappingProxyType({})
    """Of ``cs.run``, as options and the file give them."""
    declared: frozenset[str] = frozenset()
    """Those that the file gives, and no option."""
    events: str | None = None
    quiet: bool = False
    choice: RunChoice = RunChoice()


def run_workflow(target: Target, values: Mapping[str, Any], plan: Plan, settings: Settings) -> int:
    """Run ``target`` with the ``values`` of its inputs; the exit code says how the run ended.

    :raises CommandError: if the run could not begin.
    :raises KeyboardInterrupt: after Ctrl-C.
    :raises SystemExit: after SIGTERM or SIGHUP.
    """
    from cascade import EventBus
    from cascade.runtime import check_inputs, inputs_of
    from cascade.spec import targets_of

    # the file's settings are for all its workflows
    known = {each.name for each in inputs_of(targets_of(target))}
    declared = (plan.keywords.get("params") or {}).items()
    values = {**{name: value for name, value in declared if name in known}, **values}
    if plan.choice.recorded is None:
        with _named_as_options(plan):
            check_inputs(targets_of(target), values, os.environ)
    connector = connector_of(plan)
    bus, summary = plan.keywords.get("bus") or EventBus(), RunSummary()
    bus.subscribe(LifecycleEvent, summary.lifecycle)
    bus.subscribe(TaskStateEvent, summary.task)
    _note_choice(plan, settings.output)
    shown = show_arguments() if settings.debug else nullcontext()
    with warnings_on_stderr(settings.output, debug=settings.debug), shown:
        value, error = _outcome(lambda: _run(target, values, plan, bus, connector))
        if error is not None and not summary.started:
            with _named_as_options(plan):
                raise error
        if error is None:
            _note_old_result(plan, summary, settings.output)
        for line in () if plan.quiet else summary.remarks():
            settings.output.note(line)
        # the last line names the failure that has ended the run
        failures = summary.failures(
            but_first=isinstance(error, Exception),
            but_alike=plan.keywords.get("on_failure", "stop") == "stop",
        )
        for line in failures:
            settings.output.note(line)
    _report(value, error, summary, settings, plan)
    if isinstance(error, KeyboardInterrupt | SystemExit):
        raise error
    return {RunStatus.SUCCEEDED: OK, RunStatus.CANCELLED: CANCELLED}.get(_status(summary, error), FAILED)


def _note_choice(plan: Plan, output: Output) -> None:
    """Say which run goes on, also with ``--quiet``, and which id was made."""
    run_id, recorded, made = plan.choice
    if recorded is not None and recorded.status is not RecordedStatus.SUCCEEDED:
        output.note(
            f"cascade: run {run_id} began on {shown_time(recorded.created)} and goes on where it stopped"
        )
    elif made and not plan.quiet:
        output.note(f"cascade: the run is {run_id}; if it is interrupted, --continue goes on with it")


def _note_old_result(plan: Plan, summary: RunSummary, output: Output) -> None:
    """Say that the result is an earlier one, also with ``--quiet``: otherwise every night looks like the first one."""
    recorded = plan.choice.recorded
    if (
        recorded is not None
        and recorded.status is RecordedStatus.SUCCEEDED
        and plan.keywords.get("on_change") != "rerun"
    ):
        ended = shown_time(recorded.ended or recorded.created)
        ran = summary.counts[TaskState.COMPLETED.value]
        what = "its result is returned, nothing ran"
        if ran:
            tasks = "1 task that has none" if ran == 1 else f"{ran} tasks that have none"
            what = f"its recorded results are used, and {tasks} ran"
        output.note(f"cascade: run {recorded.run_id} ended on {ended}; {what}")


def _outcome(run: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """Return the values that there are, and what ended the run otherwise; a signal is reported like an error first."""
    try:
        value = run()
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return None, error
    return (value.values, value.error) if isinstance(value, RunResult) else (value, None)


def _run(
    target: Target, values: Mapping[str, Any], plan: Plan, bus: Any, connector: Connector | str | None
) -> Any:
    """Run on an event loop of its own, which signals cancel."""
    from cascade import arun
    from cascade.sdk.signals import run_guarded

    keywords: dict[str, Any] = {"progress": not plan.quiet, **plan.keywords, "bus": bus}
    for name in ("params", "connector"):
        keywords.pop(name, None)

    async def work() -> Any:
        async with _events_written(bus, plan.events):
            return await arun(target, values, keywords.pop("system_resources", None), connector, **keywords)

    return run_guarded(work)


@asynccontextmanager
async def _events_written(bus: Any, path: str | None) -> AsyncIterator[None]:
    """Write each event to a file, beside what a connector sends."""
    if path is None:
        yield
        return
    from cascade import FileConnector, TelemetrySubscriber

    async with FileConnector(path) as file:
        subscriber = TelemetrySubscriber(bus, file)
        try:
            yield
        finally:
            await subscriber.drain(EVENTS_DRAIN)
            subscriber.close()


def connector_of(plan: Plan) -> Connector | str | None:
    """Return the connector that a plan names, as an object or as the text that the file has.

    :raises CommandError: if an engine name is given, and no broker.
    """
    declared = plan.keywords.get("connector")
    if plan.address is None and isinstance(declared, str) and plan.source is not None:
        plan = plan._replace(address=Address(declared))
    if plan.address is None:
        if plan.source is not None:
            raise CommandError(
                "--name is the name at the broker, and no broker is named",
                "pass --broker mqtt://localhost, or set CASCADE_BROKER",
                code=USAGE,
            )
        found: Connector | str | None = declared
        return found
    if plan.source is None:
        return plan.address.connector()
    try:
        return plan.address.connector(source_id=plan.source)
    except TypeError as error:
        if "source_id" not in str(error):
            raise
        kind = plan.address.url.partition(":")[0]
        raise CommandError(f"a {kind} connector takes no name", "leave --name out", code=USAGE) from error


def _report(
    value: Any, error: BaseException | None, summary: RunSummary, settings: Settings, plan: Plan
) -> None:
    output, status = settings.output, _status(summary, error)
    failed = error if isinstance(error, Exception) else None
    # a signal came while the last messages were sent
    without_value = status is RunStatus.SUCCEEDED and error is not None and failed is None
    if without_value:
        is_recorded = {"state", "state_backend"} & plan.keywords.keys()
        remedy = f"run it again with the id {summary.run_id} to get it" if is_recorded else "it is lost"
        output.note(f"cascade: the run succeeded, and a signal came before its result was here; {remedy}")
    if output.json:
        document: dict[str, Any] = {"run_id": summary.run_id, "status": status.value}
        if not without_value:
            document["result"] = as_json(value)
        document["counts"] = dict(summary.counts)
        if failed is not None:
            document["error"] = as_object(failed, summary.error)
        output.document(document)
    elif not (without_value or isinstance(value, Failure)):
        show(value, output)
    if failed is None:
        return
    if settings.debug:
        traceback.print_exception(failed)
    elif not output.json:
        for line in frame_lines(failed):
            output.note(line)
    text = in_one_line(failed, summary.error)
    if isinstance(failed, CascadeError):
        text = in_words_of_the_command(text, plan.declared)
    output.note(f"cascade: the run {_ENDED[status]}: {text}")


@contextmanager
def _named_as_options(plan: Plan) -> Iterator[None]:
    """Have an error of Cascade name options in the place of keywords."""
    try:
        yield
    except CascadeError as error:
        text = in_words_of_the_command(str(error), plan.declared)
        if isinstance(error, CommandError) or text == str(error):
            raise
        raise CommandError(text, code=exit_code(error)) from error


_ENDED = {RunStatus.SUCCEEDED: "ended", RunStatus.FAILED: "failed", RunStatus.CANCELLED: "was cancelled"}


def _status(summary: RunSummary, error: BaseException | None) -> RunStatus:
    """Return how the run ended: without a cancel it has failed, also if its event loop broke under it."""
    cancelled = isinstance(error, RunCancelledError | TaskCancelledError) or not isinstance(error, Exception)
    if summary.status in (None, RunStatus.CANCELLED):
        return RunStatus.CANCELLED if cancelled else RunStatus.FAILED
    return summary.status
