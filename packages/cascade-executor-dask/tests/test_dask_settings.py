"""The settings of DaskExecutor, before there is a cluster."""

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
def test_an_invalid_setting_is_rejected(settings: dict[str, Any], problem: str) -> None:
    """The error names the setting."""
    with pytest.raises(ConfigurationError, match=problem):
        DaskExecutor(**settings)


def test_the_number_of_workers_is_estimated_before_the_start() -> None:
    """It comes from the settings; for a remote cluster it is known after the connection."""
    assert DaskExecutor(workers=3).workers == 3
    assert DaskExecutor(n_workers=2, threads_per_worker=4).workers == 8
    assert DaskExecutor().workers == os.cpu_count()
    assert DaskExecutor("tcp://host:8786").workers == 1
