"""The built site: every link leads somewhere, nothing is loaded from another host, and no part of a page is missing."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from website.pages import parts_of

_LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("source", "src"), ("iframe", "src")}
_PARTS = {"h2", "h3", "h4", "table", "li", "pre"}


class _Page(HTMLParser):
    """The ids, the links and the parts of the article of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.parts: Counter[str] = Counter()
        self._article = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values["id"]} if "id" in values else set()
        self.ids |= {values["name"]} if tag == "a" and "name" in values else set()
        self._article = self._article or tag == "article"
        if self._article and tag in _PARTS:
            self.parts[tag] += 1
        for name, value in values.items():
            if (tag, name) in _LOADED and values.get("rel") not in ("canonical", "next", "prev"):
                self.loaded.append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)

    def handle_endtag(self, tag: str) -> None:
        self._article = self._article and tag != "article"


def problems(pages: Path, html: Path) -> list[str]:
    """Return what is wrong with a site: one line for each, with its page."""
    built = {path: _Page(path.read_text("utf-8")) for path in sorted(html.rglob("*.html"))}
    found = [
        f"{path.relative_to(html)}: {problem}"
        for path, page in built.items()
        if path.name != "404.html"  # its links begin at the root of the host
        for problem in (*_wrong_links(path, page, built), *_wrong_files(path, page))
    ]
    for path in sorted(pages.rglob("*.md")):
        made = html / path.relative_to(pages).with_suffix(".html")
        made = made.with_name("index.html") if path.name == "README.md" else made
        if made not in built:
            found.append(f"{path.relative_to(pages)}: was not built")
        else:
            found += [f"{made.relative_to(html)}: {problem}" for problem in _missing_parts(path, built[made])]
    return [*found, *_styles(html)]


def _wrong_links(path: Path, page: _Page, built: dict[Path, _Page]) -> Iterator[str]:
    for link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
        target = target / "index.html" if target.is_dir() else target
        if not target.exists():
            yield f"a link leads nowhere: {link}"
        elif parts.fragment and target in built and unquote(parts.fragment) not in built[target].ids:
            yield f"a link leads to no place of its page: {link}"


def _wrong_files(path: Path, page: _Page) -> Iterator[str]:
    for address in page.loaded:
        parts = urlsplit(address)
        if parts.netloc:
            yield f"loads {address} from another host"
        elif not parts.scheme and not (path.parent / unquote(parts.path)).exists():
            yield f"a file is missing: {address}"


def _missing_parts(path: Path, page: _Page) -> Iterator[str]:
    for tag, count in _written(path.read_text("utf-8")).items():
        if page.parts[tag] < count:
            yield f"has {page.parts[tag]} of {count} <{tag}>"


def _written(text: str) -> Counter[str]:
    """Count the headings, tables, items and blocks of code of a page."""
    found: Counter[str] = Counter()
    earlier = ""
    for line, part in parts_of(text):
        if part:
            found["pre"] += part == "begin"
        elif heading := re.match(r"(#{2,4}) ", line):
            found[f"h{len(heading[1])}"] += 1
        elif re.match(r" *(-|\d+\.) ", line):
            found["li"] += 1
        elif re.match(r"\|[-| :]+\|$", line) and earlier.startswith("|"):
            found["table"] += 1
        earlier = line
    return found


def _styles(html: Path) -> Iterator[str]:
    for path in sorted(html.rglob("*.css")):
        for address in re.findall(r"url\([\"']?(https?:[^)\"']*)", path.read_text("utf-8")):
            yield f"{path.relative_to(html)}: loads {address} from another host"
