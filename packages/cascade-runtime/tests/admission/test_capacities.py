"""SystemResources: amounts of any kind, and what their checks cost."""

import pytest
from admission_parts import Bench, ConstraintResolver, SystemResources

from cascade.interfaces import ConfigurationError
from cascade.spec import task


def test_many_different_demands_cost_at_most_three_checks_each() -> None:
    """1,000 tasks that each demand another amount: at most 3 checks a task."""
    bench = Bench(memory_gb=2_000)
    for number in range(1_000):
        bench.submit("a", memory_gb=1_000 + number / 1_000)
    done = 0
    while started := bench.admit():
        for request in started:
            done += 1
            bench.policy.release(request)
    assert done == 1_000
    assert bench.policy.checks <= 3_000


def test_fractions_fit_into_the_capacity_that_they_add_up_to() -> None:
    """0.3 - 0.1 - 0.1 is a little less than 0.1: the third task starts nevertheless."""
    bench = Bench(gpu=0.3)
    bench.submit(*"aaaa", gpu=0.1)
    assert len(bench.admit()) == 3


RESOLVER = ConstraintResolver(SystemResources({"gpu": 2, "memory_gb": 64}))


@task
def size() -> int:
    return 24


def test_lazy_amounts_are_looked_up() -> None:
    """An amount may be the value of another task; numbers stay unchanged."""
    needed = size()
    values = {needed: 24}
    amounts = RESOLVER.resolve("train", {"memory_gb": needed, "gpu": 1}, values.__getitem__)
    assert amounts == (("gpu", 1.0), ("memory_gb", 24.0))


def test_a_lazy_value_that_is_not_an_amount_is_rejected() -> None:
    """It is rejected when the task is ready, with the message that a declared amount gets."""
    with pytest.raises(ConfigurationError, match=r"with_constraints\(gpu=\).*'much'"):
        RESOLVER.resolve("train", {"gpu": size()}, lambda lazy: "much")
