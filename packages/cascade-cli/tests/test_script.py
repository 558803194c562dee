"""``cs.main``: a script's own command line."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cascade as cs
from cascade.testkit.waiting import busyness

SCRIPT = '''
"""Add squares.

More words.
"""
import cascade as cs

@cs.task(mode="process")
def square(x: int) -> int:
    return x * x

@cs.task(mode="inline")
def total(values, caption):
    return f"{caption}: {sum(values)}"

items = cs.Param("items", type=list, default=[1, 2, 3])

if __name__ == "__main__":
    cs.main(total(square.map(x=items), cs.Param("caption", description="what the number is")))
'''

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the script in its folder."""
    (tmp_path / "squares.py").write_text(SCRIPT)

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "squares.py", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60 * busyness(),
            check=False,
        )

    return run


@pytest.mark.full
@pytest.mark.process
def test_the_inputs_of_a_script_are_its_options(run: Run) -> None:
    """Types, defaults and descriptions; the text above is the script's docstring. Worker processes run its tasks."""
    done = run("--help")
    assert done.stdout.startswith("Usage: squares.py [OPTIONS]\n\n  Add squares.\n")
    assert re.search(r"--items JSON array +\[default: \[1, 2, 3\]\]", done.stdout)
    assert re.search(r"--caption TEXT +what the number is  \[required\]", done.stdout)
    assert re.search(r"--broker, --connector URL +The broker", done.stdout)
    done = run("--caption", "sum", "--items", "[3, 4]", "-q")
    assert (done.stdout, done.stderr, done.returncode) == ("sum: 25\n", "", 0)


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "squares.py needs caption (what the number is); pass -p caption=..."),
        (["--items", "3"], "Invalid value for '--items': needs a JSON array such as [1, 2], not '3'; squares.py --help lists what it takes"),
        (["--caption", "x", "--broker", "nope://x"], "no connector named 'nope' (installed: "),
        (["-p", "captoin=x"], "squares.py:"),
    ],
)  # fmt: skip
def test_bad_input_begins_with_the_name_of_the_script(run: Run, arguments: list[str], line: str) -> None:
    """One line on stderr, and the code 2."""
    done = run(*arguments)
    assert (done.stdout, done.returncode, done.stderr.count("\n")) == ("", 2, 1), done.stderr
    assert done.stderr.startswith(f"squares.py: {line}".removesuffix("squares.py:"))


@pytest.mark.full
@pytest.mark.process
def test_the_command_runs_a_target_of_a_script_that_calls_main(tmp_path: Path) -> None:
    """What is under the guard does not run; without a guard the message says so."""
    (tmp_path / "squares.py").write_text(SCRIPT)
    command = [sys.executable, "-P", "-m", "cascade.cli", "run", "squares.py:square", "--x", "3", "-q"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60 * busyness(), check=False
    )
    assert (done.stdout, done.stderr) == ("9\n", "")
    (tmp_path / "squares.py").write_text(SCRIPT.replace('if __name__ == "__main__":', "if True:"))
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=60 * busyness(), check=False
    )
    assert done.returncode == 2
    assert "cs.main is called while the program is imported; put it under" in done.stderr


def test_main_takes_functions_and_arguments(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For programs that parse a part of the command line by themselves."""

    @cs.task(mode="inline")
    def give(value: int) -> int:
        return value

    def workflow(value: int, times: int = 2) -> cs.LazyResult[int]:
        return give(value * times)

    monkeypatch.setattr("sys.argv", ["/some/where/tool"])
    with pytest.raises(SystemExit) as end:
        cs.main(workflow, arguments=["--value", "3", "--times", "4", "-q"])
    assert (end.value.code, capsys.readouterr().out) == (0, "12\n")
    with pytest.raises(SystemExit) as end:
        cs.main(workflow, arguments=["--value", "three"])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("tool: Invalid value for '--value': needs a whole number")
