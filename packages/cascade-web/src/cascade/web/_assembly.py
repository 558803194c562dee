"""Assembly of the page: one self-contained HTML file, made of the parts in ``_page``."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib.resources import files

_NOT_IN_A_SOURCE = re.compile(r"[^A-Za-z0-9.:-]|:.*:")
# a text, a regular expression or a comment: spaces may mean something in it
_HAS_TEXT = re.compile(r"""["'`/]""")
_SIGN = re.compile(r" ?(=>|[=!]==|&&|\|\||[=,?:{}();<>]) ?")
# a line with // may end in a comment
_JOINED = re.compile(r"^((?:(?!//).)*)(?:(?<=[{(\[,;?:&|=])\n|\n(?=[})\].?:&|]))", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?:/\*\*.*?\*/|//[^\n]*)[ \t]*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Page:
    """The document, and its content security policy, which a server sends as a header too."""

    html: str
    policy: str


def page() -> str:
    """Return the page as one HTML document that loads nothing: its style, scripts and icon are in it.

    Its content security policy names the hash of each script and of the style; it permits WebSocket connections
    and no other request. The page that ``cascade web`` serves may connect to its broker only.
    """
    return assemble().html


def assemble(broker: str = "") -> Page:
    """Make the page of its parts.

    :param broker: the only address that the page may use: a path of the server that it comes from, or a URL. Without
        one, whoever opens the page names the broker.
    """
    style = squeezed_style(_read("style.css"))
    scripts = [squeezed(_read(name)) for name in script_names(_read("scripts.txt"))]
    policy = content_policy(style, scripts, _sources(broker))
    parts = {
        "broker": f'<meta name="broker" content="{escape(broker)}">' if broker else "",
        "policy": f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        "style": f"<style>{style}</style>",
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    html = re.sub(
        "<!-- (policy|broker|style|scripts) -->",
        lambda found: parts[found[1]],
        unindented(_read("page.html")),
    )
    return Page(html, policy)


def script_names(listed: str) -> list[str]:
    """Return the file names that a list has, one in a line; a line that begins with ``#`` is a comment."""
    lines = (line.strip() for line in listed.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def squeezed(script: str) -> str:
    """Return a script without what no browser needs: its indentation, its comments on lines of their own, spaces around
    signs, and the ends of lines after which a statement goes on or has ended.

    So no string of a script goes over several lines.
    """
    lines = unindented(_COMMENT.sub("", script)).split("\n")
    close = (line if _HAS_TEXT.search(line) else _SIGN.sub(r"\1", line) for line in lines)
    return _JOINED.sub(r"\1", "\n".join(close))


def squeezed_style(style: str) -> str:
    """Return a style without the white space and the semicolons that no browser needs. Its strings must not have ``; : , { }`` before a space."""
    style = re.sub(r"([;:,])\s+", r"\1", style)
    return re.sub(r"\s*([{}])\s*", r"\1", style).replace(";}", "}")


def unindented(text: str) -> str:
    """Return the lines of a text without their indentation, and without empty ones."""
    return "\n".join(line for each in text.splitlines() if (line := each.strip()))


def _sources(broker: str) -> str:
    """Return what the page may connect to, as a source list of its policy."""
    if not broker:
        return "ws: wss:"
    if broker.startswith("/"):
        return "'self'"
    scheme, _, place = broker.partition("://")
    host = place.partition("/")[0]
    # a source cannot be an IPv6 address (CSP 3, 2.3.1)
    return f"{scheme}:" if _NOT_IN_A_SOURCE.search(host) else f"{scheme}://{host}"


def content_policy(style: str, scripts: Iterable[str], sources: str) -> str:
    """Return the content security policy of a page with this style and these scripts, which connects to ``sources``."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {' '.join(map(_hash, scripts))}",
            f"style-src {_hash(style)}",
            "img-src data:",
            f"connect-src {sources}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _read(name: str) -> str:
    return (files("cascade.web") / "_page" / name).read_text(encoding="utf-8")
