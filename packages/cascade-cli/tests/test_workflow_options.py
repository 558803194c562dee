"""The parameters of a workflow as options of a command: names, help, values given twice, and names that cannot be options."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_modules import split

import cascade as cs
from cascade.cli.main import main
from cascade.cli.script import script

Called = Callable[..., tuple[int, str, str]]


@cs.task(mode="inline")
def told(*values: Any) -> Any:
    """Give the values back."""
    return list(values)


def workflow(
    number: int,
    größe: float = 0.5,  # noqa: PLC2401
    quiet: bool = False,
    executor: str = "own",
    with_dash: str | None = None,
    check: bool = True,
) -> Any:
    """Look at [red] parts.

    More about it, which the help does not show.

    :param number: how many,
        in all
    :param executor: who does it
    """
    return told(number, größe, quiet, executor, with_dash, check, cs.Param("late", type=int, default=7))


@pytest.fixture
def called(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Called:
    """A program that calls ``cs.main`` with this workflow: its exit code, stdout and stderr."""
    monkeypatch.setattr("sys.argv", ["/some/where/tool"])
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str, target: Any = workflow) -> tuple[int, str, str]:
        code = script(target, arguments=arguments)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["--number", "3"], "[3, 0.5, False, 'own', None, True, 7]"),
        (["--number=3", "--with-dash", "a b", "--no-check"], "[3, 0.5, False, 'own', 'a b', False, 7]"),
        (["-p", "number=3", "-p", "with_dash=x=y", "--check"], "[3, 0.5, False, 'own', 'x=y', True, 7]"),
        (["-p", "größe=2", "-p", "quiet=yes", "-p", "executor=me", "--number", "3"],
         "[3, 2.0, True, 'me', None, True, 7]"),
        (["--number", "3", "-p", "check=off", "--param", "late=8"], "[3, 0.5, False, 'own', None, False, 8]"),
        (["--number", "-3", "-p", "with_dash="], "[-3, 0.5, False, 'own', '', True, 7]"),
    ],
)  # fmt: skip
def test_a_value_is_given_as_an_option_or_as_a_pair(
    arguments: list[str], printed: str, called: Called
) -> None:
    """A pair reaches every parameter: one that no option can have the name of, and one that is an option of the command."""
    assert called(*arguments, "-q") == (0, f"{printed}\n", "")


def test_a_secret_stays_out_of_the_process_list(
    called: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pair names a file or a variable; two @ mean one, and what cannot be read is one line without a value."""
    secret = tmp_path / "secret"
    secret.write_text("s3 cr3t\n")
    monkeypatch.setenv("SECRET", "from the environment")
    for given, text in (
        (f"@{secret}", "'s3 cr3t'"), ("env:SECRET", "'from the environment'"), ("@@home", "'@home'"), ("a@b", "'a@b'")
    ):  # fmt: skip
        expected = f"[3, 0.5, False, 'own', {text}, True, 7]\n"
        assert called("--number", "3", "-p", f"with_dash={given}", "-q") == (0, expected, "")
    for given, problem in (
        (
            f"@{tmp_path}/none",
            f"with_dash: the file {tmp_path}/none cannot be read: No such file or directory",
        ),
        ("env:NONE", "with_dash: the environment variable NONE is not set"),
    ):
        code, out, err = called("--number", "3", "-p", f"with_dash={given}")
        assert (code, out, err.count("\n"), problem in err) == (2, "", 1, True), err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--number", "3", "more"], "Got unexpected extra argument (more)"),
        (["--number", "x"], "Invalid value for '--number': needs a whole number, not 'x'; tool --help lists"),
        (["-p", "number"], "Invalid value for '-p' / '--param': needs KEY=VALUE, not 'number'; tool --help lists"),
        (["-p", "=3"], "Invalid value for '-p' / '--param': needs KEY=VALUE, not '=3'; tool --help lists"),
        (["-p", "number=x"], "-p number: needs a whole number, not 'x'\n"),
        (["--number", "1", "-p", "number=1"], "the parameter 'number' is given twice; give it once\n"),
        (["-p", "late=1", "-p", "late=2"], "the parameter 'late' is given twice; give it once\n"),
        ([], "tool needs number (how many, in all); pass -p number=...\n"),
        (["-p", "numbr=1", "--number", "3"], "tool has no parameter 'numbr'; did you mean 'number'?\n"),
        (["-p", "zzz=1", "--number", "3"],
         "tool has no parameter 'zzz'; it takes check, executor, größe, late, number, quiet, with_dash\n"),
        (["--number", "3", "-p", "late=x"], "-p late: needs a whole number, not 'x'\n"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_line(arguments: list[str], line: str, called: Called) -> None:
    """The option that is nearly right is named as one, although the workflow's own are known late."""
    code, out, err = called(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"tool: {line}")


@pytest.mark.parametrize(
    ("option", "near"), [("--numbr", "--number"), ("--with-dsh", "--with-dash"), ("-x", "")]
)
def test_an_option_that_does_not_exist_is_named_with_those_that_are_near(
    option: str, near: str, called: Called
) -> None:
    """Also those of the workflow, although they are unknown when the command line is read first."""
    code, out, err = called("--number", "3", option, "4")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("tool: No such option")
    assert option in err
    assert near in err


def test_the_help_lists_each_parameter_with_type_default_and_meaning(called: Called) -> None:
    """In a section of their own, before the options of the command; those that only -p reaches stand last."""
    code, out, _ = called("--help", target=workflow)
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0
    begin = lines.index("Parameters of tool:")
    assert lines[:begin] == ["Usage: tool [OPTIONS]", "", "Look at [red] parts.", ""]
    assert lines[begin + 1 : lines.index("Options:")] == [
        "--number INT how many, in all [required]",
        "--with-dash TEXT",
        "--check / --no-check [default: true]",
        "-p größe=FLOAT [default: 0.5]",
        "-p quiet=BOOL [default: false]",
        "-p executor=TEXT who does it [default: own]",
        "further inputs: -p NAME=VALUE",
        "",
    ]
    options = "\n".join(lines[lines.index("Options:") :])
    for each in (
        "-p, --param KEY=VALUE ",
        "--broker, --connector URL ",
        "-q, --quiet ",
        "--executor NAME ",
        "--json ",
    ):
        assert f"\n{each}" in options
    assert "number" not in options


def test_without_parameters_and_docstring_the_help_is_that_of_the_program(
    called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No empty section stands there."""
    monkeypatch.setattr(sys.modules["__main__"], "__doc__", "\n  Do what is needed.\n", raising=False)
    out = called("--help", target=told(1))[1]
    assert "  Do what is needed.\n" in out
    assert "Parameters of" not in out
    monkeypatch.setattr(sys.modules["__main__"], "__doc__", None)
    assert "  Run this workflow.\n" in called("--help", target=told(1))[1]


def test_a_program_lists_its_steps_or_draws_them_and_runs_nothing(called: Called) -> None:
    """A dry run needs every value, a picture none; as JSON the picture is the graph."""
    ran: list[int] = []

    @cs.task(mode="thread")
    def work(x: Any) -> Any:
        ran.append(x)
        return x

    target = work(told(cs.Param("caption")))
    code, out, err = called("--graph", target=target)
    assert (code, err) == (0, "")
    assert out.splitlines() == ["work", "└─ told", "   └─ caption (input)"]
    code, out, err = called("--dry-run", target=target)
    assert (code, out) == (2, "")
    assert "caption" in err
    code, out, _ = called("--dry-run", "--caption", "x", target=target)
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert [row[1:3] for row in rows] == [["input", "inline"], ["task", "inline"], ["task", "thread"]]
    assert [row[3] for row in rows] == ["", rows[0][0], rows[1][0]]
    both = called("--dry-run", "--graph", "--caption", "x", target=target)[1]
    assert both == out + "work\n└─ told\n   └─ caption (input)\n"
    code, out, _ = called("--graph", "--json", target=target)
    assert (code, out.lstrip()[0]) == (0, "[")
    assert ran == []


@pytest.mark.parametrize(
    ("text", "file", "name"),
    [
        ("night.py", "night.py", "workflow"),
        ("night.py:", "night.py", "workflow"),
        ("night.py:report", "night.py", "report"),
        ("jobs/night.py:a.b", "jobs/night.py", "a.b"),
        ("c:/jobs/night.py", "c:/jobs/night.py", "workflow"),
        ("c:\\jobs\\night.py", "c:\\jobs\\night.py", "workflow"),
        ("c:night.py", "c:night.py", "workflow"),
        ("c:night.py:report", "c:night.py", "report"),
        ("night", "night", "workflow"),
    ],
)
def test_a_file_may_be_followed_by_a_name(text: str, file: str, name: str) -> None:
    """The colon of a drive does not begin a name."""
    assert split(text) == (Path(file), name)


MODULE = """\
import json
from os.path import join
import cascade as cs

@cs.task(mode="inline")
def one(): return 1

class Jobs:
    nightly = one()

def night(): return one()
def _hidden(): return one()
first = one()
number = 3
a = b = c = d = first
"""
OFFERED = ", ".join(f"of_names.py:{name}" for name in ("night", "first", "a", "b", "c"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder; what is imported from it is forgotten at the end."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr("sys.argv", ["cascade"])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "code", "printed"),
    [
        ("first", 0, "1\n"),
        ("night", 0, "1\n"),
        ("Jobs.nightly", 0, "1\n"),
        ("_hidden", 0, "1\n"),
        ("nigth", 2, "cascade: of_names.py has no 'nigth'; did you mean of_names.py:night?\n"),
        ("Jobs.daily", 2, f"cascade: of_names.py has no 'Jobs.daily'; choose one: {OFFERED}\n"),
        ("jion", 2, f"cascade: of_names.py has no 'jion'; choose one: {OFFERED}\n"),
    ],
)  # fmt: skip
def test_a_name_is_looked_up_in_the_file(
    name: str, code: int, printed: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With dots, too; offered are its own functions and lazy results: nothing imported, private or of another kind."""
    (folder / "of_names.py").write_text(MODULE)
    assert main(["run", f"of_names.py:{name}", "-q"]) == code
    found = capsys.readouterr()
    assert (found.err if code else found.out) == printed


def test_a_file_of_a_package_finds_the_package_first_and_its_neighbours_last(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So a neighbour never hides a module of the same name that is installed; the arguments of the command are not the file's."""
    jobs = folder / "plant_jobs"
    jobs.mkdir()
    (jobs / "__init__.py").touch()
    (jobs / "json.py").write_text("raise ImportError('a neighbour')\n")
    (jobs / "neighbour_of_it.py").write_text("VALUE = 5\n")
    (jobs / "night_of_it.py").write_text(
        "import json, sys\n"
        "import cascade as cs\n"
        "from neighbour_of_it import VALUE\n"
        "from plant_jobs.neighbour_of_it import VALUE as SAME\n"
        "@cs.task(mode='inline')\n"
        "def give(x): return x\n"
        "workflow = give([__name__, VALUE + SAME, sys.argv, json.dumps(1)])\n"
    )
    before = [*sys.path]
    path = jobs / "night_of_it.py"
    assert main(["run", str(path.relative_to(folder)), "-q", "--events", "e.jsonl"]) == 0
    assert capsys.readouterr().out == f"['plant_jobs.night_of_it', 10, ['{path}'], '1']\n"
    assert sys.path[0] == str(folder)
    assert sys.path[-1] == str(jobs)
    assert sys.path[1:-1] == before
    assert sys.argv == [str(path)]
    (folder / "alone_of_it.py").write_text("from plant_jobs.night_of_it import workflow\n")
    assert main(["run", "alone_of_it.py", "-q"]) == 0
    assert sys.path[:2] == [str(folder), str(folder)]
    assert sys.path[-1] == str(jobs), "a file without a package has no neighbours of its own"


def test_a_package_within_a_package_is_imported_by_its_whole_name(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that a worker process, and relative imports, find it."""
    deep = folder / "plant_a" / "plant_b"
    deep.mkdir(parents=True)
    for each in (deep, deep.parent):
        (each / "__init__.py").touch()
    (deep / "helper_of_b.py").write_text("VALUE = 5\n")
    (deep / "job_of_b.py").write_text(
        "import cascade as cs\n"
        "from .helper_of_b import VALUE\n"
        "@cs.task(mode='inline')\n"
        "def workflow(): return [__name__, VALUE]\n"
    )
    assert main(["run", "plant_a/plant_b/job_of_b.py", "-q"]) == 0
    assert capsys.readouterr().out == "['plant_a.plant_b.job_of_b', 5]\n"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("\nimport helper_of_it\nhelper_of_it.fail()\n", "line 3: KeyError: 'x'"),
        ("def f():\n    raise ValueError\n\nf()\n", "line 2: ValueError"),
        ("x = (\n", "line 1: SyntaxError: "),
        ("import helper_with_a_fault\n", "line 1: SyntaxError: "),
    ],
)
def test_the_last_line_of_the_file_on_the_way_to_an_error_is_named(
    text: str, where: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not one of a module that it uses."""
    (folder / "helper_of_it.py").write_text("\n\n\n\n\ndef fail(): raise KeyError('x')\n")
    (folder / "helper_with_a_fault.py").write_text("\n\n\nx = (\n")
    (folder / "faulty_job.py").write_text(text)
    assert main(["run", "faulty_job.py"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"cascade: faulty_job.py cannot be imported: {where}")
    assert err.endswith("; --debug shows the traceback\n")


def test_two_parameters_never_share_an_option(called: Called) -> None:
    """The first one has it, and -p reaches the other one: so each line of the help does what it says."""

    def clashing(memory: bool = True, no_memory: int = 3) -> Any:
        return told(memory, no_memory, cs.Param("a-b", default=1), cs.Param("a_b", default=2))

    assert called("--no-memory", "-q", target=clashing) == (0, "[False, 3, 1, 2]\n", "")
    given = ("--no-memory", "-p", "no_memory=4", "--a-b", "5", "-p", "a_b=6", "-q")
    assert called(*given, target=clashing) == (0, "[False, 4, '5', '6']\n", "")
    lines = [" ".join(line.split()) for line in called("--help", target=clashing)[1].splitlines()]
    begin = lines.index("Parameters of tool:") + 1
    assert lines[begin : begin + 4] == [
        "--memory / --no-memory [default: true]",
        "--a-b TEXT [default: 1]",
        "-p no_memory=INT [default: 3]",
        "-p a_b=TEXT [default: 2]",
    ]

    def reversed_(no_memory: int = 3, memory: bool = True) -> Any:
        return told(memory, no_memory)

    assert called("--no-memory", "4", "-p", "memory=no", "-q", target=reversed_) == (0, "[False, 4]\n", "")


def test_a_task_with_annotations_as_text_has_the_types_of_its_function(called: Called) -> None:
    """As this module writes them; a name that only a type checker knows hides neither the other types nor the default's."""

    @cs.task(mode="inline")
    def typed(size: int = 1, *, names: list[str] | None = None, on: bool = False) -> Any:
        return [size, names, on]

    given = ("--size", "2", "--names", '["a"]', "--on", "-q")
    assert called(*given, target=typed) == (0, "[2, ['a'], True]\n", "")

    @cs.task(mode="inline")
    def odd(
        size: Unknown,  # type: ignore[name-defined] # noqa: F821
        times: Unknown = 1,  # type: ignore[name-defined] # noqa: F821
        names: list[str] | None = None,
        on: bool = False,
    ) -> Unknown:  # type: ignore[name-defined] # noqa: F821
        return [size, times, names, on]

    more = ("--size", "2", "--times", "3", "--names", '["a"]', "--on", "-q")
    assert called(*more, target=odd) == (0, "['2', 3, ['a'], True]\n", "")


def test_json_is_the_only_output_of_a_program(called: Called) -> None:
    """Wherever the option stands; its help is not JSON."""
    for arguments in (["--json", "--number", "3"], ["--number", "3", "--json"]):
        code, out, _ = called(*arguments)
        document = json.loads(out)
        assert (code, document["status"], document["result"]) == (
            0,
            "Succeeded",
            [3, 0.5, False, "own", None, True, 7],
        )
        assert document["counts"] == {"COMPLETED": 1}
    assert called("--json", "--help")[1].startswith("Usage: tool ")


def test_an_error_in_the_file_shows_its_traceback_for_debug(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever the option stands: the file is imported before the rest is read."""
    (folder / "failing_job.py").write_text("raise ValueError('odd')\n")
    for arguments in (
        ["run", "failing_job.py"],
        ["run", "--debug", "failing_job.py"],
        ["run", "failing_job.py", "--debug"],
    ):
        assert main(arguments) == 2
        err = capsys.readouterr().err
        assert ('failing_job.py", line 1, in' in err) == ("--debug" in arguments)
        last = "cascade: failing_job.py cannot be imported: line 1: ValueError: odd"
        assert err.splitlines()[-1].startswith(last)
