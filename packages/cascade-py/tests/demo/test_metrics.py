"""What is measured in one file, against counts made by hand and by other programs."""

from __future__ import annotations

import gc
import io
import json
import re
import subprocess
import sys
import sysconfig
import time
import tokenize
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyaudit.metrics import count_lines, decode, measure, measure_text
from pyaudit.model import Finding, Import, Lines, Module, Source

SOURCE = Source(Path("m.py"), "m.py", "m", is_package=False)


def complexities(text: str) -> dict[str, int]:
    return {function.name: function.complexity for function in measure_text(SOURCE, text).functions}


def imports(text: str) -> tuple[Import, ...]:
    return measure_text(SOURCE, text).imports


def test_every_line_is_code_comment_or_blank() -> None:
    """Docstrings are code, a blank line in a string is blank, and `#` in a string does not begin a comment."""
    text = '''"""Doc.

# not a comment
"""
# a comment
x = 1  # code

\t# a comment too
y = "# code"
'''
    assert count_lines(text) == Lines(total=9, code=5, comment=2, blank=2)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", Lines()),
        ("x", Lines(1, 1, 0, 0)),
        ("x\n", Lines(1, 1, 0, 0)),
        ("\n\n", Lines(2, 0, 0, 2)),
        ("# only", Lines(1, 0, 1, 0)),
        ("x = '\\'# no'\n# yes\n", Lines(2, 1, 1, 0)),
        ("x = ('a'\n  # between the parts of one string\n  'b')\n", Lines(3, 2, 1, 0)),
        ("x = r'''\\'''\n# yes\n", Lines(2, 1, 1, 0)),
        ("x = 1\x0cy\n", Lines(1, 1, 0, 0)),
    ],
)
def test_lines_of_awkward_sources(text: str, lines: Lines) -> None:
    """Quotes, escapes, missing line ends and form feeds are read as the tokenizer reads them."""
    assert count_lines(text) == lines


PIECES = [
    "# c",
    "x = 1  # c",
    '"""a\n# s\n\n"""',
    "'''\n#'''",
    "y = '\\'#'",
    'z = ("a"\n# c\n"b")',
    "",
    "    ",
    "f(r'\\\\')",
]


@given(st.lists(st.sampled_from(PIECES)))
def test_comment_lines_are_those_of_the_tokenizer(pieces: list[str]) -> None:
    """Whatever order code, strings and comments come in, the count is that of the standard tokenizer."""
    text = "\n".join([*pieces, ""])
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    expected = sum(
        token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip() for token in tokens
    )
    assert count_lines(text).comment == expected


@pytest.mark.parametrize(
    ("body", "complexity"),
    [
        ("pass", 1),
        ("if a: pass", 2),
        ("if a: pass\n else: pass", 2),
        ("if a: pass\n elif b: pass\n else: pass", 3),
        ("for a in b: pass\n else: pass", 2),
        ("while a:\n  if b: break", 3),
        ("with a:\n  if b: pass", 2),
        ("try: pass\n except A: pass\n except B: pass", 3),
        ("try: pass\n except A: pass\n else: pass\n finally:\n  if a: pass", 4),
        ("try: pass\n except* A: pass\n except* B:\n  if a: pass", 4),
        ("match a:\n  case 1: pass\n  case 2:\n   if b: pass", 4),
        ("match a:\n  case 1: pass\n  case _: pass", 2),
        ("match a:\n  case 1: pass\n  case b: pass", 2),
        ("match a:\n  case 1: pass\n  case (2 | _) as b: pass", 2),
        ("match a:\n  case 1: pass\n  case b if b: pass", 3),
        ("x = [i for i in a if i] if b and c else d", 1),
    ],
)
def test_complexity_of_each_statement(body: str, complexity: int) -> None:
    """Each statement adds the paths that it adds, by hand; expressions add none, as with ruff and flake8."""
    assert complexities(f"def f():\n {body}\n") == {"f": complexity}


def test_async_statements_count_as_their_twins_do() -> None:
    """`async for` is a loop, `async with` adds nothing but what stands in it."""
    assert complexities("async def f():\n async for a in b:\n  async with c:\n   if d: pass\n") == {"f": 3}


def test_functions_are_named_by_where_they_stand() -> None:
    """Methods and inner functions are found, in order; an inner function also weighs on the outer one."""
    text = """
class C:
    def m(self):
        def inner():
            if a: pass
        return inner
    class D:
        async def m(self): pass
if a:
    def f(): pass
try: pass
except E:
    def f(): pass
"""
    functions = measure_text(SOURCE, text).functions
    assert [(function.name, function.line, function.complexity) for function in functions] == [
        ("C.m", 3, 3),
        ("C.m.inner", 4, 2),
        ("C.D.m", 8, 1),
        ("f", 10, 1),
        ("f", 13, 1),
    ]


def test_classes_are_counted_wherever_they_stand() -> None:
    """Nested classes and classes in functions are classes."""
    assert measure_text(SOURCE, "class A:\n class B: pass\ndef f():\n class C: pass\n").classes == 3


def test_an_elif_chain_longer_than_the_recursion_limit_is_measured() -> None:
    """Each `elif` stands one level deeper in the tree than the one before; they are walked like any others."""
    length = 1_500
    assert length > sys.getrecursionlimit()
    assert complexities("def f():\n if a: pass\n" + " elif a: pass\n" * length) == {"f": 2 + length}


def test_every_form_of_import_is_seen() -> None:
    """Names, dots and stars are kept as written."""
    text = "import a, b.c as d\nfrom e import f as g, h\nfrom . import i\nfrom ..j import *\n"
    assert imports(text) == (
        Import("a", (), 0, deferred=False),
        Import("b.c", (), 0, deferred=False),
        Import("e", ("f", "h"), 0, deferred=False),
        Import("", ("i",), 1, deferred=False),
        Import("j", ("*",), 2, deferred=False),
    )


@pytest.mark.parametrize(
    ("text", "deferred"),
    [
        ("if a:\n import x\n", False),
        ("try:\n import x\nexcept E: pass\n", False),
        ("class C:\n import x\n", False),
        ("def f():\n import x\n", True),
        ("def f():\n class C:\n  import x\n", True),
        ("if TYPE_CHECKING:\n import x\n", True),
        ("if typing.TYPE_CHECKING: pass\nelse:\n import x\n", False),
        ('if __name__ == "__main__":\n import x\n', True),
    ],
)
def test_an_import_that_importing_does_not_execute_is_deferred(text: str, deferred: bool) -> None:
    """Functions and guards put an import off; conditions, handlers and classes do not."""
    assert imports(text) == (Import("x", (), 0, deferred),)


def test_a_coding_cookie_is_honoured_and_line_ends_are_made_one() -> None:
    """The text is what the compiler would read, from any encoding and any system."""
    assert decode(b"# coding: latin-1\r\nx = '\xe9'\ry\n") == "# coding: latin-1\nx = 'é'\ny\n"
    assert decode(b"\xef\xbb\xbfx") == "x"


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"x = 1\nprint 'hello'\n", 2, "Missing parentheses"),
        (b"# coding: nonsense\n", 0, "unknown encoding: nonsense"),
        (b"x\ny\nz = '\xff'\n", 0, "not utf-8 text: invalid start byte"),
        (b"x = 1\x00\n", 0, "source code string cannot contain null bytes"),
        (b"(" * 10_000, 1, "too many nested parentheses"),
        (b"-" * 100_000 + b"1", 0, ""),
    ],
)
def test_a_file_that_does_not_parse_is_a_finding(
    write_files: Callable[[Mapping[str, str | bytes]], Path], content: bytes, line: int, problem: str
) -> None:
    """Bad syntax, encodings, NUL and endless nesting are reported, with the line where there is one."""
    path = write_files({"bad.py": content}) / "bad.py"
    finding = measure(Source(path, "bad.py", "bad", is_package=False))
    assert isinstance(finding, Finding)
    assert (finding.shown, finding.line) == ("bad.py", line)
    assert finding.problem.startswith(problem)


def test_a_file_that_vanished_is_a_finding(tmp_path: Path) -> None:
    """A file that cannot be read is reported with the system's reason."""
    finding = measure(Source(tmp_path / "gone.py", "gone.py", "gone", is_package=False))
    assert finding == Finding("gone.py", 0, "cannot be read: No such file or directory")


@pytest.mark.full
@pytest.mark.process
def test_complexity_is_that_of_ruff_for_real_code() -> None:
    """For each function of some packages of the standard library it is what ruff's C901 finds."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    ours: dict[tuple[str, int, str], int] = {}
    folders = [stdlib / name for name in ("asyncio", "email", "importlib", "json", "unittest", "xml")]
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        measured = measure(Source(path, str(path), path.stem, is_package=False))
        assert isinstance(measured, Module)
        ours |= {(f.shown, f.line, f.name.split(".")[-1]): f.complexity for f in measured.functions}
    assert len(ours) > 1_000
    assert ours == complexity_by_ruff(folders)


def complexity_by_ruff(folders: list[Path]) -> dict[tuple[str, int, str], int]:
    options = ["--isolated", "--no-cache", "--exit-zero", "--select=C901", "--output-format=json"]
    limit = ["--config", "lint.mccabe.max-complexity=0", "--config", "exclude=[]"]
    command = [sys.executable, "-m", "ruff", "check", *options, *limit, *map(str, folders)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    result: dict[tuple[str, int, str], int] = {}
    for item in (item for item in found if item["code"] == "C901"):
        parsed = re.match(r"`(.+)` is too complex \((\d+) > 0\)", item["message"])
        assert parsed is not None
        result[item["filename"], item["location"]["row"], parsed[1]] = int(parsed[2])
    return result


@pytest.mark.process
def test_files_are_parsed_in_many_threads_at_once() -> None:
    """Even where every collection of garbage inside the parser lets another thread run, each result is right."""

    def let_others_run(phase: str, info: dict[str, int]) -> None:
        time.sleep(0)

    text = "def f():\n" + " if a: b = (c, [d], {e: (f, g)})\n" * 50
    threshold = gc.get_threshold()
    gc.callbacks.append(let_others_run)
    gc.set_threshold(10)
    try:
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(complexities, [text] * 60))
    finally:
        gc.set_threshold(*threshold)
        gc.callbacks.remove(let_others_run)
    assert found == [{"f": 51}] * 60
