"""The command: choose mutants at random, try them several at a time, and report."""

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

from .checkout import Checkout
from .coverage_by_test import CoverageByTest, recorded
from .finder import mutations
from .report import Mutant, line_of, summary
from .trial import Outcome, Trial

_ROOT = Path(__file__).parents[4]
_PROOF = 20
"""Tests, each of another file, that show at first that tests start and pass without a mutation."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Try mutants, print what happened, and return 1 if a test failed to notice one."""
    options = _parser().parse_args(arguments)
    seed = random.SystemRandom().randrange(10**9) if options.seed is None else options.seed
    checkout = Checkout(options.checkout.resolve())
    by_test = recorded(checkout, workers=options.workers, nice=options.nice)
    chosen = choose(checkout, options.count, random.Random(seed), only=options.only)
    print(f"{len(chosen)} mutants with --seed {seed}, {len(by_test.seconds)} tests", flush=True)
    tried = _try_all(checkout, by_test, chosen, options)
    print(summary(tried))
    print(f"--seed {seed}")
    return int(any(outcome.verdict != "killed" for _, outcome in tried))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mutation", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="how many mutants (200)")
    parser.add_argument("--seed", type=int, help="chooses the same mutants of the same sources again")
    parser.add_argument("--nice", type=int, default=10, help="added to the priority of the tests (10)")
    parser.add_argument("--workers", type=int, default=2, help="how many mutants are tried at a time (2)")
    parser.add_argument("--budget", type=float, default=120, help="seconds of tests for one mutant (120)")
    parser.add_argument("--only", default="", help="mutate only files whose path contains this text")
    parser.add_argument("--checkout", type=Path, default=_ROOT, help="mutate another checkout")
    parser.add_argument("--log", type=Path, help="append each outcome to this file, as JSON lines")
    return parser


def choose(checkout: Checkout, count: int, rng: random.Random, *, only: str = "") -> list[Mutant]:
    """Choose mutations at random, at most one of each statement, that change the code."""
    candidates = list(_all(checkout, only))
    rng.shuffle(candidates)
    chosen: dict[tuple[str, int], Mutant] = {}
    for mutant in candidates:
        if len(chosen) == count:
            break
        key = (mutant.path, mutant.mutation.statement)
        if key not in chosen and mutant.mutation.changes_code(mutant.source):
            chosen[key] = mutant
    return list(chosen.values())


def _all(checkout: Checkout, only: str) -> Iterator[Mutant]:
    for path in checkout.sources():
        if only not in path.as_posix():
            continue
        source = (checkout.root / path).read_text("utf-8")
        for mutation in mutations(source):
            yield Mutant(path.as_posix(), source, mutation)


def _try_all(
    checkout: Checkout, by_test: CoverageByTest, chosen: list[Mutant], options: argparse.Namespace
) -> list[tuple[Mutant, Outcome]]:
    with (
        tempfile.TemporaryDirectory(prefix="mutation-") as folder,
        ThreadPoolExecutor(options.workers) as pool,
    ):
        trials: SimpleQueue[Trial] = SimpleQueue()
        for number in range(options.workers):
            scratch = Path(folder, str(number))
            trial = Trial(checkout.copy_to(scratch / "copy"), scratch, options.nice)
            trial.prove(by_test.quickest(_PROOF))
            trials.put(trial)

        def attempt(mutant: Mutant) -> Outcome:
            trial = trials.get()
            try:
                return _try(trial, by_test, mutant, options.budget)
            finally:
                trials.put(trial)

        tried = []
        running = {pool.submit(attempt, mutant): mutant for mutant in chosen}
        for number, future in enumerate(as_completed(running), 1):
            mutant, outcome = running[future], future.result()
            print(line_of(number, mutant, outcome), flush=True)
            _append(options.log, mutant, outcome)
            tried.append((mutant, outcome))
        return tried


def _try(trial: Trial, by_test: CoverageByTest, mutant: Mutant, budget: float) -> Outcome:
    tests = by_test.tests_of(mutant.path, mutant.mutation)
    if tests is None:
        return Outcome("not executed")
    stages = by_test.stages(tests, budget=budget)
    return trial.run(
        mutant.path, mutant.mutation, [(part, sum(map(by_test.seconds.__getitem__, part))) for part in stages]
    )


def _append(log: Path | None, mutant: Mutant, outcome: Outcome) -> None:
    if log is not None:
        entry = {"verdict": outcome.verdict, "by": outcome.by, "tests": outcome.tests, "diff": mutant.diff}
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
