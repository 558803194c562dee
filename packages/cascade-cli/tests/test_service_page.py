"""The page that makes a service of a script is true: its files are written, its lines typed, and what they print compared."""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing_tools.engines import Plant, eventually
from testing_tools.page_examples import check_example, examples
from testing_tools.patient import PATIENT
from testing_tools.terminals import Terminal

PAGE = (Path(__file__).parents[1] / "SERVICE.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
(UNIT,) = [text for kind, text in BLOCKS if kind == "ini"]

pytestmark = [
    pytest.mark.full,
    pytest.mark.process,
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the page is about Linux"),
]


class Reader:
    """Does what the page says: one terminal has the service, another one the other commands."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.service: Terminal | None = None

    def types(self, line: str, shown: list[str]) -> None:
        """Do what a line says, and compare what it prints."""
        if line.startswith("cascade serve "):
            self.serve(line, shown)
        elif line.startswith("pkill "):
            assert self.service is not None
            self.service.process.kill()
            self.service.process.wait()
        else:
            check_example(line, shown, self.plant)

    def serve(self, line: str, shown: list[str]) -> None:
        """Press Ctrl-C in the service's terminal, and start it again there; wait until it says that it listens."""
        self.close()
        self.service = Terminal(
            shlex.split(line)[1:], self.plant.environment(), width=120, command=PATIENT
        ).__enter__()
        self.service.wait_for(*[each for each in shown if each != "..."])
        eventually(self.offers, "the service offers its workflow")

    def offers(self) -> bool:
        """Whether the service that runs now offers something."""
        return any(row["accepting"] for row in self.plant.json("workflows"))

    def close(self) -> None:
        """End the service."""
        if self.service is None:
            return
        if self.service.process.poll() is None:
            self.service.interrupt()
            assert self.service.end() == 0
        self.service.__exit__(None, None, None)
        self.service = None


@pytest.fixture
def reader(plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Somebody who follows the page in an empty folder."""
    monkeypatch.chdir(tmp_path)
    made = Reader(plant)
    yield made
    made.close()


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_every_line_of_the_page_does_what_it_says(reader: Reader) -> None:
    """In their order."""
    for kind, text in BLOCKS:
        if kind == "python":
            Path("audit.py").write_text(text)
        elif kind == "console":
            for line, shown in examples(f"```{kind}\n{text}```"):
                reader.types(line, shown)


def test_the_command_of_the_unit_serves_what_the_page_serves() -> None:
    """Its drain is shorter than the time that systemd gives it."""
    (line,) = re.findall(r"^ExecStart=/srv/press/.venv/bin/(.*)$", UNIT, re.MULTILINE)
    served = [
        line
        for kind, text in BLOCKS
        if kind == "console"
        for line in re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    ]
    assert line.removesuffix(" --drain 20s") in served
    assert "\nTimeoutStopSec=30\n" in UNIT
