"""What may be written in place of an expression or a statement, each with a short name."""

import ast
import re
from collections.abc import Iterator

Change = tuple[str, str]

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
}
_SYMMETRIC = frozenset({"min", "max"})
_KEY = re.compile(r"[A-Za-z_@$][\w@$./:+#-]*")


def expressions(node: ast.expr) -> Iterator[Change]:
    """Yield a name and the new text of each mutation of one expression, its parts not included."""
    match node:
        case ast.Compare(left, [operator], [right]):
            other = ast.Compare(left, [_COMPARISONS[type(operator)]()], [right])
            yield "comparison", _text(other)
        case ast.BoolOp(operator, values):
            other_operator = ast.Or() if isinstance(operator, ast.And) else ast.And()
            yield "boolean operator", _text(ast.BoolOp(other_operator, values))
            yield "operand dropped", _text(values[0])
            yield "operand dropped", _text(values[-1])
        case ast.UnaryOp(ast.Not(), operand):
            yield "not dropped", _text(operand)
        case ast.BinOp(left, operator, right) if type(operator) in _ARITHMETIC and not _is_text(left, right):
            yield "arithmetic", _text(ast.BinOp(left, _ARITHMETIC[type(operator)](), right))
        case ast.Call(function, [first, second, *rest], keywords) if (
            not _is_starred(first, second) and ast.unparse(function) not in _SYMMETRIC
        ):
            yield "arguments swapped", _text(ast.Call(function, [second, first, *rest], keywords))
        case ast.IfExp(test, body, orelse):
            yield "condition swapped", _text(ast.IfExp(test, orelse, body))
        case ast.Constant(value):
            yield from _constants(value)


def _constants(value: object) -> Iterator[Change]:
    if isinstance(value, bool):
        yield "constant", repr(not value)
    elif isinstance(value, int):
        yield "off by one", repr(value + 1)
        yield "off by one", f"({value - 1})"
    elif isinstance(value, float):
        yield "constant", repr(value * 2 + 1)
    elif isinstance(value, str) and _KEY.fullmatch(value) and value != "utf-8":
        yield "constant", repr(f"{value}x")


def statements(node: ast.stmt) -> Iterator[Change]:
    """Yield a name and the new text of each mutation of one statement, its parts not included."""
    match node:
        case ast.Expr(ast.Call() | ast.Await()) | ast.Raise() | ast.Delete() | ast.AugAssign() | ast.Assert():
            yield "statement removed", "pass"
        case ast.Assign([ast.Attribute() | ast.Subscript()]) | ast.AnnAssign(
            ast.Attribute(), value=ast.expr()
        ):
            yield "statement removed", "pass"
        case ast.Return(ast.expr() as value) if not _is_none(value):
            yield "return value", "return None"
        case ast.Continue():
            yield "jump", "break"
        case ast.Break():
            yield "jump", "continue"
        case _:
            pass


def negated(test: ast.expr) -> Iterator[Change]:
    """Yield the negation of a condition, unless another mutation of it is the same."""
    if not isinstance(test, ast.Compare) and not (
        isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    ):
        yield "condition negated", _text(ast.UnaryOp(ast.Not(), test))


def _text(node: ast.expr) -> str:
    return f"({ast.unparse(node)})"


def _is_text(*nodes: ast.expr) -> bool:
    return any(
        isinstance(node, ast.JoinedStr)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))
        for node in nodes
    )


def _is_starred(*nodes: ast.expr) -> bool:
    return any(isinstance(node, ast.Starred) for node in nodes)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None
