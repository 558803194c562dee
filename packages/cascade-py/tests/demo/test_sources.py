"""Which files are found, and what they are called."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath

import pytest
from pyaudit.model import Finding
from pyaudit.sources import InputError, find_sources, module_name

WriteFiles = Callable[[Mapping[str, str | bytes]], Path]


def test_files_are_found_below_the_folder_and_named_as_they_are_imported(write_files: WriteFiles) -> None:
    """Packages go by their folder; other files are ignored."""
    folder = write_files({"a.py": "", "p/__init__.py": "", "p/b.py": "", "p/data.txt": "", "c.pyi": ""})
    sources, unreadable = find_sources(folder)
    assert [(s.shown, s.module, s.is_package) for s in sources] == [
        ("a.py", "a", False),
        ("p/__init__.py", "p", True),
        ("p/b.py", "p.b", False),
    ]
    assert unreadable == []


def test_what_others_wrote_is_left_out(write_files: WriteFiles) -> None:
    """Installed packages, caches, hidden folders and virtual environments are not the code that was given."""
    foreign = ["site-packages/x.py", ".git/x.py", "__pycache__/x.py", "env/lib/x.py", "node_modules/x.py"]
    folder = write_files(dict.fromkeys(["a.py", "env/pyvenv.cfg", *foreign], ""))
    assert [source.shown for source in find_sources(folder)[0]] == ["a.py"]


def test_a_package_given_by_its_own_folder_keeps_its_full_name(write_files: WriteFiles) -> None:
    """Names begin where Python's own search would: at the first folder that is not a package."""
    folder = write_files({"p/__init__.py": "", "p/q/__init__.py": "", "p/q/r.py": ""})
    assert [source.module for source in find_sources(folder / "p" / "q")[0]] == ["p.q", "p.q.r"]


@pytest.mark.parametrize(
    ("path", "packages", "name"),
    [
        ("a/b.py", set(), "a.b"),
        ("a/__init__.py", {"a"}, "a"),
        ("src/a/b.py", {"src/a"}, "a.b"),
        ("src/a.py", {"src"}, "src.a"),
        ("packages/my-lib/src/a/b.py", set(), "a.b"),
        ("my-lib/__init__.py", {"my-lib"}, "my-lib"),
        ("python-config.py", set(), "python-config"),
        ("__init__.py", set(), "__init__"),
    ],
)
def test_module_names(path: str, packages: set[str], name: str) -> None:
    """A folder that no import statement can name is where names begin."""
    assert module_name(PurePath(path), {PurePath(package) for package in packages}) == name


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("missing", "does not exist; give a folder of Python files"),
        ("folder/a.py", "is a file; give the folder that holds it"),
        ("folder/empty", "no Python file (*.py) in"),
    ],
)
def test_a_folder_that_cannot_be_audited_is_refused_with_advice(
    write_files: WriteFiles, given: str, advice: str
) -> None:
    """Missing, a file, nothing in it: the message names the path and what to give instead."""
    folder = write_files({"folder/a.py": "", "folder/empty/readme.txt": ""})
    with pytest.raises(InputError) as refused:
        find_sources(folder / given)
    assert advice in str(refused.value)
    assert given.rpartition("/")[2] in str(refused.value)


def test_a_subfolder_that_cannot_be_read_is_a_finding(
    write_files: WriteFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest is audited, and the report says what is missing from it."""
    folder = write_files({"a.py": "", "closed/b.py": ""}).resolve()
    scandir = os.scandir

    def guarded(path: str | Path) -> object:
        if Path(path).name == "closed":  # also root, who may read everything, must see this
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    sources, unreadable = find_sources(folder)
    assert [source.shown for source in sources] == ["a.py"]
    assert unreadable == [Finding("closed", 0, "folder cannot be read: Permission denied")]
