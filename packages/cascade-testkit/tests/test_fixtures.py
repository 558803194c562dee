"""What the pytest plugin gives to every test, and that this repository's own tests ask for it."""

import ast
import re
import subprocess
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


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("    require_mosquitto()\n    Mosquitto()", []),
        ("    with Mosquitto(durable=True) as broker:\n        pass", ["test"]),
        ("    Mosquitto()\n    require_mosquitto()", ["test"]),
    ],
)
def test_a_mosquitto_made_unasked_is_found(body: str, found: list[str]) -> None:
    """Asked for first, made without a question, and asked for too late."""
    assert list(unguarded(f"async def test():\n{body}\n")) == found


@pytest.mark.full
@pytest.mark.process
@pytest.mark.timeout(180)
def test_on_windows_tests_run_on_a_selector_loop(tmp_path: Path, run_pytest: Run) -> None:
    """There, and only there, asyncio's default is a loop that cannot watch the sockets of an MQTT client."""
    tmp_path.joinpath("conftest.py").write_text(
        "import asyncio, os, types\n"
        "from cascade.testkit import fixtures\n"
        "fixtures.sys = types.SimpleNamespace(platform=os.environ['PLATFORM'])\n"
        "class Selector(asyncio.SelectorEventLoop): ...\n"
        "asyncio.SelectorEventLoop = Selector\n",
        encoding="utf-8",
    )
    tmp_path.joinpath("test_it.py").write_text(
        "import asyncio, pytest\n"
        "@pytest.mark.asyncio\n"
        "async def test_it():\n"
        "    print(type(asyncio.get_running_loop()).__name__)\n",
        encoding="utf-8",
    )
    assert "Selector\n" in run_pytest(tmp_path, "-rP", PLATFORM="win32").stdout
    assert "Selector\n" not in run_pytest(tmp_path, "-rP", PLATFORM="linux").stdout


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
