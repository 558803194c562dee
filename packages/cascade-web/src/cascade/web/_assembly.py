"""Assembly of the page: one self-contained HTML file, made of the parts in ``_page``."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib.resources import files

_NOT_IN_A_SOURCE = re.compile(r"[^A-Za-z0-9.:-]|:.*:")

# what the page runs first: it unpacks the other script, whose hash the policy names, too
_LOADER = """(async () => {
  const packed = Uint8Array.from(atob(document.getElementById("packed").innerHTML), (each) => each.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const script = document.createElement("script");
  script.textContent = await new Response(unpacked).text();
  document.body.append(script);
  script.remove();
})().catch((error) => {
  document.getElementById("problems").textContent =
    `This browser cannot run the page (${error}): use Chrome from 80, Firefox from 113 or Safari from 16.4 on.`;
});"""


@dataclass(frozen=True, slots=True)
class Page:
    """The document, and its content security policy, which a server sends as a header too."""

    html: str
    policy: str


def page() -> str:
    """Return the page as one HTML document that loads nothing: its style, its packed scripts and its icon are in it.

    Its content security policy names the hash of each script and of the style; it permits WebSocket connections
    and no other request. The page that ``cascade web`` serves may connect to its broker only.
    """
    return assemble().html


def assemble(broker: str = "", *, history: bool = False) -> Page:
    """Make the page of its parts.

    :param broker: the only address that the page may use: a path of the server that it comes from, or a URL. Without
        one, whoever opens the page names the broker.
    :param history: whether the server that it comes from answers questions about the past.
    """
    style = _read("style.css")
    script = "\n".join(_read(name) for name in script_names(_read("scripts.txt")))
    policy = content_policy(style, [_LOADER, script], _sources(broker, history=history))
    meta = f'<meta name="broker" content="{escape(broker)}">' if broker else ""
    parts = {
        "broker": meta + ('\n<meta name="history" content="/history">' if history else ""),
        "policy": f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        "style": f"<style>{style}</style>",
        "scripts": f'<template id="packed">{_packed(script)}</template>\n<script>{_LOADER}</script>',
    }
    html = re.sub(
        "<!-- (policy|broker|style|scripts) -->",
        lambda found: parts[found[1]],
        _read("page.html"),
    )
    return Page(html, policy)


def script_names(listed: str) -> list[str]:
    """Return the file names that a list has, one in a line; a line that begins with ``#`` is a comment."""
    lines = (line.strip() for line in listed.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _packed(script: str) -> str:
    """Return a script as text of a third of its length: a phone gets the page over a slow link, from a broker that packs nothing."""
    return base64.b64encode(zlib.compress(script.encode(), 9)).decode()


def _sources(broker: str, *, history: bool) -> str:
    """Return what the page may connect to, as a source list of its policy."""
    if not broker:
        return "ws: wss:"
    if broker.startswith("/"):
        return "'self'"
    return f"{_place_of(broker)} 'self'" if history else _place_of(broker)


def _place_of(broker: str) -> str:
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
