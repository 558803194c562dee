"""Compare what is in wheels and source archives with what is in the repository."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path, PurePosixPath

MARKER = "py.typed"


def problems(dist: Path, version: str, tracked: dict[str, frozenset[str]]) -> list[str]:
    """Return what is wrong with the archives in a folder: those that are missing or left over, too.

    :param tracked: the files of each distribution that git knows, relative to its folder.
    """
    expected = {
        f"{name.replace('-', '_')}-{version}{end}"
        for name in tracked
        for end in ("-py3-none-any.whl", ".tar.gz")
    }
    found = {path.name for path in dist.iterdir()}
    return [
        *(f"{name} was not built" for name in sorted(expected - found)),
        *(f"{name} is none of the archives of {version}" for name in sorted(found - expected)),
        *(
            f"{archive}: {problem}"
            for name, files in tracked.items()
            for archive, problem in _of_one(dist, name, version, files)
            if archive in found
        ),
    ]


def _of_one(dist: Path, name: str, version: str, tracked: frozenset[str]) -> Iterator[tuple[str, str]]:
    stem = f"{name.replace('-', '_')}-{version}"
    for archive, check in ((f"{stem}-py3-none-any.whl", _wheel), (f"{stem}.tar.gz", _source)):
        if (dist / archive).exists():
            yield from ((archive, problem) for problem in check(dist / archive, stem, tracked))


def _wheel(path: Path, stem: str, tracked: frozenset[str]) -> Iterator[str]:
    """Compare a wheel with the files of ``src``: it has those, what describes it, and nothing else."""
    info = f"{stem}.dist-info"
    with zipfile.ZipFile(path) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
        metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    sources = {name.removeprefix("src/") for name in tracked if name.startswith("src/")}
    described = {name for name in names if name.startswith(f"{info}/")}
    yield from (f"{name} is missing" for name in sorted(sources - names))
    yield from (f"{name} is not in the repository" for name in sorted(names - sources - described))
    yield from _untyped(names - described)
    if f"{info}/licenses/LICENSE" not in names:
        yield "the licence is missing"
    yield from _metadata(metadata, stem)


def _source(path: Path, stem: str, tracked: frozenset[str]) -> Iterator[str]:
    """Compare a source archive with all that git knows of the distribution."""
    with tarfile.open(path) as archive:
        names = {str(PurePosixPath(each.name).relative_to(stem)) for each in archive if each.isfile()}
        metadata = Parser().parsestr(_text(archive, f"{stem}/PKG-INFO"))
    # hatchling adds the ignored names of the whole repository, to build the same wheel from the archive
    yield from (f"{name} is missing" for name in sorted(tracked - names))
    yield from (
        f"{name} is not in the repository" for name in sorted(names - tracked - {"PKG-INFO", ".gitignore"})
    )
    yield from _metadata(metadata, stem)


def _text(archive: tarfile.TarFile, name: str) -> str:
    file = archive.extractfile(name)
    return file.read().decode() if file else ""


def _untyped(names: Iterable[str]) -> Iterator[str]:
    """Each outermost package needs the marker: type checkers ignore its hints otherwise."""
    names = set(names)
    packages = {name.removesuffix("/__init__.py") for name in names if name.endswith("/__init__.py")}
    for package in sorted(packages):
        inner = any(package.startswith(f"{other}/") for other in packages)
        if not inner and f"{package}/{MARKER}" not in names:
            yield f"{package} has no {MARKER}"


def _metadata(metadata: Message, stem: str) -> Iterator[str]:
    said = f"{str(metadata['Name']).replace('-', '_')}-{metadata['Version']}"
    if said != stem:
        yield f"its metadata say {said}"
    needed = ("Summary", "Requires-Python", "License-Expression", "License-File", "Description-Content-Type")
    yield from (f"its metadata have no {key}" for key in needed if not metadata[key])
    if "Typing :: Typed" not in metadata.get_all("Classifier", []):
        yield 'its metadata have no classifier "Typing :: Typed"'
    if not str(metadata.get_payload()).strip():
        yield "its metadata have no description: the README"
