"""What cs.run does with its settings: which reach the engine, which its run, and what it refuses."""

import asyncio
import inspect
import re
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import cascade as cs
from cascade.runtime import SqliteState
from cascade.sdk import plugins
from cascade.testing import FakeExecutor


@cs.task(mode="inline")
def one() -> int:
    return 1


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the engine was made with, and what its run was given."""
    found: dict[str, Any] = {}

    class Engine:
        def __init__(self, **settings: Any) -> None:
            found["engine"] = settings

        async def run(self, *arguments: Any, **settings: Any) -> str:
            found["arguments"], found["run"] = arguments, settings
            return "value"

    monkeypatch.setattr("cascade.runtime.Engine", Engine)
    return found


def parameters(function: Any) -> set[str]:
    return {*inspect.signature(function).parameters}


run: Any = cs.run
arun: Any = cs.arun
"""Without its types, which refuse what these tests pass."""

OF_RUN = parameters(cs.Engine.run) - {"self", "target", "params"}
OF_AN_ENGINE = inspect.signature(cs.Engine).parameters["stop_timeout"].default
OF_ENGINE = parameters(cs.Engine) - {"connector", "system_resources"}


def test_each_setting_reaches_the_engine_or_its_run(given: dict[str, Any]) -> None:
    """Every keyword of both, unchanged, and the four that have a position; nothing else is added."""
    # a list of observers is made anew, because a name may stand for one
    target, settings = one(), {name: object() for name in OF_ENGINE | OF_RUN} | {"observers": []}
    assert run(target, {"x": 2}, {"gpu": 3.0}, None, **settings) == "value"
    assert given["arguments"] == (target, {"x": 2})
    assert given["run"] == {name: settings[name] for name in OF_RUN}
    expected = {name: settings[name] for name in OF_ENGINE}
    assert given["engine"] == {**expected, "system_resources": {"gpu": 3.0}, "connector": None}


def test_a_connector_and_an_executor_by_name_are_made_for_the_engine(given: dict[str, Any]) -> None:
    run(one(), connector="local", executor="thread")
    assert isinstance(given["engine"]["connector"], cs.LocalConnector)
    assert isinstance(given["engine"]["executor"], cs.ThreadExecutor)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_of_the_state_is_a_state_backend(given: dict[str, Any], kind: type, tmp_path: Path) -> None:
    """Also beside ``state_backend=None``; without a folder the backend is the user's."""
    run(one(), state=kind(tmp_path / "runs"), state_backend=None)
    made = given["engine"].pop("state_backend")
    assert isinstance(made, SqliteState)
    assert str(tmp_path / "runs") in repr(made)
    run(one(), state=None, state_backend=made)
    assert given["engine"]["state_backend"] is made
    assert "state" not in given["engine"]


def test_a_state_is_named_once_and_by_a_folder(given: dict[str, Any], tmp_path: Path) -> None:
    """Two names for one thing, and a number, are refused before an engine is made."""
    with pytest.raises(cs.UsageError, match="two ways to name one thing; give one of them"):
        run(one(), state=tmp_path, state_backend=SqliteState(tmp_path))
    with pytest.raises(cs.ConfigurationError, match=re.escape("run(state=): needs a folder")) as caught:
        run(one(), state=7)
    assert caught.value.value == 7
    assert not given


def test_an_executor_by_name_is_closed_when_the_engine_refuses_its_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its processes or its cluster must not outlive a call that never ran."""
    made, closed = FakeExecutor(), []

    async def close() -> None:
        closed.append(True)

    monkeypatch.setattr(made, "close", close, raising=False)
    monkeypatch.setattr(plugins, "executor", {"fake": made}.__getitem__)
    with pytest.raises(cs.ConfigurationError, match="stop_timeout"):
        run(one(), executor="fake", stop_timeout=-1.0)
    assert closed == [True]


@pytest.mark.parametrize(
    ("settings", "limit"), [({}, OF_AN_ENGINE), ({"stop_timeout": 0.25}, 0.25), ({"stop_timeout": 3}, 3)]
)
def test_what_is_left_on_the_loop_has_the_stop_timeout_of_the_run(
    settings: dict[str, Any], limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without one that of an engine."""
    limits: list[float] = []

    def run_on_loop(work: Any, *, loop_factory: Any, close_timeout: float) -> Any:
        limits.append(close_timeout)
        return asyncio.run(work())

    monkeypatch.setattr("cascade.runtime.run_on_loop", run_on_loop)
    assert run(one(), **settings) == 1
    assert limits == [limit]


async def test_an_unknown_setting_is_refused_in_both_forms() -> None:
    """The first in the order of the alphabet is named."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'labbels'; did you mean labels="):
        await arun(one(), tagz={}, labbels={})


def test_names_that_are_imported_on_demand_are_listed() -> None:
    """Completion shows them before their first use, beside the names of the module itself."""
    assert {*cs.__all__, "__version__"} <= {*dir(cs)}
    assert dir(cs) == sorted({*dir(cs)})
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        cs.nonsense  # noqa: B018


# Connectors and executors by name


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that installed packages offer, in every group."""
    names: list[str] = []

    def entry_points(group: str) -> list[EntryPoint]:
        return [EntryPoint(each, "cascade.runtime:LocalConnector", group) for each in names]

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    return names


def test_a_missing_executor_is_named_with_its_remedy(offered: list[str]) -> None:
    """What is installed comes in order; a host is no executor, and a near name is offered also if it is not installed."""
    offered += ["thread", "process"]
    with pytest.raises(
        cs.ExecutorNotFoundError, match=r'process, thread.*pip install "cascade-py\[dask\]"'
    ) as caught:
        cs.executor("dask", address="tcp://host:8786")
    assert isinstance(caught.value, cs.PluginNotFoundError)
    with pytest.raises(cs.ExecutorNotFoundError, match="did you mean 'dask'"):
        cs.executor("dusk")
    with pytest.raises(
        cs.ExecutorNotFoundError, match=r"entry point 'localhost' in the group 'cascade\.executors'"
    ):
        cs.executor("localhost")
