"""Fixtures and settings of a session of tests: brokers, seeds and signals."""

import ast
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cascade.testkit.brokers import Mosquitto
from cascade.testkit.fixtures import require_mosquitto

Run = Callable[..., subprocess.CompletedProcess[str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef

PACKAGES = Path(__file__).parents[2]


def test_a_missing_mosquitto_is_a_skip_at_home_and_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """A skip in CI would turn a broken environment green."""
    monkeypatch.setattr(Mosquitto, "find", lambda: None)
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="install mosquitto"):
        require_mosquitto()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="install mosquitto"):
        require_mosquitto()


def calls(function: Function, name: str) -> list[int]:
    """The lines on which a function calls a name."""
    return [
        node.lineno
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def unguarded(source: str) -> Iterator[str]:
    """Every function that makes a Mosquitto without having asked for one before."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function) and (made := calls(node, "Mosquitto")):
            asked = calls(node, "require_mosquitto")
            if not asked or min(asked) > min(made):
                yield node.name


@pytest.mark.full
@pytest.mark.process
def test_no_test_makes_a_mosquitto_unasked() -> None:
    """Where mosquitto is not installed a test that needs it is skipped; it does not fail."""
    files = PACKAGES.glob("*/tests/**/*.py")
    assert [f"{path.name}: {name}" for path in files for name in unguarded(path.read_text("utf-8"))] == []


@pytest.mark.full
@pytest.mark.process
@pytest.mark.timeout(180)
def test_dice_are_repeated_by_the_seed_that_a_failure_prints(tmp_path: Path, run_pytest: Run) -> None:
    """The first run draws a seed and prints it with the test that fails; the second is given it and draws the same."""
    tmp_path.joinpath("test_it.py").write_text(
        "def test_it(seeded_random):\n    assert not ('drawn', seeded_random.randrange(10**9), seeded_random.randrange(10**9))\n",
        encoding="utf-8",
    )
    first = run_pytest(tmp_path).stdout
    name, _, seed = re.findall(r"CASCADE_TEST_SEED=\d+", first)[0].partition("=")
    again = run_pytest(tmp_path, **{name: seed}).stdout
    drawn = [re.findall(r"\('drawn', \d+, \d+\)", text)[0] for text in (first, again)]
    assert drawn[0] == drawn[1]


def test_no_signal_of_a_terminal_is_ignored() -> None:
    """The tests, and the processes that they start, end by SIGINT and SIGHUP."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if sys.platform != "win32":
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


@pytest.mark.full
@pytest.mark.process
@pytest.mark.timeout(180)
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_tests_started_in_the_background_ignore_no_signal_of_a_terminal() -> None:
    """pytest restores what it inherits as ignored, as a background job of a shell and a program below nohup do."""
    selected = f"{Path(__file__)}::{test_no_signal_of_a_terminal_is_ignored.__name__}"
    command = f"trap '' INT HUP; exec '{sys.executable}' -m pytest -q -p no:cacheprovider -n 0 '{selected}'"
    ended = subprocess.run(["sh", "-c", command], check=False, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout
    assert "1 passed" in ended.stdout
