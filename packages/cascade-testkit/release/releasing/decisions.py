"""Decide whether a checkout can be released. Nothing here reads a file or asks an index."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

UNDATED = "not released yet"
"""What the changelog says instead of the date of a version."""

_HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\] - (?P<date>.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """What was found in a checkout: ``changes`` as git lists them, ``tags`` by name with their commits."""

    head: str
    changes: tuple[str, ...]
    tags: Mapping[str, str]
    versions: Mapping[str, str]
    changelog: str
    without_links: tuple[str, ...] = ()

    @property
    def version(self) -> str:
        """The version of the SDK: of all distributions, where nothing is refused."""
        return self.versions["cascade-py"]


@dataclass(frozen=True, slots=True)
class Listed:
    """What an index has: by name, the files of a project; a name that it does not have is missing."""

    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def has(self, name: str, version: str) -> bool:
        """Tell whether the index has a file of this version."""
        start = f"{name.replace('-', '_')}-{version}"
        return any(re.match(rf"{re.escape(start)}(-|\.tar)", file) for file in self.files.get(name, ()))


def refusal(found: Checkout, *, publishing: bool) -> str | None:
    """Return why nothing can be built from a checkout, None if it can.

    :param publishing: the tag of the version exists then, at this commit.
    """
    versions = sorted(set(found.versions.values()))
    if len(versions) != 1:
        return f"the distributions have the versions {', '.join(versions)}; give all the same one"
    version = found.version
    tagged = found.tags.get(f"v{version}")
    reasons: list[tuple[bool, str]] = [
        (
            bool(found.changes),
            f"{_count(found.changes)} from the last commit ({_first(found.changes)}); commit or undo the changes",
        ),
        (
            not publishing and tagged is not None,
            f"version {version} exists: the tag v{version}; give all distributions a new version",
        ),
        (
            publishing and tagged != found.head,
            f"the tag v{version} is not at this commit; tag the commit that is to be published",
        ),
        (
            not notes(found.changelog, version),
            f'CHANGELOG.md has no notes below "## [{version}] - DATE"; write what a user gets',
        ),
    ]
    return next((text for applies, text in reasons if applies), None)


def refusals_of_index(listed: Listed, versions: Mapping[str, str]) -> list[str]:
    """Return which versions an index already has: it would refuse their files."""
    return [
        f"version {version} exists: the index has {name} {version}; give all distributions a new version"
        for name, version in sorted(versions.items())
        if listed.has(name, version)
    ]


def warnings(found: Checkout, listed: Listed) -> list[str]:
    """Return what keeps a release from being published; it can be built and tried all the same."""
    texts = clashes(found, listed)
    if date_of(found.changelog, found.version) == UNDATED:
        texts.append(f'CHANGELOG.md says "{UNDATED}" for {found.version}; write the date')
    if found.without_links:
        texts.append(
            f"no [project.urls] in {len(found.without_links)} pyproject.toml ({found.without_links[0]}): the index"
            " then shows no way to the source and the documentation; add both addresses"
        )
    return texts


def clashes(found: Checkout, listed: Listed) -> list[str]:
    """Return which names of an index are equal to ours as the index compares them, and what to do."""
    released = {tag.removeprefix("v") for tag in found.tags}
    ours = {name for name in found.versions if any(listed.has(name, version) for version in released)}
    return [
        f"{name} meets {other!r}, which the index has: it compares names without '.', '-' and '_', and will refuse"
        f" the upload; ask its owners or the index for that name (PEP 541), or publish as {_instead(name)}"
        for name in sorted(found.versions)
        for other in sorted(listed.files)
        if comparable(other) == comparable(name) and other not in ours
    ]


def comparable(name: str) -> str:
    """Return a name as an index compares it with those that it has.

    >>> comparable("Cascade-py")
    'cascadepy'
    """
    return re.sub(r"[-_.]", "", name).lower()


def spellings(name: str) -> list[str]:
    """Return every way to write the words of a name with and without hyphens between them.

    >>> spellings("cascade-py")
    ['cascade-py', 'cascadepy']
    """
    words = name.split("-")
    return [
        "".join(word + mark for word, mark in zip(words, (*marks, ""), strict=True))
        for marks in product(("-", ""), repeat=len(words) - 1)
    ]


def notes(changelog: str, version: str) -> str:
    """Return what the changelog says about a version, without its heading; empty if it says nothing."""
    for heading in _HEADING.finditer(changelog):
        if heading["version"] == version:
            following = re.compile(r"^## |^\[[^\]]+\]: ", re.MULTILINE).search(changelog, heading.end())
            return changelog[heading.end() : following.start() if following else None].strip()
    return ""


def date_of(changelog: str, version: str) -> str:
    """Return the date that the changelog has for a version, or what stands there instead."""
    return next((found["date"] for found in _HEADING.finditer(changelog) if found["version"] == version), "")


def asked_of_others(line: Iterable[str], projects: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what requirements ask of other authors, directly and through our distributions.

    :param projects: the table ``project`` of each pyproject.toml, by name.
    """
    left, seen, others = list(line), set[str](), set[str]()
    while left:
        requirement = left.pop()
        match = re.fullmatch(r"(?P<name>[\w-]+)(?:\[(?P<extras>[\w,-]+)\])?(?P<rest>.*)", requirement)
        if match is None or match["name"] not in projects:
            others.add(requirement)
        elif requirement not in seen:
            seen.add(requirement)
            left += _asked(projects[match["name"]], (match["extras"] or "").split(","))
    return sorted(others)


def unexpected(brought: Mapping[str, int], expected: Iterable[str]) -> list[str]:
    """Return in which the distributions of an environment differ from those that are written down."""
    expected = set(expected)
    return [
        *(f"it brings {name}, which is not in the list" for name in sorted(brought.keys() - expected)),
        *(f"it does not bring {name}, which is in the list" for name in sorted(expected - brought.keys())),
    ]


def _asked(project: Mapping[str, Any], extras: Iterable[str]) -> list[str]:
    optional = project.get("optional-dependencies", {})
    return [*project["dependencies"], *(asked for extra in extras for asked in optional.get(extra, []))]


def _instead(name: str) -> str:
    return "cascade-jobs" if name == "cascade-py" else "another name"


def _first(changes: tuple[str, ...]) -> str:
    return changes[0].strip() if changes else ""


def _count(changes: tuple[str, ...]) -> str:
    return "1 file differs" if len(changes) == 1 else f"{len(changes)} files differ"
