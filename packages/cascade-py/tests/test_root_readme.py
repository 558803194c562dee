"""The README's first page is true: its job runs as printed, and a subscriber sees it."""

import asyncio
import re
import shlex
import subprocess
import sys
from pathlib import Path

import long_limits
import pytest

from cascade.interfaces import connector
from cascade.testkit import Broker, eventually
from cascade.testkit.waiting import busyness
from testing_tools.recorder import Recorder

pytestmark = pytest.mark.process  # left out of the session unit

ROOT = Path(__file__).parents[3]
PACKAGES = ROOT / "packages"
README = (ROOT / "README.md").read_text(encoding="utf-8")


BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
CASCADE = (sys.executable, "-P", "-m", "cascade.cli")
OWN_PROGRAM = re.compile(r"```python\n(if __name__ == .*?)```", re.DOTALL)
RESULT = "51 of 60 parts are good\n"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """The page's ten lines, with work that takes no time, as a file."""
    (job,) = re.findall(r"```python\n(import time\nimport cascade as cs.*?)```", README, re.DOTALL)
    assert len([line for line in job.splitlines() if line.strip()]) == 10
    assert "time.sleep(1)" in job
    path = tmp_path / "job.py"
    path.write_text(job.replace("time.sleep(1)", "time.sleep(0)"))
    return path


@pytest.mark.full
@pytest.mark.broker
def test_a_subscriber_gets_every_event_of_the_job_once(fresh_broker: Broker, job: Path) -> None:
    """The command prints what the page says, and a subscriber with the page's filter gets every event once.

    The command waits for as long as the broker needs: one that is slow would be a warning.
    """
    (shown_filter,) = re.findall(r"`mosquitto_sub .* -t '(\S+)'`", README)
    command = [*long_limits.CASCADE, "run", job.name, "--quiet", "--broker", fresh_broker.url]
    with Recorder(fresh_broker.host, fresh_broker.port, shown_filter) as recorder:
        done = subprocess.run(
            command, cwd=job.parent, capture_output=True, text=True, timeout=60 * busyness(), check=True
        )
        asyncio.run(eventually(lambda: any(b"ENGINE_STOPPED" in each.payload for each in recorder.messages)))
    assert (done.stdout, done.stderr) == (RESULT, "")
    events = recorder.of("cascade/telemetry/+/+/+/events")
    assert len(events) == 2 * 61 + 2
    assert [event["seq"] for event in recorder.first_copies()] == list(range(2 * 61 + 2))


@pytest.mark.full
@pytest.mark.parametrize("logging_set_up", [False, True])
def test_without_a_broker_a_program_prints_the_same(job: Path, logging_set_up: bool) -> None:
    """The same result; the cause and the number of dropped messages are on stderr, also without logging set up."""
    (program,) = OWN_PROGRAM.findall(README)
    assert "mqtt://localhost?" in program
    text = job.read_text() + program.replace("mqtt://localhost?", "mqtt://127.0.0.1:9?")
    job.write_text(("import logging; logging.basicConfig()\n" if logging_set_up else "") + text)
    done = subprocess.run(
        [sys.executable, job], capture_output=True, text=True, timeout=60 * busyness(), check=True
    )
    assert done.stdout == RESULT
    warnings = [line for line in done.stderr.splitlines() if "127.0.0.1:9" in line]
    assert len(warnings) == 2
    assert all(text in done.stderr for text in ("no connection", "124 unsent"))


LIBRARY = README.partition("## Use it as a library")[2].partition("\n## ")[0]


@pytest.mark.full
@pytest.mark.broker
def test_the_library_part_runs_as_printed(fresh_broker: Broker, tmp_path: Path) -> None:
    """Engine, connector, outbox and watcher, each alone; the watcher sees the run of a named engine."""
    blocks = [block for block in BLOCK.findall(LIBRARY) if "class Connector" not in block]
    program = "\n".join(blocks).replace('"localhost"', f'"{fresh_broker.host}", port={fresh_broker.port}')
    named = f"MqttConnector('{fresh_broker.host}', {fresh_broker.port}, source_id='press')"
    asked = f"asyncio.run(Engine(connector={named}).run(double(2)))"
    calls = f"asyncio.run(exchange())\nasyncio.run(measure())\n{asked}\nasyncio.run(watch())\n"
    (tmp_path / "program.py").write_text(program + calls)
    with Recorder(fresh_broker.host, fresh_broker.port, "plant/#") as recorder:
        done = subprocess.run(
            [sys.executable, "program.py"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        asyncio.run(eventually(lambda: len(recorder.messages) == 4))
    assert done.stdout.splitlines() == ["42", "plant/1/power {'kw': 2.5}", "press double Succeeded"]
    assert done.stderr == ""


def test_the_protocol_is_printed_in_full() -> None:
    """The page shows each method of the connector as it is declared."""
    declared = re.findall(
        r"^    (async def .*\) -> \w+:)$", Path(connector.__file__).read_text("utf-8"), re.MULTILINE
    )
    (printed,) = [block for block in BLOCK.findall(LIBRARY) if "class Connector" in block]
    assert [line.strip().removesuffix(" ...") for line in printed.splitlines()[1:]] == declared[1:]


def test_the_install_line_names_every_part_that_it_needs() -> None:
    """Named together, as pip would otherwise look for the parts elsewhere."""
    (line,) = re.findall(r"^(pip install \./packages.*)$", README, re.MULTILINE)
    for part in (
        "cascade-interfaces",
        "cascade-runtime",
        "cascade-connector-mqtt",
        "cascade-cli",
        "cascade-py[cli,mqtt]",
    ):
        assert f"./packages/{part}" in line


def test_until_a_release_every_page_describes_how_to_install_from_a_clone() -> None:
    """What a package index does not have yet cannot be had from there."""
    pages = [
        page for page in PACKAGES.glob("*/README.md") if 'pip install "cascade-' in page.read_text("utf-8")
    ]
    assert len(pages) == 9
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
