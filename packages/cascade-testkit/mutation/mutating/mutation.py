"""One mutation: a place in a source file, and what is written there instead."""

import ast
import dataclasses
import difflib
from types import CodeType


@dataclasses.dataclass(frozen=True, slots=True)
class Mutation:
    """Write ``text`` in place of the bytes from ``start`` to ``end`` of a file.

    ``lines`` are those that a test has to execute to notice; ``statement`` is the first line of the statement.
    """

    lines: range
    statement: int
    what: str
    start: int
    end: int
    text: str
    readers: tuple[int, ...] = ()
    """Lines that read what the statement of a module or class assigns: only an import executes the statement itself."""

    def apply(self, source: str) -> str:
        """Return the source with this mutation."""
        data = source.encode()
        return (data[: self.start] + self.text.encode() + data[self.end :]).decode()

    def diff(self, path: str, source: str) -> str:
        """Return the mutation as a unified diff without context."""
        before, after = source.splitlines(), self.apply(source).splitlines()
        lines = difflib.unified_diff(before, after, path, path, n=0, lineterm="")
        return "\n".join(lines)

    def changes_code(self, source: str) -> bool:
        """Tell whether Python compiles the mutated source, and to other code than before."""
        try:
            return shape(self.apply(source)) != shape(source)
        except SyntaxError:
            return False


def shape(source: str) -> list[object]:
    """Return everything about a module's code but the lines on which it stands."""
    return _shape(compile(ast.parse(source), "module", "exec", dont_inherit=True))


def _shape(code: CodeType) -> list[object]:
    constants = [_shape(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts]
    return [code.co_code, code.co_names, code.co_varnames, code.co_exceptiontable, constants]
