"""What identifies a run: its id, its name, its tags, and where its tasks stand in the graph."""

from typing import Any

import pytest
from observers import watch
from simple_tasks import double

from cascade.interfaces import ConfigurationError, Lifecycle, LifecycleEvent
from cascade.runtime import Engine


async def test_a_run_has_the_id_name_and_tags_that_it_was_given() -> None:
    """Every event carries the id; the first one also carries the name and the tags."""
    engine = Engine()
    events = watch(engine)
    await engine.run(
        double(1), run_id="night-7", name="Night", tags={"line": 3, "dry": True, "site": "north"}
    )
    assert {event.run_id for event in events} == {"night-7"}
    started, stopped = [event for event in events if isinstance(event, LifecycleEvent)]
    assert (started.name, dict(started.tags)) == ("Night", {"line": 3, "dry": True, "site": "north"})
    assert (stopped.event, stopped.name, dict(stopped.tags)) == (Lifecycle.ENGINE_STOPPED, "", {})


async def test_a_run_without_an_id_gets_a_random_one() -> None:
    """32 hex digits, another one for each run."""
    engine = Engine()
    events = watch(engine)
    for _ in range(2):
        await engine.run(double(1))
    ids = {event.run_id for event in events}
    assert len(ids) == 2
    assert all(len(run_id) == 32 and int(run_id, 16) for run_id in ids)


@pytest.mark.parametrize("run_id", ["", "  ", 7, b"night", "x" * 201, "a\nb", "\ud800", ["night"]])
async def test_a_run_id_that_cannot_be_used_is_refused(run_id: Any) -> None:
    """The message names the argument; nothing runs."""
    engine = Engine()
    events = watch(engine)
    with pytest.raises(ConfigurationError, match=r"run\(run_id=\)"):
        await engine.run(double(1), run_id=run_id)
    assert events == []


@pytest.mark.parametrize("name", ["", 7, "x" * 201, "a\0b"])
async def test_a_name_that_cannot_be_used_is_refused(name: Any) -> None:
    """The message names the argument."""
    with pytest.raises(ConfigurationError, match=r"run\(name=\)"):
        await Engine().run(double(1), name=name)


@pytest.mark.parametrize(
    "tags",
    [
        ["a"],
        "a",
        {3: "x"},
        {"": 1},
        {"x" * 201: 1},
        {"a": None},
        {"a": [1]},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": 10**400},
        {"a": "x" * 201},
        {f"t{n}": n for n in range(33)},
    ],
)
async def test_tags_that_cannot_be_used_are_refused(tags: Any) -> None:
    """Texts lead to short texts, finite numbers and booleans; a message says which one is wrong."""
    with pytest.raises(ConfigurationError, match=r"run\(tags="):
        await Engine().run(double(1), tags=tags)
