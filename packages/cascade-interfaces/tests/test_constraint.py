"""Amounts of resources are checked when they are declared."""

import pytest

from cascade.interfaces import ConfigurationError
from cascade.spec.checks import check_amount


@pytest.mark.parametrize("amount", [0, 1, 0.5, 64])
def test_a_number_from_0_is_an_amount(amount: float) -> None:
    """Whole and broken numbers are taken, 0 too."""
    assert check_amount("gpu", amount) == amount


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf"), True, "1", None, [1]])
def test_anything_else_is_refused_when_it_is_declared(amount: object) -> None:
    """The error names the resource and what was given."""
    with pytest.raises(ConfigurationError, match=r"with_constraints\(gpu=\).*number from 0"):
        check_amount("gpu", amount)
