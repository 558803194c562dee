"""What a journal keeps of a step in memory, once the step has ended."""

import weakref
from pathlib import Path
from typing import Any

import pytest

from cascade.interfaces import Journal, Plan, RunInfo
from cascade.runtime import SqliteState
from cascade.testkit.waiting import eventually


class Name(str):
    """A text whose end a test can see."""

    __slots__ = ("__weakref__",)


ENDS: dict[str, Any] = {
    "completed": lambda journal, key: journal.completed(key, 1),
    "expanded": lambda journal, key: journal.expanded(key, Plan({"turn": 1})),
    "failed": lambda journal, key: journal.failed(key, "ValueError: no"),
}


async def started(journal: Journal, key: str) -> weakref.ref[Name]:
    name = Name("resize")
    await journal.started_for_certain(key, name=name, inputs=b"", code=b"")
    return weakref.ref(name)


@pytest.mark.parametrize("end", ENDS)
async def test_a_step_that_has_ended_takes_no_memory(end: str, tmp_path: Path) -> None:
    """A run may have millions of steps, however they end."""
    journal = await SqliteState(tmp_path / "runs", power_safe=False).open(RunInfo("night", "report"))
    kept = await started(journal, "resize:0")
    await ENDS[end](journal, "resize:0")
    await journal.writable()
    await eventually(lambda: kept() is None)
    await journal.close()
