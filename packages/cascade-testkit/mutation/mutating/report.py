"""What is printed: a line for each mutant, and at the end the survivors with their diffs and the rate."""

import dataclasses
import re
from collections.abc import Sequence

from .mutation import Mutation
from .trial import Outcome

_TUNING = re.compile(r"[A-Z_]+(: [\w.]+)? = ")


@dataclasses.dataclass(frozen=True, slots=True)
class Mutant:
    """One mutation of one file."""

    path: str
    source: str
    mutation: Mutation

    @property
    def place(self) -> str:
        """Return the file, the line and the kind of the mutation."""
        return f"{self.path}:{self.mutation.lines.start} {self.mutation.what}"

    @property
    def diff(self) -> str:
        """Return the mutation as a diff."""
        return self.mutation.diff(self.path, self.source)

    @property
    def looks_equivalent(self) -> bool:
        """Tell whether it changes a module's number or the name of an asyncio task, which rarely matters."""
        line = self.source.splitlines()[self.mutation.statement - 1]
        is_number = self.mutation.what in {"constant", "off by one"} and bool(_TUNING.match(line))
        return (
            is_number or f"name={self._replaced}" in self.source.splitlines()[self.mutation.lines.start - 1]
        )

    @property
    def _replaced(self) -> str:
        return self.source.encode()[self.mutation.start : self.mutation.end].decode()


def line_of(number: int, mutant: Mutant, outcome: Outcome) -> str:
    """Return the line that is printed as soon as a mutant has been tried."""
    by = f" by {outcome.by}" if outcome.by else f" {outcome.tests} tests"
    return f"{number:4} {outcome.verdict}: {mutant.place};{by}"


def summary(tried: Sequence[tuple[Mutant, Outcome]]) -> str:
    """Return the survivors with their diffs, then how many mutants there were of each verdict, and the rate."""
    alive = [(mutant, outcome) for mutant, outcome in tried if outcome.verdict != "killed"]
    parts = [f"{_class(mutant, outcome)}: {mutant.place}\n{mutant.diff}\n" for mutant, outcome in alive]
    killed = len(tried) - len(alive)
    equivalent = sum(mutant.looks_equivalent for mutant, _ in alive)
    rate = f"{killed / len(tried):.1%}" if tried else "no mutants"
    parts.append(
        f"{len(tried)} mutants: {killed} killed, {len(alive)} not noticed, of which {equivalent} look equivalent; {rate}"
    )
    return "\n".join(parts)


def _class(mutant: Mutant, outcome: Outcome) -> str:
    return f"{outcome.verdict}, looks equivalent" if mutant.looks_equivalent else outcome.verdict
