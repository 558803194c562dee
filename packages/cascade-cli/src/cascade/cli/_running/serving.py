"""Serve the workflows of files, and print what is offered and what becomes of each run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascade.cli._running.run import Plan, connector_of
from cascade.cli._running.warnings import warnings_on_stderr
from cascade.cli.command import Settings
from cascade.cli.errors import OK
from cascade.cli.outcomes import how_it_ended
from cascade.cli.output import Output
from cascade.interfaces import Lifecycle, LifecycleEvent, Redactor
from cascade.spec import Workflow


def serve_workflows(
    workflows: Sequence[Workflow[..., Any]], plan: Plan, settings: Settings, *, drain: float
) -> int:
    """Serve until Ctrl-C, which ends well.

    :raises UsageError: if the workflows cannot be served like this.
    :raises SystemExit: with status 143 after SIGTERM.
    """
    from cascade import EventBus
    from cascade.sdk.serve import serve_offers
    from cascade.sdk.signals import run_guarded

    def begun() -> None:
        if not plan.quiet:
            names = ", ".join(each.name for each in workflows)
            settings.output.note(f"{plan.source or 'this engine'} offers {names}; Ctrl-C ends it")

    connector = connector_of(plan)
    keywords: Any = {**plan.keywords}
    for name in ("params", "connector"):
        keywords.pop(name, None)
    if not plan.quiet:
        bus = keywords["bus"] = keywords.get("bus") or EventBus()
        bus.subscribe(LifecycleEvent, RunLines(settings.output).lifecycle)
    with warnings_on_stderr(settings.output, debug=settings.debug):
        try:
            run_guarded(lambda: serve_offers(workflows, connector, keywords, drain=drain, begun=begun))
        except KeyboardInterrupt:
            return OK
    return OK


class RunLines:
    """Prints a line at the start and at the end of each run, with the words of ``cascade start``."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._began: dict[str, float] = {}

    def lifecycle(self, event: LifecycleEvent) -> None:
        """Print the start or the end of a run of a workflow."""
        if event.event is Lifecycle.ENGINE_STARTED:
            self._began[event.run_id] = event.timestamp
            self._output.note(f"{event.run_id} began")
            return
        seconds = max(event.timestamp - self._began.pop(event.run_id, event.timestamp), 0.0)
        outcome = event.status.value if event.status is not None else ""
        error = Redactor.DEFAULT.one_line(event.error)
        self._output.note(how_it_ended(event.run_id, outcome, seconds, error))
