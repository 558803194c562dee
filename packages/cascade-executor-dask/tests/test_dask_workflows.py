"""Any workflow at all gives on a Dask cluster what a simple recursive evaluator gives."""

from pathlib import Path

import pytest

from cascade.executors.dask import DaskExecutor
from cascade.runtime import Engine
from cascade.testkit.workflows import check_workflows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]  # Dask takes long where others work too


@pytest.mark.parametrize(
    "examples",
    [pytest.param(20, marks=pytest.mark.slow), pytest.param(400, marks=pytest.mark.nightly)],
)
def test_any_workflow_gives_what_a_recursive_evaluator_gives(examples: int, tmp_path: Path) -> None:
    """Values, failures and what observers are told agree, whichever way failures are met."""
    check_workflows(lambda: DaskExecutor(workers=2), Engine, tmp_path, examples=examples)
