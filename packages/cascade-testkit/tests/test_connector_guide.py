"""The guide CONNECTOR.md is followed literally: its blocks, in their order, are a connector that passes the suite."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

HERE = Path(__file__).parents[1]
BLOCKS = re.compile(r"^<!-- (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGE = (HERE / "CONNECTOR.md").read_text(encoding="utf-8")
PREFIX = "examples/hub-connector/"

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


@pytest.fixture
def followed(tmp_path: Path) -> Path:
    """What a reader has at the end of the page, installed: its package, and its entry point."""
    for path, text in BLOCKS.findall(PAGE):
        file = tmp_path / path.removeprefix(PREFIX)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = tmp_path / "src" / f"hub_connector-{project['version']}.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (target,) = project["entry-points"]["cascade.connectors"].items()
    info.joinpath("entry_points.txt").write_text("[cascade.connectors]\n{} = {}\n".format(*target))
    return tmp_path


@pytest.mark.full
def test_a_connector_made_by_the_guide_passes_the_suite(
    followed: Path, run_pytest: Callable[..., CompletedProcess[str]]
) -> None:
    """Nothing beyond the page is needed."""
    done = run_pytest(followed, PYTHONPATH=str(followed / "src"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"1\d\d passed, \d+ skipped", done.stdout)


def test_the_guide_quotes_the_example_as_it_is() -> None:
    """So the example's types and style are those of the page."""
    quotes = dict(BLOCKS.findall(PAGE))
    assert len(quotes) == 6
    for path, quoted in quotes.items():
        assert quoted == (HERE / path).read_text(encoding="utf-8"), path
