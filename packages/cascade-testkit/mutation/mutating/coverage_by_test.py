"""Which tests execute which line: recorded once for a checkout, and kept below its folder ``.mutation``."""

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import coverage
from coverage.exceptions import DataError

from . import recording
from .checkout import Checkout
from .mutation import Mutation

_SETTINGS = """\
[run]
parallel = true
data_file = {data}
context = ${{{test}-}}
include = {sources}
disable_warnings = no-data-collected
patch = _exit
"""


@dataclasses.dataclass(frozen=True, slots=True)
class CoverageByTest:
    """The tests that execute each line, and how long each of them takes in seconds."""

    seconds: dict[str, float]
    names: list[str]
    lines: dict[
        str, dict[str, list[int]]
    ]  # file -> line -> indices of names; empty: executed by an import only

    def tests_of(self, path: str, mutation: Mutation) -> list[str] | None:
        """Return the tests that can notice a mutation, the quickest first; None if nothing executes it.

        For what an import executes, those are also the tests that execute a line which reads what it assigns: a test
        that happens to import the file first need not use it. Without any, those that execute any line of the file.
        """
        lines = self.lines.get(path, {})
        executed = [lines[key] for line in mutation.lines if (key := str(line)) in lines]
        executed = executed or [lines[key] for key in [str(mutation.statement)] if key in lines]
        if not executed:
            return None
        readers = (lines.get(str(line), ()) for line in mutation.readers)
        found = {index for tests in (*executed, *readers) for index in tests} or {
            index for tests in lines.values() for index in tests
        }
        names = (self.names[index] for index in found)
        return sorted((name for name in names if name in self.seconds), key=self.seconds.__getitem__)

    def quickest(self, count: int) -> list[str]:
        """Return the quickest tests, one of a file."""
        of_file: dict[str, str] = {}
        for name in sorted(self.seconds, key=self.seconds.__getitem__):
            of_file.setdefault(_file(name), name)
        return [*of_file.values()][:count]

    def stages(self, tests: list[str], *, budget: float, first: int = 6) -> list[list[str]]:
        """Split tests into those of a few files that concern the line most, and the others, up to a budget.

        To collect all files takes longer than to run most tests. ``budget`` is in seconds of the tests' own time.
        """
        everything, concerned = Counter(map(_file, self.seconds)), Counter(map(_file, tests))
        by_concern = sorted(concerned, key=lambda file: concerned[file] / everything[file], reverse=True)
        near = set(by_concern[:first])
        parts = [[t for t in tests if (_file(t) in near) is is_near] for is_near in (True, False)]
        left = budget
        for part in parts:
            left -= self._cut(part, left)
        return [part for part in parts if part]

    def _cut(self, tests: list[str], budget: float) -> float:
        """Drop the longest tests at the end of a list that would take more than the budget; return what stays."""
        spent = 0.0
        for position, name in enumerate(tests):
            if spent + self.seconds[name] > budget:
                del tests[position:]
                break
            spent += self.seconds[name]
        return spent

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self)), "utf-8")

    @classmethod
    def load(cls, path: Path) -> "CoverageByTest":
        """Read what ``save`` wrote."""
        return cls(**json.loads(path.read_text("utf-8")))


def recorded(checkout: Checkout, *, workers: int, nice: int) -> CoverageByTest:
    """Return the coverage of a checkout: from its folder ``.mutation``, or by running all tests once."""
    kept = checkout.root / ".mutation" / f"{checkout.fingerprint()}.json"
    if not kept.exists():
        kept.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
            _record(checkout, Path(folder), workers=workers, nice=nice).save(kept)
    return CoverageByTest.load(kept)


def _record(checkout: Checkout, folder: Path, *, workers: int, nice: int) -> CoverageByTest:
    copy = checkout.copy_to(folder / "copy")
    settings, durations, data = folder / "coverage.ini", folder / "durations.json", folder / "data"
    sources = f"{copy.root}/packages/*/src/*"
    settings.write_text(
        _SETTINGS.format(data=data / "coverage", test=recording.TEST, sources=sources), "utf-8"
    )
    data.mkdir()
    command = [*niced(nice), "-p", "mutating.recording", "-q", "-n", str(workers), "--dist", "worksteal"]
    variables = {"COVERAGE_PROCESS_START": str(settings), recording.DURATIONS: str(durations)}
    subprocess.run(
        [*command, "--timeout", "240"], cwd=copy.root, env=copy.environment(**variables), check=False
    )
    return read(data.iterdir(), copy, json.loads(durations.read_text("utf-8")))


def niced(nice: int) -> list[str]:
    """Return the beginning of a command that runs pytest at a lower priority."""
    return ["nice", "-n", str(nice), sys.executable, "-m", "pytest"]


def read(files: Iterable[Path], copy: Checkout, seconds: dict[str, float]) -> CoverageByTest:
    """Read what the processes of the tests recorded; tests that failed are left out."""
    numbers = {name: number for number, name in enumerate(seconds)}
    found: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for file in files:
        data = coverage.CoverageData(str(file))
        try:
            data.read()
        except DataError:
            continue  # its process was killed while it wrote
        for path in data.measured_files():
            lines = found[str(Path(path).relative_to(copy.root))]
            for line, contexts in data.contexts_by_lineno(path).items():
                names = (name if name in numbers else name.rpartition("|")[0] for name in contexts)
                lines[str(line)].update(numbers[name] for name in names if name in numbers)
    return CoverageByTest(
        seconds, list(seconds), {path: _sorted(lines) for path, lines in sorted(found.items())}
    )


def _sorted(lines: dict[str, set[int]]) -> dict[str, list[int]]:
    return {line: sorted(tests) for line, tests in lines.items()}


def _file(test: str) -> str:
    return test.partition("::")[0]
