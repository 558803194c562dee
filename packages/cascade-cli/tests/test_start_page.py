"""The page of the first ten minutes is true: its lines are added to the first page's job, typed in order, and compared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_service_page import Reader

from testing_tools.engines import Plant
from testing_tools.page_examples import check_printed, examples

PACKAGE = Path(__file__).parents[1]
PAGE = (PACKAGE / "START.md").read_text("utf-8")
FIRST = (PACKAGE.parents[1] / "README.md").read_text("utf-8")

pytestmark = [pytest.mark.full, pytest.mark.process]


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_every_line_of_the_first_ten_minutes(
    plant: Plant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the first page have their own test; its work takes no time here."""
    (job,) = re.findall(r"```python\n(import time\nimport cascade as cs.*?)```", FIRST, re.DOTALL)
    (more,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("job.py").write_text(f"{job.replace('time.sleep(1)', 'time.sleep(0)')}\n{more}")
    reader = Reader(plant)
    try:
        for line, shown in examples(PAGE):
            reader.types(line, shown)
        assert reader.service is not None
        check_printed(re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)[0].splitlines(), reader.service.text)
    finally:
        reader.close()
