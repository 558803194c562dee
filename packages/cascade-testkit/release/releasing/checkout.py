"""Look at a checkout, and at what an environment has."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from releasing.decisions import Checkout

LIST = """
import importlib.metadata, json, pathlib
def size(found):
    files = (pathlib.Path(found.locate_file(file)) for file in found.files or ())
    return sum(file.stat().st_size for file in files if file.is_file() and file.suffix != ".pyc")
print(json.dumps({d.metadata["Name"].lower().replace("_", "-"): [d.version, size(d)] for d in importlib.metadata.distributions()}))
"""
"""A program that prints the distributions of its environment with their versions and sizes, in bytes."""


def look(root: Path, projects: Mapping[str, Mapping[str, Any]]) -> Checkout:
    """Read what a release depends on."""
    return Checkout(
        head=_git(root, "rev-parse", "HEAD").strip(),
        changes=tuple(_git(root, "status", "--porcelain").splitlines()),
        tags=dict(
            line.split(" ")
            for line in _git(
                root,
                "for-each-ref",
                "refs/tags",
                "--format=%(refname:short) %(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)",
            ).splitlines()
        ),
        versions={name: project["version"] for name, project in projects.items()},
        changelog=(root / "CHANGELOG.md").read_text("utf-8"),
        without_links=tuple(name for name, project in projects.items() if not project.get("urls")),
    )


def tracked(root: Path, name: str) -> frozenset[str]:
    """Return the files of a distribution that git knows, relative to its folder."""
    return frozenset(_git(root / "packages" / name, "ls-files", "-z").rstrip("\0").split("\0"))


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(("git", *arguments), cwd=folder, capture_output=True, text=True, check=True).stdout
