"""Any workflow has the same result on a Dask cluster as in a simple recursive evaluator."""

from pathlib import Path

import pytest

from cascade.executors.dask import DaskExecutor
from cascade.runtime import Engine
from testing_tools.workflows.check import check_workflows

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]  # Dask is slow on a busy machine


@pytest.mark.parametrize(
    "examples",
    [pytest.param(20, marks=pytest.mark.process), pytest.param(400, marks=pytest.mark.nightly)],
)
def test_any_workflow_gives_what_a_recursive_evaluator_gives(examples: int, tmp_path: Path) -> None:
    """Values, failures and events agree, for both settings of on_failure."""
    check_workflows(lambda: DaskExecutor(workers=2), Engine, tmp_path, examples=examples)
