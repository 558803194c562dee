"""OpenTelemetry's attributes for pipelines, ``cicd.pipeline.*``, beside our own where somebody asks for them.

The convention is in development (https://opentelemetry.io/docs/specs/semconv/cicd/cicd-spans/) and made for builds; a page that knows
it shows runs as pipelines.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from cascade.interfaces.events import RunStatus, TaskState

SWITCH = "OTEL_SEMCONV_STABILITY_OPT_IN"
"""The variable by which programs choose conventions: a list with commas, which then contains ``cicd``."""

_OF_RUN = {
    RunStatus.SUCCEEDED: "success",
    RunStatus.FAILED: "failure",
    RunStatus.CANCELLED: "cancellation",
}
_OF_STEP = {
    TaskState.COMPLETED: "success",
    TaskState.SKIPPED: "skip",
    TaskState.CANCELLED: "cancellation",
}


def is_wanted() -> bool:
    """Return whether the environment asks for the convention."""
    return "cicd" in (each.strip() for each in os.environ.get(SWITCH, "").split(","))


def run_attributes(name: str, run_id: str) -> Mapping[str, str]:
    """Return what the span of a run has from its beginning."""
    return {"cicd.pipeline.name": name, "cicd.pipeline.run.id": run_id}


def run_result(status: RunStatus | None) -> Mapping[str, str]:
    """Return how a run ended; one whose end is not known ended by an error of the system."""
    return {"cicd.pipeline.result": _OF_RUN.get(status, "error") if status is not None else "error"}


def step_attributes(name: str, key: str, state: TaskState) -> Mapping[str, str]:
    """Return what the span of an attempt of a step has."""
    return {
        "cicd.pipeline.task.name": name,
        "cicd.pipeline.task.run.id": key,
        "cicd.pipeline.task.run.result": _OF_STEP.get(state, "failure"),
    }
