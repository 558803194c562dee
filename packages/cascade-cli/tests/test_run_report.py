"""What ``cascade run`` makes of a run's events and value, and what it hands to the run: without running one."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cli_modules import RunSummary, as_json, show_value, warnings_on_stderr

import cascade as cs
from cascade.cli import main
from cascade.cli.link import Address
from cascade.cli.output import Output
from cascade.interfaces import (
    Lifecycle,
    LifecycleEvent,
    RunCancelledError,
    RunStatus,
    TaskState,
    TaskStateEvent,
)
from cascade.interfaces.logs import LOSS, get_logger


def begun(run_id: str = "r") -> RunSummary:
    """The summary of a run that has begun."""
    summary = RunSummary()
    summary.lifecycle(LifecycleEvent(run_id, Lifecycle.ENGINE_STARTED, 1.0))
    return summary


def told(
    summary: RunSummary, task_id: str, state: TaskState, ms: float = 0.0, error: str = "", run_id: str = "r"
) -> None:
    """Tell it of a task."""
    summary.task(TaskStateEvent(run_id, task_id, "a", state, 1.0, ms, error))


def test_a_run_has_not_started_before_its_first_event() -> None:
    """Then its error is one of the command line, and not of a run."""
    summary = RunSummary()
    assert (summary.started, summary.status) == (False, None)
    told(summary, "a", TaskState.COMPLETED)
    assert not summary.counts
    assert begun().started


def test_a_run_inside_a_task_is_another_run() -> None:
    """Neither its end nor its tasks count."""
    summary = begun()
    summary.lifecycle(LifecycleEvent("inner", Lifecycle.ENGINE_STARTED, 1.0))
    told(summary, "b", TaskState.FAILED, 5_000.0, "E", run_id="inner")
    summary.lifecycle(LifecycleEvent("inner", Lifecycle.ENGINE_STOPPED, 1.0, RunStatus.FAILED))
    assert (summary.run_id, summary.status, [*summary.remarks(), *summary.failures()]) == ("r", None, [])
    summary.lifecycle(LifecycleEvent("r", Lifecycle.ENGINE_STOPPED, 2.0, RunStatus.SUCCEEDED))
    assert summary.status is RunStatus.SUCCEEDED


def test_the_end_names_slow_repeated_and_failed_tasks() -> None:
    """The slowest three that took at least 100 ms, the most repeated first with the last error, the first failures."""
    summary = begun()
    for number, ms in enumerate((99.9, 100.0, 59_999.0, 60_000.0, 3_725_000.0)):
        told(summary, f"a:{number}", TaskState.COMPLETED, ms)
    told(summary, "slow", TaskState.SKIPPED, 9e9)
    told(summary, "slow", TaskState.RUNNING, 9e9)
    for task_id, times in (("b:0", 1), ("b:1", 3)):
        for number in range(times):
            told(summary, task_id, TaskState.RETRYING, error=f"E: {number}\npassword=hunter2x")
    told(summary, "c:0", TaskState.FAILED, error="F: x")
    first, second, third, fourth = *summary.remarks(), *summary.failures()
    assert first == "slowest: a:4 62:05 min, a:3 1:00 min, a:2 60.0 s"
    assert second.startswith("tried again: b:1 3 times: E: 2 ")
    assert third.startswith("tried again: b:0 1 time: E: 0 ")
    assert "hunter2x" not in second + third
    assert fourth == "failed: c:0: F: x"
    assert summary.counts == {"COMPLETED": 5, "SKIPPED": 1, "FAILED": 1}


def test_each_failure_is_named_once() -> None:
    """The last line of the command names the one that has ended the run; a retry does not repeat what failed in the end."""
    summary = begun()
    for task_id in ("a:0", "a:1"):
        told(summary, task_id, TaskState.RETRYING, error="E: lost")
        told(summary, task_id, TaskState.FAILED, error="E: lost")
    end = LifecycleEvent(
        "r", Lifecycle.ENGINE_STOPPED, 2.0, RunStatus.FAILED, "a:0: E: lost (2 tasks failed)"
    )
    summary.lifecycle(end)
    assert [*summary.remarks(), *summary.failures(but_first=True)] == [
        "tried again: a:0 1 time",
        "tried again: a:1 1 time",
        "failed: a:1: E: lost",
    ]


def test_one_cause_that_fails_several_tasks_is_named_once() -> None:
    """Where the first failure ends the run, those of tasks beside it with the same text say nothing new; others do."""
    summary = begun()
    for task_id, error in (("a:0", "E: disk full"), ("a:1", "E: disk full"), ("a:2", "E: no file")):
        told(summary, task_id, TaskState.FAILED, error=error)
    summary.lifecycle(
        LifecycleEvent("r", Lifecycle.ENGINE_STOPPED, 2.0, RunStatus.FAILED, "a:0: E: disk full")
    )
    assert [*summary.failures(but_first=True, but_alike=True)] == ["failed: a:2: E: no file"]
    assert [*summary.failures(but_first=True)] == ["failed: a:1: E: disk full", "failed: a:2: E: no file"]


def test_a_failure_that_an_earlier_attempt_has_kept_is_named() -> None:
    """The attempt that was killed may have printed nothing."""
    summary = begun()
    for task_id, reason in (("a:0", "its failure was kept in attempt 1"), ("a:1", "recorded in attempt 1")):
        summary.task(TaskStateEvent("r", task_id, "a", TaskState.SKIPPED, 1.0, reason=reason))
    assert [*summary.failures()] == ["failed: a:0: its failure was kept in attempt 1"]


def test_very_many_repeated_and_failed_tasks_are_counted() -> None:
    """Five of each are named."""
    summary = begun()
    for number in range(7):
        told(summary, f"a:{number}", TaskState.RETRYING, error="E")
        told(summary, f"a:{number}", TaskState.FAILED, error="F")
    assert [*summary.remarks(), *summary.failures()] == [
        *(f"tried again: a:{number} 1 time: E" for number in range(5)),
        "tried again: 2 more tasks",
        *(f"failed: a:{number}: F" for number in range(5)),
        "failed: 2 more tasks",
    ]


@dataclass
class Point:
    x: int
    y: Any = None


class Scalar:
    shape: tuple[int, ...] = ()

    def item(self) -> float:
        return 2.5


class Vector(Scalar):
    shape = (3,)

    def __str__(self) -> str:
        return "[1 2 3]\x1b"


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": [1, 2.5, None, True, "x"]}, {"a": [1, 2.5, None, True, "x"]}),
        (Point(1, Point(2)), {"x": 1, "y": {"x": 2, "y": None}}),
        ({3}, [3]),
        (frozenset({4}), [4]),
        (Scalar(), 2.5),
        (Vector(), "[1 2 3]\\u001b"),
        (Path("a/b"), "a/b"),
        (float("nan"), "nan"),
        ({(1, 2): 3}, "{(1, 2): 3}"),
        (LOOP, "[[...]]"),
        ((1, (2,)), [1, [2]]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_as_json(value: Any, expected: Any) -> None:
    """What JSON cannot carry is text, and a scalar of an array is a number."""
    assert as_json(value) == expected


@pytest.mark.parametrize(
    ("value", "lines"),
    [(None, []), ("a\nb", ["a", "b"]), ("", [""]), (["a\nb"], ["['a\\nb']"]), (0, ["0"])],
)
def test_a_value_for_a_person(value: Any, lines: list[str]) -> None:
    """A text line by line; everything else as Python writes it."""
    stream = StringIO()
    show_value(value, Output(stream))
    assert stream.getvalue().splitlines() == lines


@pytest.mark.parametrize("debug", [False, True])
def test_a_connector_that_fails_again_and_again_is_one_warning(
    debug: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line of a connector once, all of them with --debug; losses and other parts each time, nothing after the run."""
    monkeypatch.setattr(logging.root, "handlers", [])
    with warnings_on_stderr(Output(StringIO()), debug=debug):
        for name in ("connectors.mqtt", "connectors.nats", "runtime"):
            for number in (1, 2, 1):
                get_logger(f"cascade.{name}").warning("%s %s", name, number)
        for _ in range(2):
            get_logger("cascade.connectors.mqtt").error("another process uses the name")
            get_logger("cascade.connectors.mqtt").warning("3 not delivered", extra={LOSS: True})
        get_logger("cascade.runtime").info("quiet")
        get_logger("cascade.runtime").error("bad")
    numbers = (1, 2, 1) if debug else (1, 2)
    contested = "cascade: error: another process uses the name"
    lost = "cascade: warning: 3 not delivered"
    assert capsys.readouterr().err.splitlines() == [
        *(f"cascade: warning: connectors.mqtt {number}" for number in numbers),
        *(f"cascade: warning: connectors.nats {number}" for number in numbers),
        "cascade: warning: runtime 1",
        "cascade: warning: runtime 2",
        "cascade: warning: runtime 1",
        *([contested, lost, contested, lost] if debug else [contested, lost, lost]),
        "cascade: error: bad",
    ]


def test_a_service_shows_the_lines_of_its_runs_and_of_nothing_else(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are, and only meanwhile; a file that sets up logging decides itself which lines exist."""
    serving, other = get_logger("cascade.serve"), get_logger("cascade.run")
    for handlers in ([], [logging.NullHandler()]):
        monkeypatch.setattr(logging.root, "handlers", handlers)
        with warnings_on_stderr(Output(StringIO()), debug=False, logs=("cascade.serve",)):
            serving.info("audit~7: accepted")
            other.info("quiet")
            assert serving.level == (logging.NOTSET if handlers else logging.INFO)
        assert serving.level == logging.NOTSET
        serving.info("late")
        assert capsys.readouterr().err == ("" if handlers else "audit~7: accepted\n")


def test_a_run_that_sends_its_lines_hides_none_of_the_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``--logs`` the run has a handler of its own, which shows nothing here."""
    serving = get_logger("cascade.serve")

    @cs.task
    def ask() -> None:
        serving.info("audit~7: accepted")
        serving.warning("audit: refused")

    monkeypatch.setattr(logging.root, "handlers", [])
    with warnings_on_stderr(Output(StringIO()), debug=False, logs=("cascade.serve",)):
        cs.run(ask(), connector=cs.LocalConnector(), logs="INFO")
    assert capsys.readouterr().err == "audit~7: accepted\ncascade: warning: audit: refused\n"


@pytest.fixture
def handed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the run gets; the run itself has one event and returns 7."""
    found: dict[str, Any] = {}

    async def arun(
        target: Any, values: Any, resources: Any, connector: Any, *, bus: Any, **keywords: Any
    ) -> int:
        found.update(keywords, values=values, resources=resources, connector=connector)
        bus.publish(LifecycleEvent("r", Lifecycle.ENGINE_STARTED, 1.0))
        if "raises" in found:
            bus.publish(LifecycleEvent("r", Lifecycle.ENGINE_STOPPED, 2.0, found["status"]))
            raise found["raises"]
        bus.publish(LifecycleEvent("r", Lifecycle.ENGINE_STOPPED, 2.0, RunStatus.SUCCEEDED))
        await asyncio.sleep(0)
        return 7

    (tmp_path / "job.py").write_text(
        "import cascade as cs\n@cs.task\ndef double(x: int) -> int: return 2 * x\nworkflow = double(cs.Param('x', default=1))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cs, "arun", arun)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield found
    sys.modules.pop("job", None)


def test_every_option_reaches_the_run(
    handed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under the name that the run has for it."""
    made: list[dict[str, Any]] = []
    connector = object()

    def make(_: Address, **keywords: Any) -> object:
        made.append(keywords)
        return connector

    monkeypatch.setattr(Address, "connector", make)
    options = (
        "--broker mqtt://b --name press --executor process --resource gpu=1 --resource ram=2.5 --on-failure continue "
        "--state runs --run-id night --resume cancelled --on-change keep --forget-control --quiet -p x=4 --max-starts none "
        "--cache c.db --outbox events --logs INFO --label site=hall-2 --label line=3 --tag kind=night --run-name nightly "
        "--require-control"
    )
    assert main(["run", "job.py", *options.split()]) == 0
    assert handed == {
        "values": {"x": "4"},
        "resources": {"gpu": 1.0, "ram": 2.5},
        "connector": connector,
        "on_failure": "continue",
        "progress": False,
        "executor": "process",
        "state": "runs",
        "run_id": "night",
        "resume": "cancelled",
        "on_change": "keep",
        "forget_control": True,
        "workflow": "workflow",
        "max_starts": None,
        "cache": "c.db",
        "outbox": "events",
        "logs": "INFO",
        "labels": {"site": "hall-2", "line": "3"},
        "tags": {"kind": "night"},
        "name": "nightly",
        "require_control": True,
    }
    assert made == [{"source_id": "press"}]
    assert capsys.readouterr() == ("7\n", "")


def test_a_run_without_options_has_the_defaults_of_a_run(
    handed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """No connector, no state, and progress for a person."""
    assert main(["run", "job.py", "--json"]) == 0
    assert handed == {
        "values": {},
        "resources": None,
        "connector": None,
        "progress": True,
        "workflow": "workflow",
    }
    document = {"run_id": "r", "status": "Succeeded", "result": 7, "counts": {}}
    assert json.loads(capsys.readouterr().out) == document


@pytest.mark.parametrize(
    ("status", "error", "code", "words"),
    [
        (RunStatus.FAILED, ValueError("bad\npart"), 1, "failed"),
        (RunStatus.CANCELLED, RunCancelledError("r", "by olaf"), 4, "was cancelled"),
        (RunStatus.SUCCEEDED, ValueError("bad\npart"), 0, "ended"),
    ],
)
def test_the_exit_code_is_that_of_the_run_whatever_was_raised(
    status: RunStatus,
    error: Exception,
    code: int,
    words: str,
    handed: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command prints the error as one line with its notes; its JSON has the error and no result."""
    error.add_note("in task\n  a:0")
    handed.update(raises=error, status=status)
    assert main(["run", "job.py", "--json"]) == code
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (document["run_id"], document["status"], document["result"]) == ("r", status.value, None)
    assert document["error"]["type"] == type(error).__name__
    text = " ".join(str(error).split())
    assert err == f"cascade: the run {words}: {type(error).__name__}: {text}; in task a:0\n"
    assert main(["run", "job.py", "--debug"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" in err


@pytest.mark.parametrize("given", ["gpu", "=1", "gpu=", "gpu=x", "gpu=-1", "gpu=inf", "gpu=nan"])
def test_a_resource_needs_a_name_and_an_amount(
    given: str, handed: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing runs with another one; an amount of 0 is one."""
    assert main(["run", "job.py", "--resource", given]) == 2
    assert f"needs NAME=AMOUNT such as gpu=1, not '{given}'" in capsys.readouterr().err
    assert handed == {}
    assert main(["run", "job.py", "--resource", "gpu=0"]) == 0
    assert handed["resources"] == {"gpu": 0.0}


def failing(_: Address, **keywords: Any) -> Any:
    """Raise a type error of a connector's own."""
    raise TypeError("odd")


def test_another_type_error_of_a_connector_is_not_about_the_name(
    handed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is shown as it is."""
    monkeypatch.setattr(Address, "connector", failing)
    assert main(["run", "job.py", "--name", "press", "--broker", "mqtt://b"]) == 1
    assert "TypeError: odd; --debug shows where it was raised" in capsys.readouterr().err
