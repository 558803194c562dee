"""Serve the workflows of files, and print what is offered and what becomes of each request."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

from cascade.cli._running.run import Plan, connector_of
from cascade.cli._running.warnings import warnings_on_stderr
from cascade.cli.command import Settings
from cascade.cli.errors import OK
from cascade.spec import Workflow


def serve_workflows(
    workflows: Sequence[Workflow[..., Any]], plan: Plan, settings: Settings, *, drain: float
) -> int:
    """Serve until Ctrl-C, which ends well.

    :raises UsageError: if the workflows cannot be served like this.
    :raises SystemExit: with status 143 after SIGTERM.
    """
    from cascade.sdk.serve import serve_offers
    from cascade.sdk.signals import run_guarded

    def begun() -> None:
        # as cs.serve does
        gc.freeze()
        if not plan.quiet:
            names = ", ".join(each.name for each in workflows)
            settings.output.note(f"{plan.source or 'this engine'} offers {names}; Ctrl-C ends it")

    connector = connector_of(plan)
    keywords: Any = {**plan.keywords}
    for name in ("params", "connector"):
        keywords.pop(name, None)
    logs = () if plan.quiet else ("cascade.serve",)
    with warnings_on_stderr(settings.output, debug=settings.debug, logs=logs):
        try:
            run_guarded(lambda: serve_offers(workflows, connector, keywords, drain=drain, begun=begun))
        except KeyboardInterrupt:
            return OK
    return OK
