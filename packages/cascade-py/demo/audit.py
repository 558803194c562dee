"""The job of the demo: parse every Python file of a folder, one task for each, and report what stands out.

It is an ordinary job: ``cascade run audit.py -p folder=src`` runs it without the demo.
"""

from __future__ import annotations

import ast
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import cascade as cs

BRANCHES = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.BoolOp,
    ast.IfExp,
    ast.match_case,
)
INSTALLED = {"site-packages", "dist-packages", "__pycache__"}


class Measured(NamedTuple):
    """What was found in one file."""

    lines: int
    functions: int
    most_branches: int
    """Branches of the function that has the most of them."""
    where: str
    """That function, as ``file:line name``; for a file that does not parse, why."""
    parsed: bool


@cs.task
def audit(path: str) -> Measured:
    """Measure one file."""
    try:
        text = Path(path).read_text("utf-8")
        tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        return Measured(0, 0, 0, f"{path}: {type(error).__name__}", parsed=False)
    functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    ranked = [(branches_of(each), f"{path}:{each.lineno} {each.name}") for each in functions]
    most, where = max(ranked, default=(0, path))
    return Measured(text.count("\n"), len(functions), most, where, parsed=True)


@cs.task
def report(measured: list[Measured]) -> str:
    """Put what was measured into the text that a person reads."""
    total = f"{len(measured):,} files, {sum(m.lines for m in measured):,} lines, {sum(m.functions for m in measured):,} functions"
    top = sorted(measured, key=lambda each: -each.most_branches)[:5]
    failed = sum(not each.parsed for each in measured)
    lines = [f"{each.most_branches:5} branches  {each.where}" for each in top if each.most_branches]
    return "\n".join([total, *lines, f"{failed} files do not parse"])


def workflow(folder: str = "") -> cs.LazyResult[str]:
    """Declare the audit of a folder.

    :param folder: of Python files; the standard library of this Python if it is empty.
    """
    top = Path(folder or sysconfig.get_path("stdlib"))
    if not top.is_dir():
        raise NotADirectoryError(f"{top} is not a folder; name a folder of Python files")
    return report(audit.map(path=sorted(map(str, python_files(top)))))


def python_files(folder: Path) -> Iterable[Path]:
    """Find the Python files below a folder, without hidden and installed ones."""
    for path in folder.rglob("*.py"):
        parents = path.relative_to(folder).parts[:-1]
        if not any(name in INSTALLED or name.startswith(".") for name in parents):
            yield path


def branches_of(function: ast.AST) -> int:
    """Count the branches of a function."""
    return sum(isinstance(each, BRANCHES) for each in ast.walk(function))
