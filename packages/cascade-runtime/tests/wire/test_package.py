"""The package ``cascade.wire``: its example, its names, and what it imports."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cascade.runtime import Engine, FileConnector
from cascade.spec import task

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


@task
def double(x: int) -> int:
    return 2 * x


async def test_the_example_of_the_page_reads_a_file_of_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints what it says."""
    (block,) = re.findall(r"```python\n(import json\n[^`]*cascade.wire.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    assert await Engine(connector=FileConnector("run.jsonl")).run(double(1)) == 2
    exec(block, {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"^# (.*)$", block, re.MULTILINE)


@pytest.mark.process
def test_a_program_that_writes_imports_no_reader_and_a_reader_no_engine() -> None:
    """The messages are modules of their own."""
    code = (
        "import json, sys; import cascade.wire; {}; "
        "print(json.dumps([name for name in sys.modules if name.startswith('cascade')]))"
    )
    found = {}
    for what in (
        "cascade.wire.Series, cascade.wire.RunsReport",
        "[getattr(cascade.wire, each) for each in cascade.wire.__all__]",
    ):
        printed = subprocess.run([sys.executable, "-c", code.format(what)], capture_output=True, check=True)
        found[what] = json.loads(printed.stdout)
    writer, reader = found.values()
    assert not {"cascade.wire.reading", "cascade.wire.parsed", "cascade.wire.view"} & {*writer}
    assert [name for name in reader if name.startswith("cascade.runtime")] == []
