"""What the continuous integration runs of others: fixed commits, without the credentials of the repository."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parents[3] / ".github"
WORKFLOWS = [path.read_text("utf-8") for path in sorted(FOLDER.glob("workflows/*.yml"))]


def test_actions_are_commits_and_keep_no_credentials() -> None:
    """A tag can be moved to other code; a token that checkout keeps could be read by every later step."""
    used = [line for text in WORKFLOWS for line in re.findall(r"uses: (.*)", text)]
    assert used
    for each in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", each), each
    for text in WORKFLOWS:
        assert text.count("actions/checkout@") == text.count("persist-credentials: false")
        assert "permissions:\n  contents: read\n" in text


def test_dependencies_are_looked_after() -> None:
    """New versions are proposed, and known vulnerabilities fail a job."""
    proposed = re.findall(r"package-ecosystem: (\S+)", (FOLDER / "dependabot.yml").read_text("utf-8"))
    assert proposed == ["github-actions", "pip"]
    assert any("audit" in text for text in WORKFLOWS)


def test_only_the_job_that_publishes_can_prove_who_it_is() -> None:
    """It runs nothing of this repository: what builds and tests could otherwise publish something else."""
    (text,) = [text for text in WORKFLOWS if "id-token: write" in text]
    build, publish = text.partition("\n  publish:\n")[::2]
    publish = publish.partition("\n  notes:\n")[0]
    assert "nox -s release -- --publishing" in build
    assert "id-token" not in build
    assert text.count("id-token: write") == 1
    assert "run:" not in publish
    assert "attestations: true" in publish
    assert "needs: build" in publish
    assert "environment:" in publish


def test_each_issue_form_asks_what_is_needed() -> None:
    """A form that the site cannot read is not offered, and nobody notices."""
    forms = sorted(FOLDER.glob("ISSUE_TEMPLATE/*.yml"))
    assert [path.stem for path in forms] == ["bug", "config", "idea", "page"]
    for path in forms:
        form = path.read_text("utf-8")
        if path.stem != "config":
            assert re.search(r"^name: .+\ndescription: .+\nlabels: \[\w+\]\nbody:\n", form), path
            assert len(set(re.findall(r"^    id: (\w+)$", form, re.MULTILINE))) == form.count(
                "  - type: "
            ) - form.count("type: markdown")
            assert "required: true" in form
