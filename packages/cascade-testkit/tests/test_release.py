"""The release session: when a checkout can be released, and which archives are not whole."""

import io
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "release"))

from releasing import archives, decisions
from releasing.decisions import Checkout, Listed
from releasing.index import Unreachable, ask, served

from cascade.interfaces.distribution import VERSION

ROOT = Path(__file__).parents[3]
CHANGELOG = """\
# Changelog

## [0.2.0] - 2026-12-01

### Run

- Better.

## [0.1.0] - 2026-11-25

The first.

## [0.0.9] - not released yet

[0.1.0]: somewhere
"""
GOOD = Checkout(
    head="c0ffee",
    changes=(),
    tags={"v0.1.0": "decade"},
    versions={"cascade-py": "0.2.0", "cascade-connector-mqtt": "0.2.0"},
    changelog=CHANGELOG,
)
OURS = Listed({"cascade-py": ("cascade_py-0.1.0-py3-none-any.whl", "cascade_py-0.1.0.tar.gz")})


@pytest.mark.parametrize(
    ("found", "publishing", "reason"),
    [
        (GOOD, False, None),
        (
            replace(GOOD, changes=(" M README.md",)),
            False,
            "1 file differs from the last commit (M README.md)",
        ),
        (replace(GOOD, changes=("?? a", "?? b")), True, "2 files differ"),
        (replace(GOOD, tags={"v0.2.0": "c0ffee"}), False, "version 0.2.0 exists: the tag v0.2.0"),
        (replace(GOOD, tags={"v0.2.0": "c0ffee"}), True, None),
        (replace(GOOD, tags={"v0.2.0": "decade"}), True, "v0.2.0 is not at this commit"),
        (GOOD, True, "v0.2.0 is not at this commit"),
        (replace(GOOD, versions={"cascade-py": "0.3.0"}), False, 'no notes below "## [0.3.0] - DATE"'),
        (replace(GOOD, versions={"cascade-py": "0.0.9"}), False, 'no notes below "## [0.0.9] - DATE"'),
        (replace(GOOD, versions={"cascade-py": "0.2.0", "cascade-cli": "0.1.0"}), False, "0.1.0, 0.2.0"),
    ],
)
def test_what_cannot_be_released(found: Checkout, publishing: bool, reason: str | None) -> None:
    """One line for each cause, with what to do; the tag of a version may exist only where it is published."""
    refused = decisions.refusal(found, publishing=publishing)
    assert (refused is None) == (reason is None)
    assert (reason or "") in (refused or "")
    assert "\n" not in (refused or "")


def test_what_an_index_has_against_a_release() -> None:
    """A version that it has, and names that are equal to it; a project that has our earlier versions is ours."""
    assert decisions.refusals_of_index(OURS, GOOD.versions) == decisions.warnings(GOOD, OURS) == []
    (refused,) = decisions.refusals_of_index(OURS, {"cascade-py": "0.1.0"})
    assert refused.startswith("version 0.1.0 exists: the index has cascade-py 0.1.0")
    mqtt = "cascade-connectormqtt"
    foreign = Listed(
        {"cascadepy": ("cascadepy-0.0.1.tar.gz",), mqtt: (), "cascade-py": ("cascade_py-9.tar.gz",)}
    )
    told = decisions.warnings(GOOD, foreign)
    assert [text.split(",")[0] for text in told] == [
        f"cascade-connector-mqtt meets '{mqtt}'",
        "cascade-py meets 'cascade-py'",
        "cascade-py meets 'cascadepy'",
    ]
    assert "PEP 541" in told[0]
    assert "publish as another name" in told[0]
    assert "publish as cascade-jobs" in told[2]
    assert {*foreign.files} <= {
        *decisions.spellings("cascade-py"),
        *decisions.spellings("cascade-connector-mqtt"),
    }


def test_what_only_publishing_refuses() -> None:
    """A version without a date, and metadata without addresses, are warnings before."""
    undated = replace(
        GOOD, changelog=CHANGELOG.replace("2026-12-01", "not released yet"), without_links=("a", "b")
    )
    date, links = decisions.warnings(undated, Listed())
    assert "for 0.2.0; write the date" in date
    assert "2 pyproject.toml (a)" in links


def test_notes_are_what_the_changelog_says_of_one_version() -> None:
    """Without the heading, up to the next version or the addresses at the end."""
    assert decisions.notes(CHANGELOG, "0.2.0") == "### Run\n\n- Better."
    assert decisions.notes(CHANGELOG, "0.1.0") == "The first."
    assert decisions.notes((ROOT / "CHANGELOG.md").read_text("utf-8"), "0.1.0").startswith(
        "The first release."
    )


def test_what_a_line_needs_of_others() -> None:
    """Directly, through an extra, through one that names others, and for each once."""
    projects: dict[str, dict[str, Any]] = {
        "cascade-py": {
            "dependencies": ["cascade-cli>=0.1,<0.2"],
            "optional-dependencies": {"mqtt": ["aiomqtt>=2"], "all": ["cascade-py[mqtt,web]"], "web": []},
        },
        "cascade-cli": {"dependencies": ["click>=8", "cascade-py"]},
    }
    assert decisions.asked_of_others(["cascade-py[all]"], projects) == ["aiomqtt>=2", "click>=8"]
    assert decisions.asked_of_others(["cascade-py"], projects) == ["click>=8"]
    assert decisions.unexpected({"click": 1, "six": 1}, ["click", "rich"]) == [
        "it brings six, which is not in the list",
        "it does not bring rich, which is in the list",
    ]


METADATA = """\
Name: cascade-tiny
Version: 0.2.0
Summary: tiny
Requires-Python: >=3.11
License-Expression: Apache-2.0
License-File: LICENSE
Description-Content-Type: text/markdown
Classifier: Typing :: Typed

What it is.
"""
TRACKED = {
    "cascade-tiny": frozenset({"LICENSE", "src/cascade/tiny/__init__.py", "src/cascade/tiny/py.typed"})
}
INFO = "cascade_tiny-0.2.0.dist-info"
WHEEL = {"cascade/tiny/__init__.py": "", "cascade/tiny/py.typed": ""} | {
    f"{INFO}/METADATA": METADATA, f"{INFO}/licenses/LICENSE": "", f"{INFO}/RECORD": ""
}  # fmt: skip


def build(dist: Path, wheel: dict[str, str], metadata: str = METADATA, *source: str) -> list[str]:
    """Write both archives of a distribution, and tell what is wrong with them."""
    with zipfile.ZipFile(dist / "cascade_tiny-0.2.0-py3-none-any.whl", "w") as file:
        for name, text in wheel.items():
            file.writestr(name, text)
    with tarfile.open(dist / "cascade_tiny-0.2.0.tar.gz", "w:gz") as archive:
        for name, text in {
            "PKG-INFO": metadata,
            **dict.fromkeys((*TRACKED["cascade-tiny"], *source), ""),
        }.items():
            entry = tarfile.TarInfo(f"cascade_tiny-0.2.0/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return archives.problems(dist, "0.2.0", TRACKED)


def test_archives_have_the_files_of_the_repository_and_no_other(tmp_path: Path) -> None:
    """Each lack is named with its archive."""
    assert build(tmp_path, WHEEL) == []
    (tmp_path / "notes.md").touch()
    bare = {
        f"{INFO}/METADATA": "Name: tiny\nVersion: 0.2.0\n",
        "cascade/tiny/__init__.py": "",
        "tests/a.py": "",
    }
    found = build(tmp_path, bare, METADATA.replace("0.2.0", "0.1.0"), "secret.pem")
    wheel, source = "cascade_tiny-0.2.0-py3-none-any.whl: ", "cascade_tiny-0.2.0.tar.gz: "
    assert [text.removeprefix(wheel) for text in found if text.startswith(wheel)] == [
        "cascade/tiny/py.typed is missing",
        "tests/a.py is not in the repository",
        "cascade/tiny has no py.typed",
        "the licence is missing",
        "its metadata say tiny-0.2.0",
        *(
            f"its metadata have no {key}"
            for key in (
                "Summary",
                "Requires-Python",
                "License-Expression",
                "License-File",
                "Description-Content-Type",
            )
        ),
        'its metadata have no classifier "Typing :: Typed"',
        "its metadata have no description: the README",
    ]
    assert [text for text in found if not text.startswith(wheel)] == [
        "notes.md is none of the archives of 0.2.0",
        f"{source}secret.pem is not in the repository",
        f"{source}its metadata say cascade_tiny-0.1.0",
    ]


def test_an_index_on_loopback_answers_by_name(tmp_path: Path) -> None:
    """A name that it does not have is not listed; without an answer nothing is known."""
    (tmp_path / "cascadepy-0.0.1.tar.gz").touch()
    with served(tmp_path) as url:
        assert ask(url, ["cascade-py", "cascadepy"]) == Listed({"cascadepy": ("cascadepy-0.0.1.tar.gz",)})
    with pytest.raises(Unreachable, match="does not answer"):
        ask(url, ["cascade-py"])


def commit(folder: Path, text: str) -> None:
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(("git", *author, "commit", "-qam", text), cwd=folder, check=True)


@pytest.mark.nightly
@pytest.mark.process
def test_the_whole_session(tmp_path: Path) -> None:
    """From a clone: bad input builds nothing; else all archives are checked, and the README's line brings its list."""
    clone, elsewhere = tmp_path / "clone", tmp_path / "elsewhere"
    subprocess.run(("git", "clone", "-q", "--no-tags", ROOT, clone), check=True)
    elsewhere.mkdir()
    (elsewhere / "cascadepy-0.0.1.tar.gz").touch()

    def release(*options: str) -> tuple[int, str]:
        command = (sys.executable, "-m", "nox", "-s", "release", "--", "--quick", "--index", url, *options)
        done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    with served(elsewhere) as url:
        (clone / "new.py").touch()
        assert "1 file differs from the last commit (?? new.py)" in release()[1]
        (clone / "new.py").unlink()
        changelog = (clone / "CHANGELOG.md").read_text("utf-8")
        (clone / "CHANGELOG.md").write_text("# Changelog\n", "utf-8")
        commit(clone, "Remove the notes")
        code, text = release()
        assert (code, "CHANGELOG.md has no notes" in text, (clone / "dist").exists()) == (1, True, False)
        (clone / "CHANGELOG.md").write_text(changelog, "utf-8")
        commit(clone, "Add the notes")
        subprocess.run(("git", "tag", f"v{VERSION}"), cwd=clone, check=True)
        assert f"version {VERSION} exists: the tag v{VERSION}" in release()[1]
        assert "cascade-py meets 'cascadepy'" in release("--publishing")[1]
        assert not (clone / "dist").exists()
        subprocess.run(("git", "tag", "-d", f"v{VERSION}"), cwd=clone, check=True)
        code, text = release()
    assert code == 0, text
    assert "cascade-py meets 'cascadepy'" in text
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    brought = settings["tool"]["cascade"]["brought-by-readme"]
    assert f'pip install "cascade-py[cli,mqtt]": {len(brought)} packages, ' in text
    assert (clone / "dist/notes.md").read_text("utf-8").strip() == decisions.notes(changelog, VERSION)
    packages = list(ROOT.glob("packages/*/pyproject.toml"))
    assert len(list((clone / "dist/archives").iterdir())) == 2 * len(packages)
