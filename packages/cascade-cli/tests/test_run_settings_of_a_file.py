"""What a run is given: options, ``cs.settings`` in its file, keywords of ``cs.main``; one table for all of them."""

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from cli_modules import keywords, run_options

import cascade as cs
from cascade.cli import main

SETTINGS = (Path(__file__).parents[2] / "cascade-py/docs/settings.md").read_text("utf-8")

FILE = """
import cascade as cs
from cascade.interfaces import LifecycleEvent

@cs.resource
def database():
    yield "db"

@cs.task
def read(unit, db=cs.inject("database")):
    return f"{db} {unit}"

@cs.task
def calls() -> int:
    with open("calls.txt", "a") as file:
        file.write("x")
    return 1

bus = cs.EventBus()
bus.subscribe(LifecycleEvent, lambda event: print(event.name, dict(event.tags)) if event.event == "ENGINE_STARTED" else None)
settings = cs.settings(resources=[database], params={"unit": "parts"}, name="nightly", tags={"line": "3", "kind": "a"}, bus=bus)
workflow = read(cs.Param("unit"))
cached = calls.with_cache()()

if __name__ == "__main__":
    cs.main(workflow, name="of main")
"""

Cascade = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cascade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cascade:
    """Run the command in this process and in a folder with the file: its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    (tmp_path / "declared.py").write_text(FILE)

    def run(*arguments: str) -> tuple[int, str, str]:
        sys.modules.pop("declared", None)
        try:
            return main(arguments), *capsys.readouterr()
        finally:
            sys.modules.pop("declared", None)

    return run


def test_every_keyword_of_a_run_has_an_option_or_a_reason() -> None:
    """And every one is a keyword of ``cs.settings``; the table of the settings is the same."""
    known = [*inspect.signature(cs.run).parameters]
    assert {*known} <= {*keywords.OPTIONS, *keywords.WITHOUT_OPTION}
    assert not {*keywords.OPTIONS} & {*keywords.WITHOUT_OPTION}
    assert {*inspect.signature(cs.settings).parameters} == {*known} - {"target"}
    command = click.command()(run_options(lambda **_: None))
    offered = {option for each in command.params for option in each.opts}
    assert {*keywords.OPTIONS.values()} - offered == {"FILE.py:NAME", "-p", "--broker"}
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| (.*?) \|", SETTINGS, re.MULTILINE))
    for name in known[1:]:
        assert rows[name] == (f"`{keywords.OPTIONS[name]}`" if name in keywords.OPTIONS else "none"), name


def test_a_file_declares_what_its_runs_are_given(cascade: Cascade) -> None:
    """Objects, values of inputs, name and tags; an option wins, and adds to labels and tags."""
    shown = "nightly {'line': '3', 'kind': 'a'}\ndb parts\n"
    assert cascade("run", "declared.py", "-q") == (0, shown, "")
    shown = "other {'line': '4', 'kind': 'a'}\ndb screws\n"
    options = ("--unit", "screws", "--run-name", "other", "--tag", "line=4")
    assert cascade("run", "declared.py", "-q", *options) == (0, shown, "")


def test_main_takes_the_keywords_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An option wins; a keyword that does not exist is refused with the nearest."""

    @cs.resource
    def database() -> object:
        yield "db"

    @cs.task(mode="inline")
    def read(db: str = cs.inject("database")) -> str:
        return db

    with pytest.raises(SystemExit) as ended:
        cs.main(read(), arguments=["-q"], resources=[database], cache=tmp_path / "cache.db")
    assert (ended.value.code, capsys.readouterr().out) == (0, "db\n")
    wrong: dict[str, object] = {"resource": [database]}
    with pytest.raises(
        TypeError, match=r"main.. got an unexpected keyword argument 'resource'; did you mean resources="
    ):
        cs.main(read(), arguments=["-q"], **wrong)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"settings.. got an unexpected keyword argument 'labbels'; did you mean labels="
    ):
        cs.settings(labbels={})  # type: ignore[call-arg]


def test_a_cache_in_a_file_is_kept_between_runs(cascade: Cascade, tmp_path: Path) -> None:
    """The second run calls nothing."""
    for _ in range(2):
        assert cascade("run", "declared.py:cached", "-q", "--cache", "cache.db")[0] == 0
    assert (tmp_path / "calls.txt").read_text() == "x"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--logs", "LOUD"], "--logs: needs the name of a level"),
        (["--run-id", "a\nb"], "--run-id: must not contain control characters"),
        (["--label", "x"], "Invalid value for '--label': needs KEY=VALUE such as site=hall-2, not 'x'"),
        (["--max-starts", "0"], "Invalid value for '--max-starts': needs a whole number from 1, or none"),
    ],
)
def test_an_error_names_the_option(cascade: Cascade, options: list[str], text: str) -> None:
    """Not the keyword of Python that stands for it."""
    code, _, err = cascade("run", "declared.py", "-q", *options)
    assert code == 2
    assert err.startswith(f"cascade: {text}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("give resume='cancelled' to continue it, or another run_id", "give --resume cancelled to continue it, or another --run-id"),
        ("then give max_starts=None to try again", "then give --max-starts none to try again"),
        ("name it in system_resources={'gpu': ...}", "give --resource gpu=..."),
        ("Engine(middleware=): takes a list", "settings(middleware=): takes a list"),
        ("run(tags={'a': ...}): needs a text", "--tag: needs a text"),
        ("leave params out to resume", "leave -p out to resume"),
    ],
)  # fmt: skip
def test_an_advice_is_what_can_be_written_on_the_command_line(text: str, words: str) -> None:
    """What only Python can give is named as a setting of the file."""
    assert keywords.in_words_of_the_command(text) == words
