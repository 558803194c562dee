"""Pages of the site: the navigation, where each page lies in the site, and how a page is copied there."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import yaml

ROOT = Path(__file__).parents[4]
SETTINGS = ROOT / "mkdocs.yml"
GENERATED = "reference/"
"""Pages below this folder of the site are made from the code."""

WITHOUT_A_PLACE = {
    "packages/cascade-testkit/examples/hub-connector/README.md": "the page of an example's own distribution",
    "packages/cascade-testkit/examples/jsonl-connector/README.md": "the page of an example's own distribution",
}
"""Pages that the navigation leaves out, with the reason."""

_FENCE = re.compile(r"^( *)(`{3,})(.*)$")
_LINK = re.compile(
    r"(?P<code>`[^`]*`)"
    r"|(?P<before>!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()(?P<target>[^()\s]+)(?P<after>\))"
    r'|(?P<image><img src=")(?P<source>[^"]+)(?P<end>")'
)


def navigation() -> list[tuple[tuple[str, ...], str]]:
    """Return each page of the navigation, as the site names it, with the titles above it."""
    return list(_entries(yaml.safe_load(SETTINGS.read_text("utf-8"))["nav"], ()))


def _entries(items: list[Any], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    for item in items:
        ((title, inside),) = item.items()
        if isinstance(inside, str):
            yield (*above, title), inside
        else:
            yield from _entries(inside, (*above, title))


def pages() -> list[str]:
    """Return the pages of the project, relative to its root."""
    found = [*ROOT.glob("*.md"), *ROOT.glob(".github/*.md"), *ROOT.glob("packages/**/*.md")]
    return sorted(path.relative_to(ROOT).as_posix() for path in found if not _ignored(path))


def _ignored(path: Path) -> bool:
    inside = path.relative_to(ROOT).parts
    # what tools leave in a checkout, such as pytest its cache, has pages, too
    return any(
        part in {"build", "dist", "node_modules"} or (part.startswith(".") and part != ".github")
        for part in inside
    )


def place(path: str) -> str:
    """Return where a file of the project lies in the site; generators leave out folders with a dot."""
    return path.replace(".github/", "project/", 1) if path.startswith(".github/") else path


def stage(folder: Path) -> None:
    """Copy the pages, and every file to which one links, below a folder."""
    for page in pages():
        text, files = converted((ROOT / page).read_text("utf-8"), page)
        write(folder / place(page), text)
        for file in files:
            target = folder / place(file)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, target)


def converted(text: str, page: str) -> tuple[str, list[str]]:
    """Return the text of a page for the generator, and the files other than pages to which it links.

    A second word behind the language of a fence is a title there; a folder is its page, and files lie elsewhere.
    """
    files: list[str] = []
    lines = list(parts_of(text))
    made = [_fence(line) if part else _linked(line, page, files) for line, part in lines]
    return "\n".join(made) + "\n", files


def parts_of(text: str) -> Iterator[tuple[str, str]]:
    """Yield each line of a page with "" outside code, "begin" where a block of code begins, and "code" behind that."""
    end = ""
    for line in text.splitlines():
        fence = _FENCE.match(line)
        if end:
            yield line, "code"
            end = "" if fence and fence[2] == end and not fence[3].strip() else end
        else:
            end = fence[2] if fence else ""
            yield line, "begin" if fence else ""


def links(text: str) -> Iterator[str]:
    """Yield the target of each link and picture outside code."""
    for line, part in parts_of(text):
        if not part:
            yield from (link["target"] or link["source"] for link in _LINK.finditer(line) if not link["code"])


def resolved(link: str, page: str) -> tuple[str, str] | None:
    """Return the file to which a link of a page leads, relative to the root, and its anchor; None for a host."""
    path, _, anchor = unquote(link).partition("#")
    if re.match(r"[a-z]+:", path):
        return None
    if not path:
        return page, anchor
    target = os.path.normpath(PurePosixPath(page).parent / path)
    if (ROOT / target).is_dir():
        target = (PurePosixPath(target) / "README.md").as_posix()
    return target, anchor


def _linked(line: str, page: str, files: list[str]) -> str:
    def link(found: re.Match[str]) -> str:
        if found["code"] or not (where := resolved(found["target"] or found["source"], page)):
            return found[0]
        target, anchor = where
        if not target.endswith(".md"):
            files.append(target)
        path = os.path.relpath(place(target), PurePosixPath(place(page)).parent)
        before, after = found["before"] or found["image"], found["after"] or found["end"]
        return f"{before}{path}{'#' + anchor if anchor else ''}{after}"

    return _LINK.sub(link, line)


def _fence(line: str) -> str:
    fence = _FENCE.match(line)
    title = fence[3].partition(" ")[2] if fence else ""
    return f'{line.removesuffix(" " + title)} title="{title}"' if title else line


def write(path: Path, text: str) -> None:
    """Write a page of the site."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
