"""What DaskExecutor is told, and what it tells, before there is a cluster."""

import os
from typing import Any

import pytest

from cascade.executors.dask import DaskExecutor
from cascade.interfaces import ConfigurationError


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"address": ""}, r"address=.*tcp://host:8786"),
        ({"address": 8786}, "address="),
        ({"workers": 0}, "workers=.*whole number from 1"),
        ({"connect_timeout": 0}, "connect_timeout=.*above 0"),
        ({"address": "tcp://host:8786", "n_workers": 3}, r"n_workers=\): is for a local cluster"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(settings: dict[str, Any], problem: str) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match=problem):
        DaskExecutor(**settings)


def test_how_many_workers_there_will_be_is_known_before_the_start() -> None:
    """From the settings; a cluster elsewhere is asked when it is reached."""
    assert DaskExecutor(workers=3).workers == 3
    assert DaskExecutor(n_workers=2, threads_per_worker=4).workers == 8
    assert DaskExecutor().workers == os.cpu_count()
    assert DaskExecutor("tcp://host:8786").workers == 1
