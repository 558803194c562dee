"""The mutation session: what it changes in a source, which tests it runs, and when a mutant counts as killed."""

import dataclasses
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "mutation"))

from mutating.checkout import Checkout
from mutating.command import choose, main
from mutating.coverage_by_test import CoverageByTest, read
from mutating.finder import mutations
from mutating.mutation import Mutation
from mutating.report import Mutant, summary
from mutating.trial import Outcome, Trial

ROOT = Path(__file__).parents[3]
GRADE = """\
def is_grown(age: int) -> bool:
    return age >= 18


def wait() -> None:
    done = False
    while not done:
        done = True
        sleep(0.01)


from time import sleep
"""
TESTS = """\
import tiny


def test_a_child_is_not_grown():
    assert not tiny.is_grown(5)


def test_eighteen_is_grown():
    assert tiny.is_grown(18)


def test_waiting_ends():
    tiny.wait()


def test_that_fails_where_mutants_are_tried():
    import os

    assert "CASCADE_MUTATION_TESTS" not in os.environ


def test_that_reserves_addresses():
    import mmap

    mmap.mmap(-1, 64 * 1024**3, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0).close()
    assert tiny.is_grown(18)


def test_that_fails_once(tmp_path_factory):
    mark = tmp_path_factory.getbasetemp().parent / f"failed-once-{tiny.__file__.replace('/', '-')}"
    if not mark.exists():
        mark.touch()
        raise AssertionError
"""
A_CHILD, EIGHTEEN, WAITING, FLAKY, ELSEWHERE, RESERVING = (
    f"packages/tiny/tests/test_tiny.py::{name}"
    for name in (
        "test_a_child_is_not_grown",
        "test_eighteen_is_grown",
        "test_waiting_ends",
        "test_that_fails_once",
        "test_that_fails_where_mutants_are_tried",
        "test_that_reserves_addresses",
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


def test_a_condition_is_negated_once_and_a_result_is_left_out() -> None:
    """A comparison already has its opposite."""
    assert mutants("def f():\n    if a:\n        return b") == [
        "def f():\n    if (not a):\n        return b",
        "def f():\n    if a:\n        return None",
    ]
    assert mutants("while a < b:\n    break") == ["while (a <= b):\n    break", "while a < b:\n    continue"]


@pytest.mark.parametrize(("text", "changes"), [("(3)", False), ("0x3", False), (")", False), ("4", True)])
def test_a_mutation_that_compiles_to_the_same_code_is_not_chosen(text: str, changes: bool) -> None:
    """Neither is one that does not compile."""
    assert Mutation(range(1, 2), 1, "constant", 4, 5, text).changes_code("x = 3") is changes


@pytest.mark.full
@pytest.mark.process
def test_random_mutations_of_these_sources_are_valid_python(seeded_random: random.Random) -> None:
    """Whatever is chosen compiles, once for each statement, and its diff has both sides."""
    chosen = choose(Checkout(ROOT), 40, seeded_random, only="cascade/spec/")
    assert len({(mutant.path, mutant.mutation.statement) for mutant in chosen}) == 40
    for mutant in chosen:
        compile(mutant.mutation.apply(mutant.source), mutant.path, "exec")
        assert "\n-" in mutant.diff
        assert "\n+" in mutant.diff


def test_a_constant_knows_the_lines_that_read_it() -> None:
    """Those of a module and those of a class, by name or as an attribute."""
    source = "LIMIT = 3\nclass A:\n    most: int = LIMIT + 4\n    def f(self):\n        return self.most\n"
    found = {mutation.statement: mutation.readers for mutation in mutations(source) if mutation.readers}
    assert found == {1: (3,), 3: (5,)}


def mutation_at(lines: range, statement: int) -> Mutation:
    return Mutation(lines, statement, "constant", 0, 0, "")


def test_the_quickest_test_that_executes_the_line_comes_first() -> None:
    """Without such a test: those of the statement, those of the file, or none where nothing executes the line."""
    by_test = CoverageByTest(
        {"t.py::slow": 2.0, "t.py::quick": 0.1, "u.py::other": 0.5},
        ["t.py::slow", "t.py::quick", "u.py::other", "t.py::failed"],
        {"a.py": {"1": [], "3": [0, 1, 3], "5": [2]}},
    )
    assert by_test.tests_of("a.py", mutation_at(range(3, 4), 3)) == ["t.py::quick", "t.py::slow"]
    assert by_test.tests_of("a.py", mutation_at(range(6, 8), 5)) == ["u.py::other"]
    assert by_test.tests_of("a.py", mutation_at(range(1, 2), 1)) == [
        "t.py::quick",
        "u.py::other",
        "t.py::slow",
    ]
    read_in_line_3 = dataclasses.replace(mutation_at(range(1, 2), 1), readers=(3, 4))
    assert by_test.tests_of("a.py", read_in_line_3) == ["t.py::quick", "t.py::slow"]
    first_imported_by_other = dataclasses.replace(mutation_at(range(5, 6), 5), readers=(3,))
    assert by_test.tests_of("a.py", first_imported_by_other) == ["t.py::quick", "u.py::other", "t.py::slow"]
    assert by_test.tests_of("a.py", mutation_at(range(9, 10), 9)) is None
    assert by_test.tests_of("b.py", mutation_at(range(1, 2), 1)) is None


def test_what_a_killed_process_had_begun_to_record_is_left_out(tmp_path: Path) -> None:
    """One damaged file must not cost a recording that takes an hour."""
    empty, damaged = tmp_path / "empty", tmp_path / "damaged"
    empty.touch()
    damaged.write_bytes(b"no database")
    assert read([empty, damaged], Checkout(tmp_path), {}) == CoverageByTest({}, [], {})


def test_files_that_the_line_concerns_most_come_first_up_to_the_budget() -> None:
    """The rest of the files follows, as far as the seconds suffice."""
    seconds = {"near.py::a": 1.0, "near.py::b": 2.0, "far.py::a": 0.5, "far.py::b": 0.5, "far.py::c": 9.0}
    by_test = CoverageByTest(seconds, list(seconds), {})
    tests = ["far.py::a", "far.py::b", "near.py::a", "near.py::b"]
    assert by_test.stages(tests, budget=10, first=1) == [tests[2:], tests[:2]]
    assert by_test.stages(tests, budget=3.5, first=1) == [tests[2:], tests[:1]]
    assert by_test.stages(tests, budget=1, first=1) == [tests[2:3]]


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
def test_a_test_that_fails_without_the_mutation_too_kills_nothing(tiny: Checkout, tmp_path: Path) -> None:
    """It cannot notice anything; the tests behind it still can."""
    line = "    return (age > 18)"
    assert attempt(tiny, tmp_path, line, [ELSEWHERE, A_CHILD]) == Outcome("survived", tests=2)
    assert attempt(tiny, tmp_path, line, [ELSEWHERE, EIGHTEEN]) == Outcome("killed", EIGHTEEN, 2)


@pytest.mark.process
@pytest.mark.usefixtures("no_plugins")
def test_a_program_may_reserve_more_addresses_than_memory(tiny: Checkout, tmp_path: Path) -> None:
    """Browsers do: a test that starts one would fail with every mutant."""
    assert attempt(tiny, tmp_path, "    return None", [RESERVING]) == Outcome("killed", RESERVING, 1)
    done = "        sleep(1.02)"
    assert attempt(tiny, tmp_path, done, [RESERVING]) == Outcome("survived", tests=1)


@pytest.mark.full
@pytest.mark.process
@pytest.mark.usefixtures("no_plugins")
def test_a_mutant_that_hangs_is_killed(tiny: Checkout, tmp_path: Path) -> None:
    """All that the tests started ends with the time limit."""
    killed = attempt(tiny, tmp_path, "        done = False", [WAITING], limit=3)
    assert killed == Outcome("killed", "the time limit", 1)


@pytest.mark.full
@pytest.mark.process
def test_the_command_records_once_and_reports_survivors(
    tiny: Checkout, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It runs all tests once, keeps what they execute, and prints seed, diffs and rate."""
    log = tmp_path / "log.jsonl"
    arguments = ["--checkout", str(tiny.root), "--count", "1", "--seed", "2", "--log", str(log)]
    arguments += ["--workers", "1", "--nice", "0"]
    assert main(arguments) in {0, 1}
    (kept,) = (tiny.root / ".mutation").iterdir()
    by_test = CoverageByTest.load(kept)
    assert by_test.tests_of(SOURCE, mutation_at(range(8, 9), 8)) == [WAITING]
    assert len(log.read_text("utf-8").splitlines()) == 1
    printed = capfd.readouterr().out
    assert "1 mutants with --seed 2" in printed
    assert "1 mutants: " in printed


def test_the_summary_names_survivors_and_the_rate() -> None:
    """A killed mutant is only counted."""
    source = "LIMIT = 3\nx = f(3)\n"
    first, second = (m for m in mutations(source) if "4" in m.text)
    tried = [
        (Mutant("a.py", source, first), Outcome("survived", tests=2)),
        (Mutant("a.py", source, second), Outcome("killed", "t.py::a", 2)),
    ]
    text = summary(tried)
    assert "survived, looks equivalent: a.py:1 off by one\n" in text
    assert "-LIMIT = 3\n+LIMIT = 4\n" in text
    assert text.endswith("2 mutants: 1 killed, 1 not noticed, of which 1 look equivalent; 50.0%")
