"""A graph as text and as a picture. No I/O."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cascade.sdk._pictures.svg import svg
from cascade.sdk._pictures.text import dot, mermaid, tree

if TYPE_CHECKING:
    from cascade.runtime import Step

DRAWN: dict[str, Callable[[list[Step]], str]] = {"mermaid": mermaid, "dot": dot, "tree": tree, "svg": svg}
"""By format: what draws the steps of a graph."""
