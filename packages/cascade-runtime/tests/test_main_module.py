"""Tasks of the main module in processes: scripts, ``python -m``, ``python -c``, stdin and notebooks."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from cascade.testkit.waiting import busyness

pytestmark = pytest.mark.process

# A program whose task, argument, result and error are all of its main module.
PROGRAM = """
import asyncio, dataclasses, enum, os, sys
from cascade.runtime import Engine
from cascade.runtime._support import loop_lag
from cascade.spec import task

loop_lag.LAG_LIMIT = 3600  # imports take long on a busy machine, and stderr is compared
ARGUMENT = sys.argv[1]
print("imported as", __name__)

class Color(enum.Enum):
    RED = 1

@dataclasses.dataclass
class Point:
    x: int

class Broken(Exception):
    def __init__(self, *, code):
        super().__init__(f"broken with {code}")
        self.code = code

def helper(x):
    return x + 1

@task(mode="process")
def move(point, color):
    return Point(helper(point.x)), color, ARGUMENT, os.getpid()

@task(mode="process")
def fail():
    raise Broken(code=3)

def main():
    point, color, argument, process = asyncio.run(Engine().run(move(Point(1), Color.RED)))
    assert type(point) is Point and point == Point(2) and color is Color.RED and argument == ARGUMENT
    assert process != os.getpid()
    try:
        asyncio.run(Engine().run(fail()))
    except Broken as exc:
        assert exc.code == 3
    print("passed")
"""
GUARDED = PROGRAM + '\nif __name__ == "__main__":\n    main()\n'
UNGUARDED = PROGRAM + "\nmain()\n"
WITHOUT_CLOUDPICKLE = "import sys; sys.modules['cloudpickle'] = None\n"
INSTALL = "or install cloudpickle (pip install cloudpickle), which sends functions and classes by value"
# What IPython does: the main module is made by hand, no file contains it, and cells are executed in it.
CELLS = """
import sys, types
main = types.ModuleType("__main__")
sys.modules["__main__"] = main
exec(compile(open(sys.argv.pop()).read(), "<cell 1>", "exec"), main.__dict__)
"""

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run Python in a folder of its own, with files and arguments."""

    def run(*arguments: str, stdin: str = "", **files: str) -> "subprocess.CompletedProcess[str]":
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        command = [sys.executable, *arguments, "word"]
        return subprocess.run(
            command,
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60 * busyness(),
            check=False,
        )

    return run


def assert_passed(done: "subprocess.CompletedProcess[str]", *names: str) -> None:
    """Assert that the program ran once, and that its main module was imported under these names."""
    assert (done.stderr, done.returncode) == ("", 0)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line == "passed"] == ["passed"]
    assert {line.rpartition(" ")[2] for line in lines if line != "passed"} == set(names)


@pytest.mark.full
@pytest.mark.parametrize("begin", ["", WITHOUT_CLOUDPICKLE], ids=["with cloudpickle", "without"])
def test_a_script_with_a_guard_is_imported_under_another_name(run: Run, begin: str) -> None:
    """As with multiprocessing: classes keep their identity, and ``sys.argv`` is there."""
    assert_passed(run("job.py", job=begin + GUARDED), "__main__", "__mp_main__")


@pytest.mark.full
def test_a_module_that_was_started_by_name_is_imported_under_another_name(run: Run, tmp_path: Path) -> None:
    """``python -m``, with a module in a package, and with a package."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "__init__.py").touch()
    relative = GUARDED.replace("import asyncio", "from . import other\nimport asyncio")
    (tmp_path / "jobs" / "other.py").touch()
    for name in ("nightly", "__main__"):
        (tmp_path / "jobs" / f"{name}.py").write_text(WITHOUT_CLOUDPICKLE + relative)
    assert_passed(run("-m", "jobs.nightly"), "__main__", "__mp_main__")
    assert_passed(run("-m", "jobs"), "__main__", "__mp_main__")


@pytest.mark.full
def test_what_no_worker_can_import_is_sent_by_value(run: Run, tmp_path: Path) -> None:
    """With cloudpickle: a script without a guard, ``python -c``, stdin, and a notebook; nothing runs twice."""
    assert_passed(run("job.py", job=UNGUARDED), "__main__")
    assert_passed(run("-c", UNGUARDED), "__main__")
    assert_passed(run("-", stdin=UNGUARDED), "__main__")
    (tmp_path / "cell.txt").write_text(UNGUARDED)
    cells = CELLS.replace("sys.argv.pop()", "'cell.txt'")
    assert_passed(run("notebook.py", notebook=cells), "__main__")


def test_without_cloudpickle_three_lines_say_what_to_do(run: Run) -> None:
    """They end the traceback, which shows nothing of pickling; the place of the task follows. Nothing runs twice."""
    done = run("job.py", job=WITHOUT_CLOUDPICKLE + UNGUARDED)
    assert done.stdout == "imported as __main__\n"
    lines = done.stderr.splitlines()
    assert lines.pop().startswith("task 'move' is declared in ")
    assert "task 'move' cannot run in another process: its function is a function of the main" in lines[-3]
    assert "job.py has no `if __name__ ==" in lines[-3]
    assert lines[-2] == (
        'put the code that the program runs under `if __name__ == "__main__":`, '
        "or move the task into a module and import it,"
    )
    assert lines[-1] == INSTALL
    assert len(lines) < 40
    assert "pickled_calls" not in done.stderr


@pytest.mark.parametrize("how", ["-c", "-"])
def test_without_cloudpickle_and_without_a_file_three_lines_say_what_to_do(run: Run, how: str) -> None:
    """There is nothing to guard: the task has to move into a module."""
    program = WITHOUT_CLOUDPICKLE + UNGUARDED
    done = run("-c", program) if how == "-c" else run("-", stdin=program)
    lines = done.stderr.splitlines()
    assert lines.pop().startswith("task 'move' is declared in ")
    assert "which no worker can import, because no file contains it" in lines[-3]
    assert lines[-2:] == ["move the task into a module and import it,", INSTALL]


def test_a_class_of_the_main_module_is_named(run: Run) -> None:
    """The task is of a module, its argument is not; the error names the argument and its class."""
    job = """
        import asyncio, sys
        sys.modules["cloudpickle"] = None
        from cascade.runtime import ProcessExecutor
        class Point: ...
        asyncio.run(ProcessExecutor(1).run(repr, (Point(),), {}))
    """
    done = run("job.py", job=textwrap.dedent(job))
    assert (
        "'repr' cannot run in another process: argument 'obj' is of Point, a class of the main" in done.stderr
    )


def test_a_main_module_that_runs_tasks_while_it_is_imported_is_an_error(run: Run) -> None:
    """Its guard guards nothing: each worker would start further ones; the error says so, and the program ends."""
    done = run("job.py", job=WITHOUT_CLOUDPICKLE + UNGUARDED + "\nif __name__ == '': pass\n")
    assert done.returncode == 1
    assert "the main module that it imports runs tasks); put that code under" in done.stderr


def test_a_main_module_that_ends_the_program_is_an_error(run: Run) -> None:
    """It calls ``sys.exit`` where the worker imports it: the worker survives, and the error has the cause."""
    end = "\nif __name__ == '__mp_main__': sys.exit(5)\n"
    done = run("job.py", job=GUARDED.replace("class Color", f"{end}\nclass Color"))
    assert "job.py cannot be imported (SystemExit: 5)" in done.stderr
