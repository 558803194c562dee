"""Pip lines have one source: messages take them from ``cascade.interfaces.distribution``, and pages agree with it."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from cascade.interfaces.distribution import DISTRIBUTION, install_line

ROOT = Path(__file__).parents[3]
PROJECTS = {
    project["name"]: project.get("optional-dependencies", {}).keys()
    for path in ROOT.glob("packages/*/pyproject.toml")
    for project in [tomllib.loads(path.read_text("utf-8"))["project"]]
}
SPELLED = re.compile(r"""pip install ['"]?cascade-|['" ]cascade-[\w-]+\[""")
"""A pip line, or the distribution with an extra, written out."""
PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob(".github/*.md"),
    *ROOT.glob("packages/*/*.md"),
    *ROOT.glob("packages/*/docs/*.md"),
]


def texts(path: Path) -> list[str]:
    """Every text of a module but its docstrings."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    docstrings = {node.value for node in nodes if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings
    ]


def test_the_distribution_is_the_sdks() -> None:
    """The one that has the extras."""
    assert PROJECTS[DISTRIBUTION] >= {"cli", "mqtt", "nats", "ops", "web", "all"}
    assert install_line("cli,mqtt") == f'pip install "{DISTRIBUTION}[cli,mqtt]"'


def test_no_message_spells_a_pip_line_itself() -> None:
    """A new name of the distribution changes one file."""
    paths = [*ROOT.glob("packages/*/src/**/*.py")]
    assert [path for path in paths if any(map(SPELLED.search, texts(path)))] == []
    assert len(paths) > 300


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_pip_line_of_a_page_is_the_one_that_messages_have(page: Path) -> None:
    """Of a distribution that exists, with extras that it has."""
    text = page.read_text("utf-8")
    lines = re.findall(r"""(pip install ['"]?(cascade-[\w-]+)(?:\[([\w,-]+)\])?['"]?)""", text)
    for line, distribution, extras in lines:
        assert line == install_line(extras, distribution)
        assert PROJECTS[distribution] >= {*extras.split(",")}
