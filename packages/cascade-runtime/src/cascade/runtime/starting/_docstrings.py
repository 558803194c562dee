"""Descriptions of parameters in a docstring: the fields of Sphinx, or the sections of Google and NumPy. No I/O."""

from __future__ import annotations

import inspect
import re

_FIELD = r":param\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)"
_SECTION = r"(?i)(?:args|arguments|parameters)\s*:?"
_OTHER_SECTION = r"(?i)(?:returns?|raises|yields?|examples?|notes?)\s*:?"
_ENTRY = r"(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)"


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
        if re.fullmatch(_SECTION, text) or re.fullmatch(_OTHER_SECTION, text):
            inside, typed, current = re.fullmatch(_SECTION, text) is not None, False, None
            continue
        # NumPy: a line under the section's name, and types after the names
        if text and set(text) == {"-"}:
            typed = True
            continue
        field = re.match(_FIELD, text)
        entry = field or (re.match(_ENTRY, text) if inside else None)
        if entry is not None and (current is None or depth <= indent):
            begin = "" if typed and field is None else entry.group(2)
            current, indent = found.setdefault(entry.group(1), [begin]), depth
        elif current is not None and text and not text.startswith(":") and depth > indent:
            current.append(text)
        else:
            current = None
    return {name: " ".join(part for part in parts if part) for name, parts in found.items()}
