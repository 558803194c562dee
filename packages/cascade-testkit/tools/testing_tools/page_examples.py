"""Examples of a page: each command line, with the lines that the page shows below it."""

import re
import shlex
from collections.abc import Iterator

from testing_tools.engines import Plant
from testing_tools.patient import PATIENT
from testing_tools.terminals import Terminal


def examples(page: str) -> Iterator[tuple[str, list[str]]]:
    """Each command line of a page, with the lines that it prints."""
    for block in re.findall(r"^```console\n(.*?)^```", page, re.MULTILINE | re.DOTALL):
        for part in block.split("$ ")[1:]:
            command, *lines = part.splitlines()
            yield command, lines


def check_example(command: str, lines: list[str], plant: Plant) -> None:
    """Run a command in a terminal and compare what it prints with the page.

    Blanks count once, and ``...`` stands for anything. The page leaves out the rule below a table's head, and how
    many tasks still run at that moment.
    """
    with Terminal(shlex.split(command)[1:], plant.environment(), width=120, command=PATIENT) as terminal:
        terminal.end()
        printed = re.sub(r"\s+running\s+\d+\s+tasks in the scope have not ended yet\s*$", "", terminal.text)
    check_printed(lines, printed)


def check_printed(lines: list[str], text: str) -> None:
    """Compare what a terminal has shown with the lines of a page."""
    printed = " ".join(re.sub("─+", " ", text).split())
    pattern = " ".join(re.escape(" ".join(line.split())).replace(r"\.\.\.", r".*") for line in lines if line)
    assert re.fullmatch(pattern, printed), (lines, printed)
