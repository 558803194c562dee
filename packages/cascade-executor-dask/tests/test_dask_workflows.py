"""Any workflow at all gives on a Dask cluster what a simple recursive evaluator gives."""

import asyncio
import itertools
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.executors.dask import DaskExecutor
from cascade.runtime import Engine
from cascade.testkit.workflows import check_workflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]  # Dask takes long where others work too


@pytest.mark.parametrize(
    "examples",
    [pytest.param(20, marks=pytest.mark.slow), pytest.param(400, marks=pytest.mark.nightly)],
)
def test_any_workflow_gives_what_a_recursive_evaluator_gives(examples: int, tmp_path: Path) -> None:
    """Values, failures and what observers are told agree, whichever way failures are met."""
    numbers = itertools.count()
    with asyncio.Runner() as runner:
        executor = DaskExecutor(workers=2)

        @settings(max_examples=examples, deadline=None)
        @given(st.randoms(use_true_random=False))
        def any_workflow(random: Random) -> None:
            place = tmp_path / str(next(numbers))
            place.mkdir()
            runner.run(check_workflow(lambda: Engine(executor=executor), random, place))

        try:
            any_workflow()
        finally:
            runner.run(executor.close())
