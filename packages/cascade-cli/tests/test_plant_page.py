"""The page about gates is true: each line is executed beside an engine, and prints what the page shows."""

import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from paho.mqtt import publish

from testing_tools.engines import Plant, eventually
from testing_tools.page_examples import check_example, examples

PAGE = (Path(__file__).parents[1] / "PLANT.md").read_text("utf-8")
OUTSIDE, INSIDE = re.findall(r"^## A gate .*?\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)

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
