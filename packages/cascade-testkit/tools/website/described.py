"""Entries of the API: the signature, the text and the members of a public name."""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterator
from typing import Any

from website.docstrings import assignments, markdown

_LINE = 90


def described(name: str, value: object, module: str) -> str:
    """Return the entry of a public name."""
    parts = [f"## {name} {{: #{module}.{name} }}"]
    if inspect.isclass(value):
        parts += _class(name, value, module)
    elif inspect.isroutine(value):
        parts += [_code(_signature(name, value)), markdown(value.__doc__ or "")]
    else:
        parts += _constant(name, value, module)
    return "\n\n".join(part for part in parts if part)


def _class(name: str, value: type, module: str) -> Iterator[str]:
    bases = [base.__name__ for base in value.__bases__ if base is not object]
    kind = "Protocol" if getattr(value, "_is_protocol", False) else ", ".join(bases)
    yield f"*class* of `{kind}`" if kind else "*class*"
    plain = issubclass(value, (BaseException, enum.Enum)) or kind == "Protocol"
    if not plain:
        yield _code(_signature(name, value))
    yield markdown(value.__doc__ or "")
    if issubclass(value, enum.Enum):
        yield "\n".join(f"- `{each.name}`: `{each.value!r}`" for each in value)
    for member, found in _members(value):
        yield f"### {name}.{member} {{: #{module}.{name}.{member} }}"
        if isinstance(found, property):
            yield "*property*"
        else:
            yield _code(_signature(member, found))
        yield markdown(found.__doc__ or "")


def _members(value: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties that have a text, also those of private bases."""
    for name in dir(value):
        if name.startswith("_") and name != "__call__":
            continue
        owner = next((base for base in value.__mro__ if name in vars(base)), value)
        if not owner.__module__.startswith("cascade") or (owner is not value and owner.__name__[0] != "_"):
            continue
        found = inspect.getattr_static(value, name)
        found = found.__func__ if isinstance(found, (classmethod, staticmethod)) else found
        if (inspect.isroutine(found) or isinstance(found, property)) and found.__doc__:
            yield name, found


def _constant(name: str, value: object, module: str) -> Iterator[str]:
    known = assignments().get(name, [])
    nearest = max(known, key=lambda each: _shared(each[0], module), default=None)
    if nearest:
        _, statement, text = nearest
        yield _code(statement if statement.count("\n") < 12 else f"{name}: {type(value).__name__}")
        yield markdown(text)
    else:
        yield markdown(getattr(value, "__doc__", "") or "")


def _shared(one: str, other: str) -> int:
    return sum(a == b for a, b in zip(one.split("."), other.split("."), strict=False))


def _signature(name: str, value: Any) -> str:
    try:
        made = inspect.signature(value)
    except (ValueError, TypeError):
        return name
    head = f"{'async def ' if inspect.iscoroutinefunction(value) else ''}{name}"
    parts = list(_parameters(made))
    result = "" if made.return_annotation is made.empty else f" -> {_annotation(made.return_annotation)}"
    line = f"{head}({', '.join(parts)}){result}"
    if len(line) <= _LINE:
        return line
    return head + "(\n" + "".join(f"    {each},\n" for each in parts) + ")" + result


def _parameters(signature: inspect.Signature) -> Iterator[str]:
    earlier = None
    for each in signature.parameters.values():
        if earlier is each.POSITIONAL_ONLY is not each.kind:
            yield "/"
        if each.kind is each.KEYWORD_ONLY and earlier not in (each.KEYWORD_ONLY, each.VAR_POSITIONAL):
            yield "*"
        earlier = each.kind
        if each.name not in ("self", "cls"):
            yield _parameter(each)


def _parameter(each: inspect.Parameter) -> str:
    stars = "*" if each.kind is each.VAR_POSITIONAL else "**" if each.kind is each.VAR_KEYWORD else ""
    annotation = "" if each.annotation is each.empty else f": {_annotation(each.annotation)}"
    shown = "..." if repr(each.default).startswith("<") else repr(each.default)
    default = "" if each.default is each.empty else f" = {shown}" if annotation else f"={shown}"
    return f"{stars}{each.name}{annotation}{default}"


def _annotation(value: object) -> str:
    text = value if isinstance(value, str) else inspect.formatannotation(value)
    return re.sub(r"\b(?:cascade|typing|collections\.abc)\.(?:\w+\.)*", "", text)


def _code(text: str) -> str:
    return f"```python\n{text}\n```"
