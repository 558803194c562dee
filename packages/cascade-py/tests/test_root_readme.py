"""The README's first page is true: its job runs as printed, and a subscriber sees what it shows."""

import asyncio
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cascade.testkit import Broker, eventually
from cascade.testkit.recorder import Recorder

pytestmark = pytest.mark.slow  # left out of the session unit

ROOT = Path(__file__).parents[3]
PACKAGES = ROOT / "packages"
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.broker
def test_the_ten_lines_run_and_are_seen(broker: Broker, tmp_path: Path) -> None:
    """The job prints what the page says, and ten messages like the two that it shows reach a subscriber."""
    (job,) = re.findall(r"```python\n(import cascade as cs.*?)```", README, re.DOTALL)
    assert len([line for line in job.splitlines() if line.strip()]) <= 10
    here = job.replace('hostname="localhost"', f'hostname="{broker.host}", port={broker.port}')
    assert here != job
    (tmp_path / "job.py").write_text(here)
    (shown_filter,) = re.findall(r"mosquitto_sub .* -t '(\S+)'", README)
    with Recorder(broker.host, broker.port, shown_filter) as recorder:
        done = subprocess.run(
            [sys.executable, str(tmp_path / "job.py")], capture_output=True, text=True, timeout=60, check=True
        )
        asyncio.run(eventually(lambda: any(b"ENGINE_STOPPED" in each.payload for each in recorder.messages)))
    assert done.stdout == "14\n"
    assert done.stderr == ""
    assert len(recorder.messages) == 10
    shown = [
        json.loads(text)
        for text in re.findall(r"^cascade/telemetry/\S+/events (\{.*\})$", README, re.MULTILINE)
    ]
    told = {message["seq"]: message for message in recorder.first_copies()}
    assert len(shown) == 2
    for example in shown:
        real = told[example["seq"]]
        assert list(real) == list(example)
        assert real["body"] == example["body"] | {"duration_ms": real["body"].get("duration_ms", 0.0)} or (
            "duration_ms" not in real["body"] and real["body"] == example["body"]
        )


@pytest.mark.parametrize("logging_set_up", [False, True])
def test_without_a_broker_the_job_prints_the_same(tmp_path: Path, logging_set_up: bool) -> None:
    """14 all the same; who has set up logging reads why and how much was given up, who has not sees nothing."""
    (job,) = re.findall(r"```python\n(import cascade as cs.*?)```", README, re.DOTALL)
    job = job.replace('hostname="localhost"', 'hostname="127.0.0.1", port=9')
    if logging_set_up:
        job = "import logging; logging.basicConfig()\n" + job
    (tmp_path / "job.py").write_text(job)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "job.py")], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "14\n"
    warnings = [line for line in done.stderr.splitlines() if "127.0.0.1:9" in line]
    assert len(warnings) == (2 if logging_set_up else 0)
    assert all(word in done.stderr for word in (("no connection", "10 unsent") if logging_set_up else ()))


def test_the_install_line_names_every_part_that_it_needs() -> None:
    """Named together, as pip would otherwise look for the parts elsewhere."""
    (line,) = re.findall(r"^(pip install \./packages.*)$", README, re.MULTILINE)
    for part in ("cascade-interfaces", "cascade-runtime", "cascade-connector-mqtt", "cascade-py[mqtt]"):
        assert f"./packages/{part}" in line


def test_until_a_release_every_page_tells_how_to_install_from_a_clone() -> None:
    """What a package index does not have yet cannot be had from there."""
    pages = [
        page for page in PACKAGES.glob("*/README.md") if 'pip install "cascade-' in page.read_text("utf-8")
    ]
    assert len(pages) == 4
    for page in pages:
        line = re.findall(
            r"^Nothing is released yet; from a clone: `pip install (.*)`\.$",
            page.read_text("utf-8"),
            re.MULTILINE,
        )
        assert [
            part
            for part in shlex.split(line[0])
            if not (ROOT / part.partition("[")[0] / "pyproject.toml").exists()
        ] == []
