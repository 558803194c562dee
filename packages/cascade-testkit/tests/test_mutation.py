"""The mutation session: what it changes in a source, which tests it runs, and when a mutant counts as killed."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "mutation"))

from mutating.checkout import Checkout
from mutating.finder import mutations
from mutating.trial import Outcome, Trial

GRADE = """\
def is_grown(age: int) -> bool:
    return age >= 18
"""
TESTS = """\
import tiny


def test_a_child_is_not_grown():
    assert not tiny.is_grown(5)


def test_eighteen_is_grown():
    assert tiny.is_grown(18)


def test_that_fails_where_mutants_are_tried():
    import os

    assert "CASCADE_MUTATION_TESTS" not in os.environ


def test_that_fails_once(tmp_path_factory):
    mark = tmp_path_factory.getbasetemp().parent / f"failed-once-{tiny.__file__.replace('/', '-')}"
    if not mark.exists():
        mark.touch()
        raise AssertionError
"""
A_CHILD, EIGHTEEN, FLAKY, ELSEWHERE = (
    f"packages/tiny/tests/test_tiny.py::{name}"
    for name in (
        "test_a_child_is_not_grown",
        "test_eighteen_is_grown",
        "test_that_fails_once",
        "test_that_fails_where_mutants_are_tried",
    )
)
SOURCE = "packages/tiny/src/tiny.py"


def mutants(source: str) -> list[str]:
    """Everything that a source can become, the line breaks and the parentheses of each part left out."""
    return [mutation.apply(source).strip() for mutation in mutations(source)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", ["(a <= b)"]),
        ("a is not b", ["(a is b)"]),
        ("a not in b", ["(a in b)"]),
        ("a and b", ["(a or b)", "(a)", "(b)"]),
        ("not a", ["(a)"]),
        ("a + b", ["(a - b)"]),
        ("a + 'x'", ["a + 'xx'"]),
        ("f(a, b, c=d)", ["(f(b, a, c=d))", "pass"]),
        ("f(*a, b)", ["pass"]),
        ("min(a, b)", ["pass"]),
        ("x = 3", ["x = (2)", "x = 4"]),
        ("x = True", ["x = False"]),
        ("x = 0.5", ["x = 2.0"]),
        ("x = 'key'", ["x = 'keyx'"]),
        ("x = 'a sentence'", []),
        ("x = a if b else c", ["x = (c if b else a)"]),
        ("x.y = z", ["pass"]),
        ("del x", ["pass"]),
        ("raise Wrong('key')", ["pass"]),
        ("ä = 'ü'; x = 'key'", ["ä = 'ü'; x = 'keyx'"]),
    ],
)
def test_each_part_of_a_line_has_its_mutations(source: str, expected: list[str]) -> None:
    """A place is counted in bytes, so that letters beyond ASCII do not move it."""
    assert sorted(mutants(source)) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""Docstring."""',
        "_log.warning('gone', 3)",
        "def __repr__(self):\n    return 'key' + 3",
        "if TYPE_CHECKING:\n    from a import b\n    x = 3",
        "x: Literal['key']",
        "def f(x: Literal['key']) -> Literal[3]: ...",
        "@dataclass(slots=True)\nclass A: ...",
        "__all__ = ['key']",
        "T = TypeVar('T', bound=Literal[3])",
        "f'{a + b}'",
    ],
)
def test_what_no_user_could_feel_is_left_alone(source: str) -> None:
    """Docstrings, logs, reprs, imports for type checkers, annotations and decorators have no mutations."""
    assert mutants(source) == []


@pytest.fixture
def no_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small tests need none, and pytest starts sooner."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture
def tiny(tmp_path: Path) -> Checkout:
    """A checkout with one small package and its tests."""
    root = tmp_path / "tiny"
    for path, text in ((SOURCE, GRADE), ("packages/tiny/tests/test_tiny.py", TESTS)):
        (root / path).parent.mkdir(parents=True)
        (root / path).write_text(text, "utf-8")
    (root / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib\n", "utf-8")
    (root / ".gitignore").write_text(".mutation/\n__pycache__/\n", "utf-8")
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    return Checkout(root)


def attempt(checkout: Checkout, scratch: Path, text: str, tests: Sequence[str], limit: float = 60) -> Outcome:
    """Try the one mutation that puts this line into the source."""
    (mutation,) = (each for each in mutations(GRADE) if text in each.apply(GRADE).splitlines())
    trial = Trial(checkout.copy_to(scratch / "copy"), scratch, nice=0, limit=limit)
    outcome = trial.run(SOURCE, mutation, [(list(tests), 0.0)])
    assert (trial.copy.root / SOURCE).read_text("utf-8") == GRADE
    return outcome


@pytest.mark.full
@pytest.mark.process
@pytest.mark.usefixtures("no_plugins")
def test_a_mutant_is_killed_by_the_first_test_that_fails_twice(tiny: Checkout, tmp_path: Path) -> None:
    """One that fails once and then passes does not count; afterwards the source is as before."""
    killed = attempt(tiny, tmp_path, "    return (age > 18)", [A_CHILD, FLAKY, EIGHTEEN])
    assert killed == Outcome("killed", EIGHTEEN, 3)


@pytest.mark.full
@pytest.mark.process
@pytest.mark.usefixtures("no_plugins")
def test_nothing_is_tried_where_tests_do_not_start(tiny: Checkout, tmp_path: Path) -> None:
    trial = Trial(tiny.copy_to(tmp_path / "copy"), tmp_path, nice=0)
    trial.prove([A_CHILD, EIGHTEEN])
    with pytest.raises(RuntimeError, match="without a mutation: not all started"):
        trial.prove([A_CHILD, f"{EIGHTEEN}_or_more"])
    (trial.copy.root / SOURCE).unlink()
    with pytest.raises(RuntimeError, match="the tests cannot be imported"):
        trial.prove([A_CHILD])
