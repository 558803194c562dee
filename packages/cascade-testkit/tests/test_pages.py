"""The code of the pages runs, and the connector that they show is the example under ``examples``."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path

import pytest

from cascade.testkit import connector, executor

HERE = Path(__file__).parents[1]
EXAMPLE = HERE / "examples" / "jsonl-connector"
PAGES = "".join(page.read_text(encoding="utf-8") for page in sorted((HERE / "docs").glob("*.md")))
QUOTES = re.compile(r"^<!-- (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HASTE = """
from cascade.transport import backoff, senders, waiting

backoff.SHORTEST_PAUSE = backoff.LONGEST_PAUSE = senders.STEADY_AFTER = 0.01
waiting.NO_PROGRESS = 0.5
"""  # what is shown does not depend on how long a connector waits before it tries again
FILES = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The example as pip installs it: its package, and its entry points where Python looks for them."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shutil.copytree(EXAMPLE / "src", tmp_path, dirs_exist_ok=True)
    info = tmp_path / f"jsonl_connector-{project['version']}.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    sections = [
        "\n".join([f"[{group}]", *(f"{name} = {target}" for name, target in targets.items())])
        for group, targets in project["entry-points"].items()
    ]
    info.joinpath("entry_points.txt").write_text("\n".join(sections))
    return tmp_path


@pytest.mark.full
def test_a_connector_by_a_third_party_passes_the_suite(site: Path, run_pytest: Run) -> None:
    """Found by its entry point, in pytest's default mode, with nothing of this repository's settings."""
    done = run_pytest(EXAMPLE, PYTHONPATH=str(site))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed, \d+ skipped", done.stdout)


def test_the_pages_quote_the_example_as_it_is() -> None:
    """What a reader copies is what was tested."""
    quotes = dict(QUOTES.findall(PAGES))
    assert len(quotes) == 3
    for path, quoted in quotes.items():
        assert quoted == (HERE / path).read_text(encoding="utf-8"), path


@pytest.mark.full
@pytest.mark.wrong_messages(
    "in the suite that they run, a witness marks the end of what it sees", "cascade/status/+"
)
def test_the_tests_on_the_pages_pass(tmp_path: Path, run_pytest: Run) -> None:
    """Each block that begins with the name of a file is one."""
    blocks = FILES.findall(PAGES)
    assert len(blocks) == 6
    for name, code in blocks:
        (tmp_path / name).write_text(code, encoding="utf-8")
    (tmp_path / "conftest.py").write_text(HASTE, encoding="utf-8")
    done = run_pytest(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", [connector.Ability, executor.Ability])
def test_the_pages_name_every_ability(kind: Iterable[Enum]) -> None:
    """An author who declares them finds all of them."""
    assert [each.name for each in kind if f"`{each.name}`" not in PAGES] == []
