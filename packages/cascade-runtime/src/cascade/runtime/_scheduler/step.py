"""``cs.step``: a task learns which step of which run it is."""

from __future__ import annotations

from cascade.interfaces import StepInfo, UsageError
from cascade.interfaces.step import in_worker, step_in_worker
from cascade.runtime._scheduler.checkpoints import current


def step() -> StepInfo:
    """Return the step that runs, from inside a task: its run, its key, and which attempt it is.

    ``cs.step().idempotency_key`` is the same in every attempt of the step, also after a kill: send it with
    a request, and the service that gets the request twice can drop the second one.

    :raises UsageError: outside a task, and in a process that its executor has not told the step.
    """
    told = step_in_worker.get()
    if told is not None:
        return told
    place = current.get()
    if place is None or in_worker.get():
        raise UsageError("cs.step() works only inside a task, in a process that knows the step")
    gate, node, attempt = place
    return StepInfo(gate.run_id, node.key, node.name, gate.run_attempt, attempt)
