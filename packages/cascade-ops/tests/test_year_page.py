"""The pages "Keep a year of runs" and "The morning after" are true: their questions and commands are executed."""

import re
import shlex
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from cascade.cli.main import main
from testing_tools.collected_nights import NOW, write_night
from testing_tools.memory_broker import MemoryBroker, Person
from testing_tools.page_examples import examples

PACKAGES = Path(__file__).parents[2]
YEAR = (PACKAGES / "cascade-ops" / "YEAR.md").read_text("utf-8")
MORNING = (PACKAGES / "cascade-web" / "MORNING.md").read_text("utf-8")
QUESTIONS = re.findall(r"^```sql\n(.*?)^```\n\n```\n(.*?)^```", YEAR, re.MULTILINE | re.DOTALL)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of the night that both pages show."""
    path = tmp_path / "all.sqlite"
    write_night(path)
    return path


@pytest.mark.parametrize(("question", "answer"), QUESTIONS)
def test_a_foreign_reader_gets_the_answer_that_the_page_shows(path: Path, question: str, answer: str) -> None:
    """The program `sqlite3`, or the module of that name where it is not installed."""
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    rows = connection.execute(question).fetchall()
    connection.close()
    assert ["|".join(map(str, row)) for row in rows] == answer.splitlines()


@pytest.mark.process
def test_the_program_sqlite3_answers_the_same(path: Path) -> None:
    """All five questions, in one call."""
    if (program := shutil.which("sqlite3")) is None:
        pytest.skip("sqlite3 is not installed")
    done = subprocess.run(
        [program, "-readonly", str(path), "".join(question for question, _ in QUESTIONS)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout == "".join(answer for _, answer in QUESTIONS)


def test_the_page_has_five_questions_and_each_table() -> None:
    """Its tables and columns are those of the file."""
    assert len(QUESTIONS) == 5


def test_the_tables_of_the_page_are_those_of_the_file(path: Path) -> None:
    """Each table and view with all its columns."""
    connection = sqlite3.connect(path)
    for name, listed in re.findall(r"^\| `(\w+)` \| (.*) \|$", YEAR, re.MULTILINE):
        columns = [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]
        shown = re.findall(r"`(\w+)`", listed.partition(": `")[2].join(["`", ""]))
        assert [each for each in shown if each in columns] == columns, name
    connection.close()


@pytest.mark.parametrize(("command", "lines"), [*examples(MORNING)])
def test_a_command_prints_what_the_tutorial_shows(
    path: Path, command: str, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal, on that morning; blanks count once."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    typed = shlex.split(command.replace("all.sqlite", str(path)))[1:]
    code, printed, _ = Person(MemoryBroker({}), monkeypatch).types(*typed)
    assert code == 0
    shown = " ".join(re.sub("─+", " ", " ".join(printed)).split())
    pattern = " ".join(re.escape(" ".join(line.split())).replace(r"\.\.\.", ".*") for line in lines if line)
    assert re.fullmatch(pattern, shown), shown


def test_the_collector_takes_the_options_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the unit, and of the tutorial: the command line is read before a broker is asked."""
    for page in (YEAR, MORNING):
        (line,) = re.findall(r"cascade (collect --to \S+ --keep \S+ --broker) mqtt://localhost", page)
        typed = line.replace("/srv/cascade/all.sqlite", "/nowhere/all.sqlite").replace(
            " all.sqlite", " /nowhere/all.sqlite"
        )
        assert main([*typed.split(), "mqtt://127.0.0.1:1"]) == 1
        assert "the folder /nowhere does not exist" in capsys.readouterr().err
