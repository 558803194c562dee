"""Declared needs become amounts when their task is ready."""

import pytest

from cascade.interfaces import ConfigurationError
from cascade.runtime.constraints import ConstraintResolver, ResourceCapacityError, SystemResources
from cascade.spec import task


@task
def size() -> int:
    return 24


@pytest.fixture
def resolver() -> ConstraintResolver:
    return ConstraintResolver(SystemResources({"gpu": 2, "memory_gb": 64}))


def test_lazy_amounts_are_looked_up(resolver: ConstraintResolver) -> None:
    """An amount may be the value of another task; numbers stay what they are."""
    needed = size()
    values = {needed: 24}
    amounts = resolver.resolve("train", {"memory_gb": needed, "gpu": 1}, values.__getitem__)
    assert amounts == (("gpu", 1.0), ("memory_gb", 24.0))


def test_a_value_that_is_no_amount_is_refused(resolver: ConstraintResolver) -> None:
    """What only shows when the task is ready is refused then, in the same words."""
    with pytest.raises(ConfigurationError, match=r"with_constraints\(gpu=\).*'much'"):
        resolver.resolve("train", {"gpu": size()}, lambda lazy: "much")


def test_a_value_above_the_capacity_names_both(resolver: ConstraintResolver) -> None:
    """A lazy amount that can never be met fails the task at once."""
    with pytest.raises(ResourceCapacityError, match="gpu=3, but this engine has gpu=2"):
        resolver.resolve("train", {"gpu": size()}, lambda lazy: 3)
