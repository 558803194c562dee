"""Every example of the pages that look and steer, in their order, in a real terminal against a real broker."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_watch_picture import NOW, WALL, run_row, screen, view_of

from cascade.cli.main import COMMANDS
from cascade.interfaces.topics import state_topic
from cascade.interfaces.wire import timestamp
from testing_tools.engines import CASCADE, Plant, eventually
from testing_tools.page_examples import check_example, examples

PACKAGE = Path(__file__).parents[1]
SEE = (PACKAGE / "docs/see.md").read_text("utf-8")
STEER = (PACKAGE / "docs/steer.md").read_text("utf-8")
WATCHED = "## Watch\n"


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.process
@pytest.mark.timeout(180)
def test_every_example_prints_what_the_page_shows(plant: Plant) -> None:
    """On a terminal, beside an engine."""
    plant.start("press-line-3", run_id="night-7", tasks=20_000)  # it must not end before its examples
    plant.wait_for_runs("press-line-3")
    for command, lines in examples(SEE.partition(WATCHED)[0] + STEER + SEE.partition(WATCHED)[2]):
        check_example(command, lines, plant)
        if command.startswith("cascade cancel"):
            eventually(lambda: "Cancelled" in str(plant.json("runs")), "the run is reported as cancelled")


def test_every_command_that_looks_or_steers_has_an_example() -> None:
    """Those that run and draw workflows, or read folders, and the broker, have their own tests."""
    shown = {command.split()[1] for command, _ in examples(SEE + STEER)}
    others = {"run", "graph", "serve", "start", "workflows", "broker", "history", "logs", "resolve", "outbox"}
    assert shown >= {*COMMANDS} - others


def test_the_picture_of_watch_is_one_that_it_draws() -> None:
    """At 80 columns."""
    (shown,) = re.findall(r"^```text\n(.*?)^```", SEE, re.MULTILINE | re.DOTALL)
    row = run_row()
    row["running"][0]["message"] = "north hall"
    recent = {"run_id": "77fe0a", "target": "report", "status": "Failed", "error": "ValueError: no such file"}
    more = {"ended": timestamp(WALL - 300), "counts": {"COMPLETED": 40, "FAILED": 1}}
    view = view_of(row, recent=[{**recent, **more}])
    last = {"run_id": "audit~7", "status": "Succeeded", "ended": timestamp(WALL - 21 * 3600)}
    audit = {"name": "audit", "doc": "", "params": {}, "overlap": "skip", "accepting": True, "last": last}
    audit["schedule"] = {"every": "1d", "text": "Every day", "next": timestamp(WALL + 3 * 3600)}
    offers = {"v": "1.0", "source": "press-1", "session": "s", "workflows": [audit]}
    view.fold(state_topic("press-1", "workflows"), json.dumps(offers).encode(), now=NOW)
    assert shown.splitlines() == screen(view)


@pytest.mark.full
@pytest.mark.process
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_completes(shell: str) -> None:
    """Its script is printed as the page shows, and completes commands, options and kinds of scope."""
    assert f"_CASCADE_COMPLETE={shell}_source cascade > " in (PACKAGE / "README.md").read_text("utf-8")
    assert f"_CASCADE_COMPLETE={shell}_complete" in completed(shell, "source")
    for line, words in {
        "cascade pa": {"pause"},
        "cascade pause ta": {"task:"},
        "cascade pause --dr": {"--drained"},
    }.items():
        found = completed(shell, "complete", line)
        assert all(word in found for word in words), found


def completed(shell: str, what: str, line: str = "") -> str:
    """What the command prints for a shell."""
    words = {
        "COMP_WORDS": line,
        "COMP_CWORD": line.rpartition(" ")[2] if shell == "fish" else str(len(line.split()) - 1),
    }
    environment = {**os.environ, "_CASCADE_COMPLETE": f"{shell}_{what}", **words}
    done = subprocess.run(
        [*CASCADE], env=environment, capture_output=True, text=True, check=False, timeout=50
    )
    return done.stdout


@pytest.mark.process
def test_a_package_adds_a_command(tmp_path: Path) -> None:
    """By the entry point of the page's example; ``cascade --help`` lists it and its package."""
    page = (PACKAGE / "docs/commands-of-your-own.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "hello.py").write_text(code)
    metadata = tmp_path / "hello-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[cascade.commands]\nhello = hello:hello\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def called(*arguments: str) -> str:
        call = [sys.executable, "-m", "cascade.cli", *arguments]
        return subprocess.run(
            call, env=environment, capture_output=True, text=True, check=True, timeout=50
        ).stdout

    assert called("hello") == "hello\n"
    assert re.search(r"^  hello +From hello\.$", called("--help"), re.MULTILINE)
