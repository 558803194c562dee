"""Markdown from docstrings, and the texts below the assignments of a module, which Python does not keep."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from functools import cache
from pathlib import Path

from website.pages import ROOT

_FIELD = re.compile(r"^:(param|raises|return|returns|yields) ?([^:]*): ?(.*)$")
_ROLE = re.compile(r":\w+:`~?([^`]*)`")
_TITLES = {
    "param": "Parameters",
    "raises": "Raises",
    "return": "Returns",
    "returns": "Returns",
    "yields": "Yields",
}


def markdown(docstring: str) -> str:
    """Return a docstring as Markdown: fields of Sphinx become lists, and examples blocks."""
    lines = inspect.cleandoc(docstring).splitlines()
    fields = [number for number, line in enumerate(lines) if _FIELD.match(line)]
    text = _text(lines[: fields[0]] if fields else lines)
    titles: dict[str, list[str]] = {}
    for begin, end in itertools.pairwise([*fields, len(lines)]):
        kind, name, first = _FIELD.match(lines[begin]).groups()  # type: ignore[union-attr]
        words = inline(" ".join([first, *(line.strip() for line in lines[begin + 1 : end])]).strip())
        titles.setdefault(_TITLES[kind], []).append(f"- `{name}`: {words}" if name else f"- {words}")
    lists = [f"**{title}**\n\n" + "\n".join(items) for title, items in titles.items()]
    return "\n\n".join(part for part in (text, *lists) if part)


def _text(lines: list[str]) -> str:
    made: list[str] = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        if paragraph.startswith(">>> "):
            made.append(f"```python\n{paragraph}\n```")
        elif paragraph.startswith(("- ", "    ")):
            made.append(paragraph if paragraph.startswith("    ") else inline(paragraph))
        else:  # a list needs an empty line before it
            made.append(inline(re.sub(r"\n(- .*)", r"\n\n\1", paragraph, count=1, flags=re.DOTALL)))
    return "\n\n".join(made).rstrip()


def inline(text: str) -> str:
    """Keep code as it is, and take away what other text would mean to Markdown."""
    parts = re.split(r"(``.*?``|`[^`]*`)", _ROLE.sub(r"``\1``", text), flags=re.DOTALL)
    return "".join(
        part if number % 2 else re.sub(r"([<*\[_])", r"\\\1", part) for number, part in enumerate(parts)
    )


@cache
def assignments() -> dict[str, list[tuple[str, str, str]]]:
    """Return by name the assignments that a string below describes: module, statement, text."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for path in sorted(ROOT.glob("packages/*/src/cascade/**/*.py")):
        source = path.read_text("utf-8")
        for statement, below in itertools.pairwise(ast.parse(source).body):
            name = _assigned(statement)
            if name and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                text = ast.get_source_segment(source, statement) or ""
                found.setdefault(name, []).append((_module(path), text, str(below.value.value)))
    return found


def _assigned(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return None


def _module(path: Path) -> str:
    inside = path.relative_to(ROOT).parts[3:]
    return ".".join(inside).removesuffix(".py").removesuffix(".__init__")
