"""The page about gates is true: each line is executed beside an engine, and prints what the page shows."""

import json
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from paho.mqtt import publish

from cascade.testkit.waiting import busyness
from testing_tools.engines import Plant, eventually
from testing_tools.page_examples import check_example, examples
from testing_tools.patient import PATIENT
from testing_tools.terminals import Terminal

PAGE = (Path(__file__).parents[1] / "PLANT.md").read_text("utf-8")
OUTSIDE, INSIDE = re.findall(r"^## A gate .*?\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
(TRIED,) = re.findall(r"^## Try .*?\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)

pytestmark = [pytest.mark.full, pytest.mark.broker, pytest.mark.process]


def mosquitto_pub(line: str, plant: Plant) -> None:
    """Do what a line of the page does."""
    program, *options = shlex.split(line)
    given = dict(zip(options[::2], options[1::2], strict=True))
    assert (program, {*given}) == ("mosquitto_pub", {"-t", "-m"})
    publish.single(given["-t"], given["-m"], hostname=plant.broker.host, port=plant.broker.port)


def _says(line: str, plant: Plant) -> bool:
    return line in plant.cascade("constraints").stderr


def test_a_gate_from_outside(plant: Plant) -> None:
    """In the order of the page; what a value changes is awaited."""
    plant.start("press-line-3", tasks=20_000)
    plant.wait_for_runs("press-line-3")
    for kind, block in re.findall(r"^```(sh|console)\n(.*?^)```", OUTSIDE, re.MULTILINE | re.DOTALL):
        if kind == "sh":
            mosquitto_pub(block, plant)
            continue
        for command, lines in examples(f"```console\n{block}```"):
            if command == "cascade constraints":
                eventually(partial(_says, lines[-1], plant), lines[-1])
            check_example(command, lines, plant)


def stands_in(shown: list[str], screen: str) -> bool:
    """Whether the lines of the page, in which ``...`` stands for anything, are on the last screen, in this order."""
    lines = iter(("cascade watch" + screen.rpartition("cascade watch")[2]).splitlines())
    patterns = [re.escape(" ".join(line.split())).replace(r"\.\.\.", ".*") for line in shown if line]
    return all(any(re.fullmatch(each, " ".join(line.split())) for line in lines) for each in patterns)


def test_a_simulated_plant(plant: Plant, tmp_path: Path) -> None:
    """The files and lines of the page: the run holds, ``watch`` says why as the page shows, the run goes on and ends."""
    for code in re.findall(r"^```python\n(.*?)^```", TRIED, re.MULTILINE | re.DOTALL):
        (tmp_path / re.findall(r"^# (\S+)$", code, re.MULTILINE)[0]).write_text(code)
    (lines,) = re.findall(r"^```sh\n(.*?)^```", TRIED, re.MULTILINE | re.DOTALL)
    (screen,) = re.findall(r"^```text\n(.*?)^```", TRIED, re.MULTILINE | re.DOTALL)
    of_plant, of_gate, of_run, of_watch = (shlex.split(line) for line in lines.splitlines())
    assert [of_plant[0], of_gate[0], of_run[0], of_watch] == [
        "python",
        "cascade",
        "cascade",
        ["cascade", "watch"],
    ]
    assert plant.cascade(*of_gate[1:]).returncode == 0
    arguments = [each.replace("$CASCADE_BROKER", plant.broker.url) for each in of_plant[1:]]
    with (
        subprocess.Popen([sys.executable, *arguments], cwd=tmp_path) as simulated,
        subprocess.Popen(
            [*PATIENT, *of_run[1:]], cwd=tmp_path, env=plant.environment(), stdout=subprocess.PIPE, text=True
        ) as run,
        Terminal(of_watch[1:], plant.environment(), width=80, command=PATIENT) as terminal,
    ):
        try:
            eventually(
                lambda: stands_in(screen.splitlines(), terminal.text), "watch shows what the page shows", 120
            )
            printed, _ = run.communicate(timeout=120 * busyness())
        finally:
            simulated.kill()
            run.kill()
    assert (run.returncode, json.loads(printed)) == (0, [*range(50)])


def test_the_rule_that_lets_an_engine_read(plant: Plant) -> None:
    """The command of the page prints it."""
    ((command, lines),) = examples(PAGE.partition("## Rights")[2])
    check_example(command, lines, plant)


def test_a_gate_in_the_program(plant: Plant, tmp_path: Path) -> None:
    """The program waits for the beam, and prints what the page shows."""
    (code,) = re.findall(r"^```python\n(.*?)^```", INSIDE, re.MULTILINE | re.DOTALL)
    (line,) = re.findall(r"^```sh\n(.*?)^```", INSIDE, re.MULTILINE | re.DOTALL)
    (shown,) = re.findall(r"^```text\n(.*?)^```", INSIDE, re.MULTILINE | re.DOTALL)
    program = tmp_path / "expose.py"
    program.write_text(code.replace("mqtt://localhost", plant.broker.url))
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as process:

        def ended() -> bool:
            mosquitto_pub(line, plant)
            return process.poll() is not None

        eventually(ended, "the program goes on")
        assert process.stdout is not None
        assert process.stdout.read() == shown
