"""The first page of the repository is true: each of its commands prints what the page shows."""

import os
import re
import shlex
from pathlib import Path
from typing import Self

import pytest

from cascade.testkit.ports import free_port
from testing_tools.engines import eventually
from testing_tools.patient import PATIENT
from testing_tools.suite_witness import SuiteWitness
from testing_tools.terminals import Terminal

pytestmark = [pytest.mark.broker, pytest.mark.process]

README = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")


def printed_below(command: str) -> list[str]:
    """The lines that the page shows below a command."""
    (printed,) = re.findall(rf"^\$ {re.escape(command)}\n(.*?)(?:\$|```)", README, re.DOTALL | re.MULTILINE)
    return [line for line in str(printed).splitlines() if line]


def shape(line: str) -> str:
    """A line without what differs from run to run: numbers, ids, bars, and which broker is installed."""
    line = re.sub(r"\b(?:[0-9a-f]{32}|[0-9a-f]{8})\b", "ID", line)
    line = re.sub(r"^(?:mosquitto|nats-server) listens", "BROKER listens", line)
    line = re.sub(r"[█░]+", "█", re.sub(r"\[[#.]+\]", "[#]", line))
    line = re.sub(r"\b\d+[smh]\b", "0s", line)  # a slow machine needs minutes
    line = re.sub(r"\b\d+:\d\d min\b", "0 s", line)
    return " ".join(re.sub(r"\d+(?:\.\d+)?", "0", line).split())


class Terminals:
    """Terminals in which a person types the commands of the page."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder = folder
        self._environment = {**os.environ, "CASCADE_BROKER": f"mqtt://127.0.0.1:{port}"}
        self._open: list[Terminal] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for terminal in reversed(self._open):
            terminal.__exit__(None, None, None)

    def start(self, command: str, *more: str) -> Terminal:
        """Type a command in a terminal of its own; wait until it has printed what the page shows first."""
        _, *arguments = shlex.split(command)
        self._open.append(
            Terminal([*arguments, *more], self._environment, command=PATIENT, folder=self._folder)
        )
        return self._open[-1]


def expect(terminal: Terminal, lines: list[str]) -> None:
    """Wait until a terminal has shown lines of these shapes."""

    def missing() -> list[str]:
        shown = {shape(line) for line in re.split(r"[\r\n]+", terminal.text)}
        return [line for line in lines if shape(line) not in shown]

    try:
        eventually(lambda: not missing(), "the lines of the page")
    except AssertionError:
        pytest.fail(f"{missing()} not in {terminal.text[-3000:]}")


@pytest.mark.full
def test_the_commands_of_the_page_print_what_it_shows(tmp_path: Path, witness: SuiteWitness) -> None:
    """In the order of the page, on the broker that its first command starts; only its port is another."""
    (job,) = re.findall(r"```python\n(import time\nimport cascade as cs.*?)```", README, re.DOTALL)
    until_go = f"while part > 10 and not __import__('pathlib').Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.1)"
    (tmp_path / "job.py").write_text(job.replace("time.sleep(1)", f"time.sleep(0.2)\n    {until_go}\n   "))
    port = free_port()
    with Terminals(tmp_path, port) as terminals:
        broker = terminals.start("cascade broker", "--port", str(port))
        expect(broker, printed_below("cascade broker"))
        witness.listen_at(port)
        command = "cascade run job.py --name press-line-3"
        run = terminals.start(command)
        progress, *end = printed_below(command)
        expect(run, [progress])
        steered = []
        for command in ("cascade pause --wait", "cascade watch", "cascade resume --wait"):
            steered.append(terminals.start(command))
            expect(steered[-1], printed_below(command))
            (tmp_path / "go").touch()  # two tasks ran until the pause was reported
        expect(run, end)
        pause, watch, resume = steered
        assert [each.end() for each in (pause, resume, run)] == [0, 0, 0]
        for each in (watch, broker):
            each.interrupt()
            assert each.end() == 130
