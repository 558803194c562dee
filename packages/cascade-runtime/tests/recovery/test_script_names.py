"""One script, started in different ways from attempt to attempt: its keys, digests, plans and classes are the same."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import asyncio, dataclasses, enum, sys
from cascade.runtime import Engine, SqliteState
from cascade.spec import task

class Colour(enum.Enum):
    RED = 1

@dataclasses.dataclass
class Page:
    number: int

class Plain:
    def __init__(self, number):
        self.number = number

def helper(value):
    return value

broken = sys.argv[2] if len(sys.argv) > 2 else ""

def note(what):
    print("ran", what, flush=True)
    if what == broken:
        raise ValueError(what)

@task
def first(number):
    note("first")
    return helper(Page(number))

@task
def second(page, more):
    note("second")
    return Plain(page.number + more.number)

@task
def third(plain, colour, how):
    note("third")
    return {"colour": colour, "plain": plain}

@task
def turn(number, found):
    note(f"turn {number}")
    return turn(number - 1, found) if number else found

@task
def last(*values):
    note("last")
    found = values[-1]
    return type(found["plain"]) is Plain and type(values[0]) is Page and found["colour"] is Colour.RED

def target():
    page = first(1)
    plain = second(page, Page(2))
    return last(page, plain, turn(2, third(plain, Colour.RED, helper)))

def main():
    state = SqliteState(sys.argv[1], power_safe=False)
    print("value", asyncio.run(Engine(state_backend=state).run(target(), run_id="night")))

if __name__ == "__main__":
    main()
"""
FROM_FILE, INSIDE, AS_MODULE, IMPORTED = (
    ("jobs/night.py",),
    ("night.py",),
    ("-m", "jobs.night"),
    ("-c", "import jobs.night; jobs.night.main()"),
)
STEPS = ("first", "second", "third", "turn 2", "turn 1", "turn 0", "last", "")


@pytest.mark.full
@pytest.mark.process
@pytest.mark.parametrize(
    ("package", "ways"),
    [
        (True, (FROM_FILE, AS_MODULE, INSIDE, IMPORTED, FROM_FILE, IMPORTED, AS_MODULE, FROM_FILE)),
        (True, (IMPORTED, INSIDE, AS_MODULE, IMPORTED, INSIDE, FROM_FILE, AS_MODULE, INSIDE)),
        (False, (FROM_FILE, AS_MODULE, INSIDE, AS_MODULE, FROM_FILE, INSIDE, AS_MODULE, FROM_FILE)),
    ],
    ids=["package", "package, imported first", "folder"],
)
def test_a_run_goes_on_however_its_script_is_started(
    package: bool, ways: tuple[tuple[str, ...], ...], tmp_path: Path
) -> None:
    """Each attempt gets one step further, and runs only that step and the one that fails."""
    jobs = tmp_path / "jobs"
    jobs.mkdir()
    (jobs / "night.py").write_text(SCRIPT)
    if package:
        (jobs / "__init__.py").touch()
    ran = []
    for way, broken in zip(ways, STEPS, strict=True):
        done = subprocess.run(
            [sys.executable, *way, str(tmp_path / "runs"), broken],
            cwd=jobs if way is INSIDE else tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (f"ValueError: {broken}" in done.stderr) == bool(broken), done.stderr
        ran.append(done.stdout.splitlines())
    assert ran[0] == ["ran first"]
    assert ran[1:-1] == [[f"ran {one}", f"ran {two}"] for one, two in itertools.pairwise(STEPS[:-1])]
    assert ran[-1] == ["ran last", "value True"]
