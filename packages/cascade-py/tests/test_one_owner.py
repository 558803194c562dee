"""Many distributions fill one namespace: every file has one owner, and all carry one version."""

import ast
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

from cascade.interfaces.distribution import VERSION

PACKAGES = Path(__file__).parents[2]
SDK = "cascade-py"
FIRST = '__path__ = __import__("pkgutil").extend_path(__path__, __name__)'
SHARED = ("cascade/connectors/__init__.py", "cascade/executors/__init__.py")


def files_of(distribution: Path) -> set[str]:
    """The paths that a distribution installs, as its wheel names them."""
    source = distribution / "src"
    return {
        path.relative_to(source).as_posix()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def faults(packages: Path) -> list[str]:
    """Every way in which the distributions of a folder do not share the namespace as agreed."""
    owners: dict[str, list[str]] = defaultdict(list)
    untyped: list[str] = []
    for distribution in sorted(path.parent for path in packages.glob("*/pyproject.toml")):
        paths = files_of(distribution)
        untyped += (f"{name} has no py.typed" for name in portions(paths) if f"{name}/py.typed" not in paths)
        for path in paths:
            owners[path].append(distribution.name)
    return [
        *(
            f"{path} is owned by {' and '.join(names)}"
            for path, names in sorted(owners.items())
            if len(names) > 1
        ),
        *(f"{path} would close a shared package" for path in SHARED if path in owners),
        *(f"{path} lies outside the namespace" for path in sorted(owners) if not path.startswith("cascade/")),
        *([] if owners["cascade/__init__.py"] == [SDK] else [f"only {SDK} may hold cascade/__init__.py"]),
        *sorted(untyped),
    ]


def portions(paths: set[str]) -> set[str]:
    """The outermost packages of one distribution: a py.typed in each covers all that is below."""
    packages = {path.removesuffix("/__init__.py") for path in paths if path.endswith("/__init__.py")}
    return {package for package in packages if not any(package.startswith(f"{other}/") for other in packages)}


def projects() -> dict[str, dict[str, Any]]:
    """Every pyproject.toml, by the folder that it is in."""
    return {
        path.parent.name: tomllib.loads(path.read_text("utf-8")) for path in PACKAGES.glob("*/pyproject.toml")
    }


def test_every_file_has_one_owner() -> None:
    """No path is in two distributions, shared packages stay open, and every portion is typed."""
    assert faults(PACKAGES) == []


def test_the_sdk_opens_the_namespace_first() -> None:
    """After its docstring, the SDK's own file adds the other distributions to the path before it imports them."""
    tree = ast.parse((PACKAGES / SDK / "src/cascade/__init__.py").read_text("utf-8"))
    body = tree.body[1:] if ast.get_docstring(tree) else tree.body
    assert ast.unparse(body[0]) == ast.unparse(ast.parse(FIRST))


def test_one_version_and_one_form() -> None:
    """All distributions have one version, licence and Python, and are named as their folders are."""
    found = projects()
    assert [toml["project"]["name"] for toml in found.values()] == list(found)
    assert {toml["project"]["version"] for toml in found.values()} == {VERSION}
    for key in ("license", "license-files", "requires-python", "authors"):
        assert len({str(toml["project"][key]) for toml in found.values()}) == 1, key
    for name, toml in found.items():
        assert toml["build-system"]["build-backend"] == "hatchling.build", name
        assert toml["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": ["src/cascade"]}, name
        assert (PACKAGES / name / "README.md").is_file(), name
        assert (PACKAGES / name / "LICENSE").read_bytes() == (PACKAGES.parent / "LICENSE").read_bytes(), name


def test_ours_are_pinned_to_the_same_minor() -> None:
    """A distribution asks for its neighbours in this very minor version, and in no other."""
    for name, toml in projects().items():
        major, minor, _ = toml["project"]["version"].split(".")
        pin = f">={major}.{minor}.0,<{major}.{int(minor) + 1}"
        lists = [toml["project"]["dependencies"], *toml["project"].get("optional-dependencies", {}).values()]
        ours = [
            asked for asks in lists for asked in asks if asked.startswith("cascade-") and "[" not in asked
        ]
        assert [asked for asked in ours if not asked.endswith(pin)] == [], name


# The check itself, on a small tree with one fault at a time.
