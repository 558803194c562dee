"""Descriptions of parameters in a docstring: the fields of Sphinx, or the sections of Google and NumPy. No I/O."""

from __future__ import annotations

import inspect
import re

_FIELD = re.compile(r":param\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)")
_SECTION = re.compile(r"(?:args|arguments|parameters)\s*:?", re.IGNORECASE)
_OTHER_SECTION = re.compile(r"(?:returns?|raises|yields?|examples?|notes?)\s*:?", re.IGNORECASE)
_ENTRY = re.compile(r"(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)")


def summary(docstring: str | None) -> str:
    """Return the first paragraph on one line."""
    lines = inspect.cleandoc(docstring or "").split("\n\n")[0].splitlines()
    return " ".join(line.strip() for line in lines if not line.startswith(":"))


def descriptions(docstring: str | None) -> dict[str, str]:
    """Return the description of each parameter that the docstring describes, on one line."""
    found: dict[str, list[str]] = {}
    current: list[str] | None = None
    indent, inside, typed = 0, False, False
    for line in inspect.cleandoc(docstring or "").splitlines():
        text, depth = line.strip(), len(line) - len(line.lstrip())
        if _SECTION.fullmatch(text) or _OTHER_SECTION.fullmatch(text):
            inside, typed, current = _SECTION.fullmatch(text) is not None, False, None
            continue
        if text and set(text) == {"-"}:  # NumPy: a line under the section's name, and types after the names
            typed = True
            continue
        field = _FIELD.match(text)
        entry = field or (_ENTRY.match(text) if inside else None)
        if entry is not None and (current is None or depth <= indent):
            begin = "" if typed and field is None else entry.group(2)
            current, indent = found.setdefault(entry.group(1), [begin]), depth
        elif current is not None and text and not text.startswith(":") and depth > indent:
            current.append(text)
        else:
            current = None
    return {name: " ".join(part for part in parts if part) for name, parts in found.items()}
