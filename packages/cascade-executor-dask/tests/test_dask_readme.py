"""The README's example runs as printed, and prints what it promises."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]  # Dask is slow on a busy machine


@pytest.mark.full
def test_the_examples_print_what_their_comments_promise(tmp_path: Path) -> None:
    """With threads as workers it needs no guard."""
    readme = Path(__file__).parents[1].joinpath("README.md").read_text("utf-8")
    code = "".join(re.findall(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE))
    script = tmp_path / "job.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, str(script)], check=False, capture_output=True, text=True, timeout=170
    )
    promised = re.findall(r"print\(.*\)  # (.*)", code)
    assert (done.stdout.splitlines(), done.stderr) == (promised, "")
