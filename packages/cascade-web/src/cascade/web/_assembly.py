"""Make one self-contained HTML file of the parts in ``_page``."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

_COMMENT = re.compile(r"^[ \t]*(?:/\*\*.*?\*/|//[^\n]*)[ \t]*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Page:
    """The document, and its content security policy, which a server sends as a header too."""

    html: str
    policy: str


def page() -> str:
    """Return the page as one HTML document that loads nothing: its style, scripts and icon are in it.

    Its content security policy names the hash of each script and of the style; it permits WebSocket connections
    and no other request.
    """
    return assemble().html


def assemble() -> Page:
    """Make the page of its parts."""
    style = squeezed_style(_read("style.css"))
    scripts = [squeezed(_read(name)) for name in script_names(_read("scripts.txt"))]
    policy = content_policy(style, scripts)
    parts = {
        "policy": f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        "style": f"<style>{style}</style>",
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    html = re.sub(
        "<!-- (policy|style|scripts) -->", lambda found: parts[found[1]], unindented(_read("page.html"))
    )
    return Page(html, policy)


def script_names(listed: str) -> list[str]:
    """Return the file names that a list has, one in a line; a line that begins with ``#`` is a comment."""
    lines = (line.strip() for line in listed.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def squeezed(script: str) -> str:
    """Return a script without its indentation and its comments on lines of their own, which no browser needs.

    So no string of a script goes over several lines.
    """
    return unindented(_COMMENT.sub("", script))


def squeezed_style(style: str) -> str:
    """Return a style without the white space and the semicolons that no browser needs. Its strings must not have ``; : , { }`` before a space."""
    style = re.sub(r"([;:,])\s+", r"\1", style)
    return re.sub(r"\s*([{}])\s*", r"\1", style).replace(";}", "}")


def unindented(text: str) -> str:
    """Return the lines of a text without their indentation, and without empty ones."""
    return "\n".join(line for each in text.splitlines() if (line := each.strip()))


def content_policy(style: str, scripts: Iterable[str]) -> str:
    """Return the content security policy of a page with this style and these scripts."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {_hash(style)}",
            "img-src data:",
            "connect-src ws: wss:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _read(name: str) -> str:
    return (files("cascade.web") / "_page" / name).read_text(encoding="utf-8")
