"""``@cs.workflow``: a function that others start by its name."""

from __future__ import annotations

from typing import Any

import pytest

import cascade as cs


@cs.task
def report(number: int) -> int:
    return number * 2


@cs.workflow
def audit(number: int = 60) -> cs.LazyResult[int]:
    """Inspect parts."""
    return report(number)


def test_a_workflow_is_called_and_run_as_before() -> None:
    """Its call returns what the function returns; it keeps the name and the docstring."""
    assert cs.run(audit(5)) == 10
    assert cs.run(audit.function(6)) == 12
    assert (audit.name, audit.__name__, audit.__doc__, audit.overlap, audit.answer) == (
        *("audit", "audit", "Inspect parts.", "skip"),
        False,
    )


def test_name_overlap_and_answer_may_be_given() -> None:
    """The name is the one by which others start it."""
    made = cs.workflow(name="nightly", overlap="queue", answer=True)(audit.function)
    assert (made.name, made.overlap, made.answer) == ("nightly", "queue", True)


async def coroutine() -> None: ...


@pytest.mark.parametrize(
    ("function", "settings", "error"),
    [
        (audit.function, {"name": "night ly"}, cs.ConfigurationError),
        (audit.function, {"name": "über"}, cs.ConfigurationError),
        (audit.function, {"name": ""}, cs.ConfigurationError),
        (lambda: report(1), {}, cs.ConfigurationError),
        (audit.function, {"overlap": "wait"}, cs.ConfigurationError),
        (coroutine, {}, cs.TaskDefinitionError),
        (int, {}, cs.TaskDefinitionError),
        (3, {"name": "x"}, cs.TaskDefinitionError),
    ],
)
def test_what_cannot_be_a_workflow_is_refused(
    function: Any, settings: dict[str, Any], error: type[Exception]
) -> None:
    """When it is declared, not when it is offered."""
    with pytest.raises(error):
        cs.workflow(**settings)(function)
