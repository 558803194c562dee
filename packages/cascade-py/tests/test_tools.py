"""Tools: look at a graph before it runs, and test workflows without what they need in earnest."""

import asyncio
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cascade as cs
from cascade.interfaces import InputsError, TaskState, TaskStateEvent
from cascade.sdk import plugins
from cascade.testing import FakeExecutor, ManualClock, Recorder, override_resource


@cs.task
def load(name: str) -> list[int]:
    return [len(name)]


@cs.task(mode="inline")
def double(x: int) -> int:
    return 2 * x


@cs.task(mode="inline")
def join(values: Any, extra: Any = None) -> Any:
    return values


def target() -> Any:
    data = load(cs.Param("file", default="a"))
    big = double(1).run_if(data[0])
    return join(double.map(x=data), cs.Router(data[0], {1: big, 2: load("other")})).after(
        load("first").with_retry(3)
    )


def test_a_dry_run_lists_the_steps_and_runs_nothing() -> None:
    """Dependencies come first, all routes are there, and inputs are checked as in a run."""
    steps = cs.dry_run(target())
    names = [step.name for step in steps]
    assert names.index("file") < names.index("load") < names.index("join") == len(names) - 1
    join_step = steps[-1]
    assert [edge.role for edge in join_step.edges] == ["argument", "argument", "before"]
    assert {step.kind for step in steps} == {"task", "map", "route", "input", "structure"}
    assert max(step.max_attempts for step in steps) == 3
    with pytest.raises(InputsError, match="'other' is unknown"):
        cs.dry_run(target(), {"other": 1})


def test_a_tree_shows_what_each_step_needs_and_no_step_twice() -> None:
    """What several steps need is named again without its own needs; a name that occurs twice is shown as its key."""
    data = load(cs.Param("folder"))
    each = join.partial(extra=data).map(values=double.map(x=[1]))
    tree = cs.visualize([join(each, data), double(1).named("a\x1b[2J\nb").after(data)], format="tree")
    assert tree == (
        "join:1\n"
        "├─ join:0 for each\n"
        "│  ├─ double for each\n"
        "│  └─ load\n"
        "│     └─ folder (input)\n"
        "└─ load, see above\n"
        "a\\u001b[2J\\u000ab\n"
        "└─ load, before, see above\n"
    )
    hostile = double(1).named("a\x1b[2J\nb")
    for text in (cs.visualize(hostile), cs.visualize(hostile, format="dot"), cs.to_json(hostile)):
        assert all(char.isprintable() for char in text.replace("\n", ""))


def test_json_contains_the_graph_and_no_value() -> None:
    """A graph can be stored and compared; what tasks were given stays out of it."""
    steps = json.loads(cs.to_json(load("s3cret")))
    assert steps == [
        {
            "id": "load:0",
            "name": "load",
            "kind": "task",
            "mode": "auto",
            "edges": [],
            "max_attempts": 1,
            "timeout": None,
            "cached": False,
        }
    ]


def test_depth_harms_no_tool() -> None:
    """A chain of twenty thousand steps is planned without recursion."""
    lazy = double(1)
    for _ in range(20_000):
        lazy = double(lazy)
    assert len(cs.dry_run(lazy)) == 20_001


def test_a_fake_executor_answers_for_tasks() -> None:
    """Values and errors are decided by the test; every call is remembered."""
    executor = FakeExecutor({"load": [7, 8]})
    assert cs.run(double.map(x=load("big file")), executor=executor) == [14, 16]
    assert executor.calls == [("load", ("big file",), {})]
    with pytest.raises(OSError, match="disk"):
        cs.run(load("x"), executor=FakeExecutor({"load": OSError("disk")}))
    assert cs.run(load("abc"), executor=FakeExecutor()) == [3]


def test_a_run_takes_its_time_from_a_manual_clock() -> None:
    """An hour between two attempts passes when the test advances the clock, and events and ages are by this clock."""
    clock, bus, memory = ManualClock(now=1000.0), cs.EventBus(), []
    recorder = Recorder(bus)
    bus.subscribe(
        TaskStateEvent, lambda event: clock.advance(3600) if event.state is TaskState.RETRYING else None
    )

    @cs.task(mode="inline")
    def at_second() -> int:
        memory.append(1)
        if len(memory) == 1:
            raise OSError("not yet")
        return len(memory)

    assert cs.run(at_second().with_retry(2, delay=3600), clock=clock, bus=bus) == 2
    assert [event.timestamp for event in recorder.tasks] == [1000.0, 1000.0, 4600.0]
    assert recorder.tasks[-1].duration_ms == 3_600_000


def test_a_clock_that_outlives_its_loop_can_still_be_moved() -> None:
    """No caller waits."""
    clock = ManualClock()

    async def wait() -> None:
        clock.call_later(1, print)

    asyncio.run(wait())
    clock.advance(1)


def refuse(words: str) -> Any:
    raise OSError(words)


def test_resources_are_overridden_for_a_test() -> None:
    """The real one is never opened."""

    @cs.resource
    def database() -> Any:
        yield from refuse("no database here")

    @cs.task
    async def query(db: Any = cs.inject(database)) -> Any:  # noqa: B008 - that is how it is declared
        return db

    with override_resource("database", {"rows": 3}):
        assert cs.run(query()) == {"rows": 3}


@pytest.mark.parametrize("function", [cs.run, cs.arun])
def test_every_setting_of_a_run_is_in_its_signature(function: Any) -> None:
    """``help(cs.run)`` and completion show each keyword by its name: the engine's, its run's, and the short ``state`` and ``cache``."""
    shown = inspect.signature(function).parameters
    of_engine = inspect.signature(cs.Engine).parameters.keys()
    of_run = inspect.signature(cs.Engine.run).parameters.keys() - {"self"}
    assert of_engine | of_run | {"state", "cache"} == shown.keys()
    assert "stop_timeout: 'float'" in str(inspect.signature(function))


def test_a_notebook_shows_a_lazy_result_with_its_graph() -> None:
    """As text, as SVG, and as Mermaid unless the graph is large."""
    lazy: Any = double(double(1))
    shown = lazy._repr_mimebundle_()
    assert shown == {
        "text/plain": repr(lazy),
        "image/svg+xml": cs.visualize(lazy, format="svg"),
        "text/vnd.mermaid": cs.visualize(lazy),
    }
    for _ in range(500):
        lazy = double(lazy)
    large = lazy._repr_mimebundle_(include=None, exclude=None)
    assert large.keys() == {"text/plain", "image/svg+xml"}
    assert ">double (502 steps)<" in large["image/svg+xml"]


@pytest.mark.process
def test_a_notebook_needs_only_the_import_of_cascade() -> None:
    """The picture is there although no name that draws was used before."""
    code = """
import cascade as cs
shown = cs.task(len, name="length")([1])._repr_mimebundle_()
print(sorted(shown))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['image/svg+xml', 'text/plain', 'text/vnd.mermaid']\n"


@cs.task
def spoil() -> None:
    raise OSError("jam")


@pytest.mark.parametrize("fails", [False, True])
def test_an_executor_made_by_name_is_closed_after_the_run(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its threads, processes or cluster end with the run, also with one that fails."""
    made = FakeExecutor()
    closed: list[bool] = []

    async def close() -> None:
        closed.append(True)

    monkeypatch.setattr(made, "close", close, raising=False)
    monkeypatch.setattr(plugins, "executor", {"fake": made}.__getitem__)
    if fails:
        with pytest.raises(OSError, match="jam"):
            cs.run(spoil(), executor="fake")
    else:
        assert cs.run(load("abc"), executor="fake") == [3]
    assert closed == [True]


@pytest.mark.parametrize("kind", [str, Path])
def test_an_outbox_is_named_by_its_folder(kind: type, tmp_path: Path) -> None:
    """As text or as a path; the run makes it and keeps its events there."""
    folder = tmp_path / "events"
    assert cs.run(load("abc"), connector=cs.LocalConnector(), outbox=kind(folder)) == [3]
    assert folder.is_dir()
