"""The examples and the pages of the manual run as printed, and print what they promise."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cascade as cs
from cascade.sdk.run_settings import Settings
from cascade.testkit.waiting import busyness

PACKAGE = Path(__file__).parents[1]
EXAMPLES = PACKAGE / "examples"
OBSERVER = PACKAGE.parent / "cascade-interfaces/docs/observer.md"
PAGES = [*sorted((PACKAGE / "docs").glob("*.md")), OBSERVER]

THUMBNAILS = "".join(f"image-{number}.jpg: 64 x 48\n" for number in range(8))
PRINTED = {
    "etl": "ada: 15.00\nbob: 15.06\n12 requests for 6 pages\n",
    "thumbnails": THUMBNAILS,
    "convergence": "1.414213562 after 5 steps\n",
    "gpu_queue": "9 jobs done, at most [12] at a time on 2 cards\n",
    "anywhere": "thread: 2262 primes\n",
}


def printed(program: Path, *arguments: str, but: tuple[str, ...] = ()) -> str:
    """Run a program as a user does, with every warning an error, but those; return what it prints."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", *but, program.name, *arguments],
        cwd=program.parent,
        capture_output=True,
        text=True,
        timeout=50 * busyness(),
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    # Dask does not await the heartbeat that is on its way when it closes a worker, and reports its end.
    assert not ended.stderr or ("dask" in arguments and "during heartbeat" in ended.stderr.partition("\n")[0])
    return ended.stdout


def test_every_example_is_here() -> None:
    """No example is without a test, and each states at its top how to run it."""
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PRINTED)
    for name in PRINTED:
        assert f"    python {name}.py" in (EXAMPLES / f"{name}.py").read_text("utf-8")


@pytest.mark.process
@pytest.mark.parametrize("name", PRINTED)
def test_an_example_prints_what_it_computes(name: str) -> None:
    """Run as a program, with every warning an error, it ends well and its output is right."""
    assert re.fullmatch(PRINTED[name], printed(EXAMPLES / f"{name}.py"))


@pytest.mark.full
@pytest.mark.process
def test_the_same_workflow_runs_on_threads_and_on_dask() -> None:
    """Both give the same."""
    program = EXAMPLES / "anywhere.py"
    assert printed(program, "thread", "dask") == "thread: 2262 primes\ndask: 2262 primes\n"


def test_the_settings_name_all_that_a_run_can_be_given() -> None:
    """One table has each keyword of ``cs.run``, and none that it does not take."""
    table = (PACKAGE / "docs/settings.md").read_text("utf-8").partition("\n\nAn `Engine`")[0]
    named = {name for name in inspect.signature(cs.run).parameters if name not in ("target", "settings")}
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == named | Settings.__annotations__.keys()
    of_a_run = inspect.signature(cs.Engine.run).parameters.keys() - {"self"}
    short = {"state", "cache"}  # of state_backend and cache_backend
    beyond = {"self", "clock"} | (named | Settings.__annotations__.keys()) - of_a_run - short
    assert inspect.signature(cs.Engine.__init__).parameters.keys() == beyond


@pytest.mark.full
@pytest.mark.process
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_of_the_manual_is_true(page: Path, tmp_path: Path) -> None:
    """Its blocks, one after the other in one program, print what the comments beside and below print() promise."""
    program = tmp_path / "page.py"
    program.write_text(
        "\n".join(re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)), "utf-8"
    )
    shown = re.findall(r"^\s*print\(.*\)  # (.+)$|^# (.+)$", program.read_text("utf-8"), re.MULTILINE)
    # executorlib's models are written for pydantic 1
    but = ("-W", "ignore::DeprecationWarning") if page.stem == "clusters" else ()
    assert printed(program, but=but).splitlines() == [beside or below for beside, below in shown]
    assert shown or page.stem == "settings"
