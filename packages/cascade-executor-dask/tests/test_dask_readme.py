"""The README's example runs as printed, and prints what it promises."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]  # Dask is slow on a busy machine


@pytest.mark.full
def test_the_example_prints_what_its_comment_promises(tmp_path: Path) -> None:
    """With threads as workers it needs no guard."""
    readme = Path(__file__).parents[1].joinpath("README.md").read_text("utf-8")
    (block,) = re.findall(r"  ```python\n(.*?)  ```", readme, re.DOTALL)
    code = "import cascade as cs\n" + block.replace("\n  ", "\n").removeprefix("  ")
    script = tmp_path / "job.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)], check=False, capture_output=True, text=True, timeout=170
    )
    (promised,) = re.findall(r"print\(.*\)  # (.*)", code)
    assert (done.stdout, done.stderr) == (f"{promised}\n", "")
