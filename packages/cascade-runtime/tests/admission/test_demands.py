"""Declared demands are resolved to amounts when their task is ready."""

import pytest
from admission_parts import ConstraintResolver, SystemResources

from cascade.interfaces import ConfigurationError, ResourceCapacityError
from cascade.spec import task


@task
def size() -> int:
    return 24


@pytest.fixture
def resolver() -> ConstraintResolver:
    return ConstraintResolver(SystemResources({"gpu": 2, "memory_gb": 64}))


def test_lazy_amounts_are_looked_up(resolver: ConstraintResolver) -> None:
    """An amount may be the value of another task; numbers stay unchanged."""
    needed = size()
    values = {needed: 24}
    amounts = resolver.resolve("train", {"memory_gb": needed, "gpu": 1}, values.__getitem__)
    assert amounts == (("gpu", 1.0), ("memory_gb", 24.0))


def test_a_lazy_value_that_is_not_an_amount_is_rejected(resolver: ConstraintResolver) -> None:
    """It is rejected when the task is ready, with the message that a declared amount gets."""
    with pytest.raises(ConfigurationError, match=r"with_constraints\(gpu=\).*'much'"):
        resolver.resolve("train", {"gpu": size()}, lambda lazy: "much")


def test_a_value_above_the_capacity_names_both(resolver: ConstraintResolver) -> None:
    """A lazy amount above the capacity fails the task at once."""
    with pytest.raises(ResourceCapacityError, match="gpu=3, but this engine has gpu=2"):
        resolver.resolve("train", {"gpu": size()}, lambda lazy: 3)
