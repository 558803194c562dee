"""``cs.step`` and ``cs.publish``: what a task can read and publish about itself."""

from __future__ import annotations

import json
from typing import Any

from cascade.interfaces import StepInfo, UsageError
from cascade.interfaces.call_context import in_call, in_worker, step_in_worker, traceparent
from cascade.runtime._scheduler.checkpoints import current

MAX_BYTES = 16 * 1024
"""The longest value, as JSON."""
_MAX_NAME = 200


def step() -> StepInfo:
    """Return the step that runs, from inside a task: its run, its key, and which attempt it is.

    ``cs.step().idempotency_key`` is the same in every attempt of the step, also after a kill: send it with
    a request, and the service that gets the request twice can drop the second one.

    :raises UsageError: outside a task, and in a process that does not know the step.
    """
    known = step_in_worker.get()
    if known is not None:
        return known
    place = current.get()
    if place is None or in_worker.get():
        raise UsageError("cs.step() works only inside a task, in a process that knows the step")
    gate, node, attempt = place
    return StepInfo(
        gate.run_id, node.key, node.name, gate.run_attempt, attempt, gate.lease_term, traceparent.get()
    )


def publish(name: str, data: Any) -> None:
    """Publish a value from inside a task, such as ``cs.publish("temperature", {"celsius": 21.5})``.

    It leaves with the run's telemetry, on ``cascade/telemetry/{org}/{project}/{run_id}/data``: nothing waits
    for a broker, and without a connector it goes nowhere. In a worker process or on a cluster, a call that publishes
    faster than its engine takes the values waits. ``data`` is copied at the call. Each text in it leaves like that
    of an error: on one line of up to 500 characters, with secrets masked.

    :param name: 1 to 200 characters.
    :param data: any JSON value of at most 16 KiB: None, a boolean, a finite number, a text, and lists and
        dicts of them.
    :raises UsageError: outside a task, in a process whose executor offers no context of the call, and for a
        value that cannot be sent.
    """
    if (call := in_call.get()) is not None:
        call.publish(_checked_name(name), _checked(data))
        return
    if in_worker.get():
        raise UsageError(
            "cs.publish() does not work in a worker whose executor offers no context of the call; "
            "return the value, and publish it from a task with mode='thread' or an async one"
        )
    place = current.get()
    if place is None:
        raise UsageError("cs.publish() works only inside a task; a program of its own uses its connector")
    gate, node, attempt = place
    gate.publish(node, attempt, _checked_name(name), _checked(data))


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
        raise UsageError(f"cs.publish(name): needs a text of 1 to {_MAX_NAME} characters")
    return name


def _checked(data: object) -> Any:
    """Return a copy that nothing else refers to."""
    try:
        text = json.dumps(data, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise UsageError(f"cs.publish(data): needs a JSON value: {exc}") from None
    if len(text) > MAX_BYTES:
        raise UsageError(f"cs.publish(data): has {len(text)} bytes as JSON; at most {MAX_BYTES} are sent")
    return json.loads(text)
