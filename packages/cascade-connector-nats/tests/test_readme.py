"""The examples in the README run as printed, with the address of a server that the test started."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cascade.interfaces.subjects import subject_of
from cascade.testkit.brokers import NatsServer

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
OUTPUT = ["42", "plant/1/temperature {'celsius': 21.5}"]


@pytest.mark.full
@pytest.mark.broker
@pytest.mark.parametrize(
    ("example", "output"), list(zip(EXAMPLES, OUTPUT, strict=True)), ids=["run", "alone"]
)
def test_an_example_runs(nats_server: NatsServer, tmp_path: Path, example: str, output: str) -> None:
    """It prints what it says, and warns of nothing."""
    program = example.replace('"localhost"', f'"{nats_server.host}", {nats_server.nats_port}')
    file = tmp_path / "example.py"
    file.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(file)], capture_output=True, text=True, check=False, timeout=6000
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert output in done.stdout


def test_the_keys_of_the_page_are_those_of_their_topics() -> None:
    """What is typed there steers an engine."""
    assert f"cascade {subject_of('cascade/constraints/global/@pause')} " in README
    assert subject_of("cascade/status/line 3") in README
