"""The examples in the README run as printed, with the address of a broker that the test started."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cascade.testkit import Broker

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
OUTPUT = ["42", "plant/1/temperature {'celsius': 21.5}", ""]


@pytest.mark.broker
@pytest.mark.parametrize(
    ("example", "output"), list(zip(EXAMPLES, OUTPUT, strict=True)), ids=["run", "alone", "mock"]
)
def test_an_example_runs(broker: Broker, tmp_path: Path, example: str, output: str) -> None:
    """It prints what it says, and warns of nothing."""
    address = f'"{broker.host}", {broker.port}'
    program = example.replace('hostname="localhost"', address).replace('"localhost"', address)
    file = tmp_path / "example.py"
    file.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(file)], capture_output=True, text=True, check=False, timeout=600
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert output in done.stdout
