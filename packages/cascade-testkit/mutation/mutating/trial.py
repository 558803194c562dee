"""Run the tests that concern one mutation on a copy of the checkout, and tell whether one of them notices."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from cascade.testkit.waiting import busyness

from . import choosing
from .checkout import Checkout
from .coverage_by_test import niced
from .mutation import Mutation

Verdict = Literal["killed", "survived", "not executed"]
_NO_TESTS = 5  # a status of pytest


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended: ``by`` is the test that failed, ``tests`` counts those that could have."""

    verdict: Verdict
    by: str = ""
    tests: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """Try mutations on one copy, one after the other.

    A failure counts when the test fails twice, the second time alone, and passes without the mutation: it may fail for
    the way in which it is run here. A test that hangs fails once.
    """

    copy: Checkout
    scratch: Path
    nice: int = 10
    limit: float = 60.0  # seconds for a stage, beside ten times what its tests take; more on a busy machine
    sound: set[str] = dataclasses.field(default_factory=set)
    """Tests that have passed here without a mutation."""

    def run(self, path: str, mutation: Mutation, stages: Sequence[tuple[list[str], float]]) -> Outcome:
        """Run the stages one after the other, each a list of tests and its usual seconds, until one fails."""
        tried = 0
        for tests, seconds in stages:
            tried += len(tests)
            left = list(tests)
            while left:
                with self._mutated(path, mutation):
                    failed = self._failure(left, seconds)
                if failed is None:
                    break
                if failed not in left or self._is_sound(failed, seconds):
                    return Outcome("killed", failed, tried)
                left.remove(failed)
        return Outcome("survived", tests=tried)

    def prove(self, tests: Sequence[str]) -> None:
        """Show that tests start here, and pass without a mutation: else every mutant would count as killed.

        :raises RuntimeError: if they do not.
        """
        failed = self._first_failure(tests, 0.0)
        log = (self.scratch / "log").read_text("utf-8", errors="replace")
        if failed is not None or f"{len(tests)} passed" not in log:
            raise RuntimeError(
                f"tests do not pass here without a mutation: {failed or 'not all started'}\n{log}"
            )

    def _is_sound(self, test: str, seconds: float) -> bool:
        """Return whether a test passes without a mutation."""
        if test not in self.sound and self._first_failure([test], seconds) is None:
            self.sound.add(test)
        return test in self.sound

    def _failure(self, left: list[str], seconds: float) -> str | None:
        """Return the first test that fails twice, and remove those before it that failed once."""
        while left:
            failed = self._first_failure(left, seconds)
            if failed not in left or self._first_failure([failed], seconds) is not None:
                return failed
            left.remove(failed)  # it failed once and passed alone: not because of the mutation
        return None

    def _first_failure(self, tests: Sequence[str], seconds: float) -> str | None:
        listed, failed = self.scratch / "tests.json", self.scratch / "failed"
        listed.write_text(json.dumps(tests), "utf-8")
        failed.unlink(missing_ok=True)
        status = self._pytest(
            sorted({name.partition("::")[0] for name in tests}),
            self.copy.environment(**{choosing.TESTS: str(listed), choosing.FAILED: str(failed)}),
            (self.limit + 10 * seconds) * busyness(),
        )
        if status in {0, _NO_TESTS}:
            return None
        if status is None:
            return "the time limit"
        return failed.read_text("utf-8") if failed.exists() else "the tests cannot be imported"

    def _pytest(self, files: list[str], environment: dict[str, str], limit: float) -> int | None:
        """Return the status of pytest, None when it takes too long; nothing that it started stays behind."""
        options = [
            "-p",
            "mutating.choosing",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-q",
            "-x",
            "--tb=no",
        ]
        with (self.scratch / "log").open("wb") as log:
            process = subprocess.Popen(
                [*niced(self.nice), *options, *files],
                cwd=self.copy.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                return process.wait(limit)
            except subprocess.TimeoutExpired:
                return None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    @contextlib.contextmanager
    def _mutated(self, path: str, mutation: Mutation) -> Iterator[None]:
        file = self.copy.root / path
        source, times = file.read_bytes(), file.stat()
        file.write_text(mutation.apply(source.decode()), "utf-8")
        try:
            yield
        finally:
            file.write_bytes(source)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # or Python takes the mutant's bytecode
