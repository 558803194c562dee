"""The page about jobs that start by the clock is true: its lines are typed at the times that it says, and what they print is compared."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from cascade.interfaces import RecordedStatus
from cascade.runtime import SqliteState
from cascade.testkit.brokers import Mosquitto
from cascade.testkit.fixtures import require_mosquitto
from testing_tools.changed_clocks import ChangedClock
from testing_tools.engines import Plant, eventually
from testing_tools.page_examples import check_example, examples
from testing_tools.patient import PATIENT
from testing_tools.terminals import Terminal

PAGE = (Path(__file__).parents[1] / "CLOCK.md").read_text("utf-8")
STEPS = re.findall(r"^<!-- (.*?) -->$|^(```console\n.*?^```)$", PAGE, re.MULTILINE | re.DOTALL)
(JOB,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

pytestmark = [pytest.mark.full, pytest.mark.process, pytest.mark.broker]


class Machines(Plant):
    """Machines with one clock: a terminal for each service, and one for the other commands."""

    def __init__(self, broker: Mosquitto, folder: Path) -> None:
        super().__init__(broker)
        self.clock = ChangedClock(folder)
        self.folder = folder
        self.services: dict[str, Terminal] = {}

    def environment(self, further: Mapping[str, str] | None = None) -> dict[str, str]:
        return super().environment({**self.clock.environment, **(further or {})})

    def happens(self, what: str, value: str) -> None:
        """Do what a comment of the page says, or wait for it."""
        if what == "clock":
            self.clock.set(value)
        elif what == "kill":
            self.services.pop(value).__exit__(None, None, None)
        elif what == "run":
            # the service looks at its clock each 30 s
            eventually(lambda: self.has_ended(value), f"{value} has ended", 80.0)
        else:
            assert what == "lease"
            eventually(lambda: self.holders() == {value}, f"{value} holds the lease")

    def has_ended(self, run_id: str) -> bool:
        """Whether the first service has recorded a run."""
        found = SqliteState(self.folder / "runs").runs(run_id=run_id)
        return [each.status for each in found] == [RecordedStatus.SUCCEEDED]

    def holders(self) -> set[str]:
        """The machine that starts ticks, as each one that runs knows it."""
        rows = [row for row in self.json("workflows") if row["source"] in self.services and row["lease"]]
        return {row["lease"].get("holder", "") for row in rows}

    def types(self, line: str, shown: list[str]) -> None:
        """Type a line, and compare what it prints; a service stays in its terminal."""
        if line.startswith("cascade serve ") and not shown[0].startswith("cascade: "):
            words = shlex.split(line)[1:]
            service = Terminal(words, self.environment(), width=200, command=PATIENT).__enter__()
            self.services[name := words[words.index("--name") + 1]] = service
            service.wait_for(*shown)
            eventually(
                lambda: [row for row in self.json("workflows") if row["source"] == name and row["accepting"]],
                f"{name} offers its workflow",
            )
        else:
            check_example(line, shown, self)

    def close(self) -> None:
        """End what runs."""
        for service in self.services.values():
            service.__exit__(None, None, None)


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machines]:
    """Somebody who follows the page in an empty folder."""
    require_mosquitto()
    monkeypatch.chdir(tmp_path)
    with Mosquitto() as broker, Machines(broker, tmp_path) as made:
        yield made
        made.close()


@pytest.mark.timeout(600)
def test_every_line_of_the_page_does_what_it_says(machines: Machines) -> None:
    """In their order."""
    Path("audit.py").write_text(JOB)
    for comment, block in STEPS:
        for each in comment.split(", ") if comment else ():
            machines.happens(*each.split(": ", 1))
        for line, shown in examples(block):
            machines.types(line, shown)
