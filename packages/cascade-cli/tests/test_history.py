"""``cascade run --state``, ``history`` and ``resolve``: recorded runs on the command line."""

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cascade.cli import main
from cascade.testkit.waiting import busyness
from testing_tools.engines import CASCADE

JOB = """
import os, signal
import cascade as cs

@cs.task
def fetch(number: int) -> int:
    print("fetch", number, flush=True)
    return number

@cs.task(mode="inline")
def press(numbers: list[int]) -> int:
    if os.path.exists("broken"):
        os.kill(os.getpid(), signal.SIGKILL)
    return sum(numbers)

workflow = press.at_most_once()(fetch.map(number=[1, 2, 3]))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a workflow whose last step kills its process as long as it is broken."""
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "broken").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow in a process."""
    command = [*CASCADE, "run", "job.py", "--state", "runs", "--run-id", "night", "--quiet", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60 * busyness(), check=False)


def listed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """Return the JSON that ``cascade history`` prints."""
    capsys.readouterr()
    assert main(["history", *arguments, "--state", "runs", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.full
@pytest.mark.process
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize(
    ("resolution", "result", "state"),
    [(["--value", "7"], "7", "completed"), (["--again"], "6", ""), (["--fail"], "6", "failed")],
)
def test_a_doubt_is_resolved_and_the_run_goes_on(
    resolution: list[str], result: str, state: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A killed run names the step in doubt and the command that ends the doubt."""
    assert run().returncode == -signal.SIGKILL
    (folder / "broken").unlink()
    refused = run()
    assert refused.returncode == 2
    assert "step 'press:0' was started at" in refused.stderr
    assert (
        f"cascade resolve night press:0 --state {folder / 'runs'} --value JSON/--again/--fail"
        in refused.stderr
    )
    (listed_run,) = listed(capsys)
    assert (listed_run["run_id"], listed_run["status"]) == ("night", "Interrupted")
    assert listed_run["counts"] == {"completed": 3, "in_doubt": 1}
    steps = {step["key"]: step for step in listed(capsys, "night", "--values")["steps"]}
    assert {key: (step["state"], step.get("value")) for key, step in steps.items()} == {
        "press:0": ("in_doubt", None),
        **{f"fetch:0[{n}]": ("completed", n + 1) for n in range(3)},
    }
    assert main(["resolve", "night", "pres:0", *resolution, "--state", "runs"]) == 2
    error = "step 'pres:0' is not in doubt: it is unknown; in run 'night' step 'press:0' is"
    assert error in capsys.readouterr().err
    assert main(["resolve", "night", "press:0", *resolution, "--state", "runs"]) == 0
    states = {step["key"]: step["state"] for step in listed(capsys, "night")["steps"]}
    assert states.get("press:0", "") == state
    done = run()
    assert (done.returncode, done.stdout) == (0, f"{result}\n"), "no fetch runs again"


def test_what_cannot_be_resolved_is_answered_with_the_reason(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown folder, run or step, and a command line that says nothing."""
    from cascade import SqliteState, arun, task

    @task(mode="inline")
    def one() -> int:
        return 1

    def failed(*arguments: str) -> str:
        assert main([*arguments]) != 0
        return capsys.readouterr().err

    assert "no folder is named; pass --state FOLDER, or set CASCADE_STATE" in failed("history")
    assert "the folder nowhere does not exist" in failed("history", "--state", "nowhere")
    monkeypatch.setenv("CASCADE_STATE", "runs")
    asyncio.run(arun(one(), state_backend=SqliteState("runs"), run_id="day"))
    unknown = "no run 'night' is recorded in runs; cascade history --state runs lists them"
    assert unknown in failed("history", "night")
    asyncio.run(arun(one(), state_backend=SqliteState("runs"), run_id="audit~night-1"))
    for typed, meant in (("dya", "day"), ("night-1", "audit~night-1")):
        assert f"no run {typed!r} is recorded in runs; did you mean {meant}?" in failed("history", typed)
    assert "give one of --value JSON, --again and --fail" in failed("resolve", "day", "one:0")
    assert "--value is not JSON" in failed("resolve", "day", "one:0", "--value", "x")
    lists = f"; cascade history --state {folder / 'runs'} lists the runs"
    assert f"run 'night' is not recorded in {folder / 'runs'}{lists}" in failed(
        "resolve", "night", "one:0", "--again"
    )
    none = "in run 'day' no step is: run it again with its run id"
    assert f"step 'one:0' is not in doubt: it is completed; {none}" in failed(
        "resolve", "day", "one:0", "--again"
    )
    assert f"step 'two:0' is not in doubt: it is unknown; {none}" in failed(
        "resolve", "day", "two:0", "--again"
    )
    assert main(["history", "--prune"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "deleted 0 runs\n"
    assert shown.out.splitlines()[-1].split("\t")[:4] == ["day", "one", "Succeeded", "1"]
    assert os.environ["CASCADE_STATE"] == "runs"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="the system has no owners of folders")
@pytest.mark.parametrize("command", [("history", "--state"), ("outbox", "list")])
def test_a_folder_of_another_user_asks_for_that_user(
    command: tuple[str, str],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not for another option: a service's folders are its own, and a person reads them as its user."""
    (folder / "runs").mkdir(mode=0o700)
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert main([*command, "runs"]) == 1
    assert "belongs to another user; run this as that user, or name" in capsys.readouterr().err
