"""SystemResources: demands are met all at once or not at all, in order of arrival; impossible ones raise."""

import pytest
from fakes import Run
from hypothesis import given
from hypothesis import strategies as st

from cascade.interfaces import ResourceCapacityError, UnknownResourceError, UsageError
from cascade.runtime._admission.capacities import SystemResources
from cascade.runtime._admission.limits import Effective, Pause
from cascade.runtime._admission.policy import AdmissionPolicy
from cascade.runtime._admission.requests import BlockReason, StartRequest


class Bench:
    def __init__(self, **capacities: float) -> None:
        self.policy = AdmissionPolicy(SystemResources(capacities))
        self.run = Run()
        self.policy.attach(self.run)

    def submit(self, name: str, **demands: float) -> StartRequest:
        request = StartRequest(self.run, name, demands=self.policy.resources.check(name, demands))
        self.policy.submit(request)
        return request

    def admit(self) -> list[StartRequest]:
        return self.policy.admit(0.0, 1_000)


def test_a_demand_above_the_capacity_names_both() -> None:
    """The error states the demand and the capacity."""
    with pytest.raises(
        ResourceCapacityError, match=r"'train' needs gpu=4, but this engine has gpu=2 in total"
    ):
        SystemResources({"gpu": 2}).check("train", {"gpu": 4})


@pytest.mark.parametrize(
    ("capacities", "have"), [({"gpu": 2, "memory_gb": 64}, "it has gpu, memory_gb"), ({}, "it has none")]
)
def test_an_unknown_resource_lists_the_known_ones(capacities: dict[str, float], have: str) -> None:
    """The error shows a mistyped name next to the valid ones."""
    with pytest.raises(UnknownResourceError, match=have):
        SystemResources(capacities).check("train", {"gpus": 1})


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf"), True, "1", None])
def test_an_amount_that_is_not_a_number_is_rejected(amount: object) -> None:
    """Demands and capacities must be finite numbers from 0."""
    with pytest.raises(UsageError, match="number from 0"):
        SystemResources({"gpu": 2}).check("train", {"gpu": amount})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="number from 0"):
        SystemResources({"gpu": amount})  # type: ignore[dict-item]


def test_demands_are_met_all_at_once() -> None:
    """A request that lacks one of its resources holds none of the others."""
    bench = Bench(gpu=1, memory_gb=16)
    first = bench.submit("a", gpu=1)
    assert bench.admit() == [first]
    both = bench.submit("b", gpu=1, memory_gb=16)
    assert bench.admit() == []
    assert bench.policy.resources.free == {"gpu": 0.0, "memory_gb": 16.0}
    why = BlockReason("it waits for gpu: 0 of 1 free, memory_gb: 16 of 16 free")
    assert bench.policy.notifications.take_blocked(9) == [(both, why)]
    bench.policy.release(first)
    assert bench.admit() == [both]


def test_small_demands_cannot_starve_a_large_one() -> None:
    """Small demands that arrive after a large one wait behind it, even if they would fit."""
    bench = Bench(memory_gb=10)
    small = [bench.submit("small", memory_gb=3) for _ in range(3)]
    assert bench.admit() == small
    large = bench.submit("large", memory_gb=8)
    later = [bench.submit("small", memory_gb=1) for _ in range(3)]
    assert bench.admit() == []
    for request in small[:2]:
        bench.policy.release(request)
        assert bench.admit() == []
    bench.policy.release(small[2])
    assert bench.admit() == [large, *later[:2]]


def test_requests_for_other_resources_are_not_blocked() -> None:
    """A request that shares no resource with a waiting one overtakes it."""
    bench = Bench(gpu=1, cpu=4)
    first = bench.submit("a", gpu=1)
    bench.submit("b", gpu=1)
    other = bench.submit("c", cpu=4)
    assert bench.admit() == [first, other]


def test_a_paused_request_blocks_no_other() -> None:
    """Requests do not wait behind a large demand that a pause blocks."""
    bench = Bench(gpu=2)
    first = bench.submit("small", gpu=1)
    assert bench.admit() == [first]
    large = bench.submit("large", gpu=2)
    second = bench.submit("small", gpu=1)
    assert bench.admit() == []
    bench.policy.apply({("task:large", "pause"): Effective(Pause(), "t")}, 0.0)
    assert bench.admit() == [second]
    bench.policy.apply({("task:large", "pause"): None}, 0.0)
    for request in (first, second):
        assert bench.admit() == []
        bench.policy.release(request)
    assert bench.admit() == [large]


def test_withdrawing_a_large_demand_admits_the_small_ones() -> None:
    """When the head of the queue is withdrawn, the requests behind it are checked again."""
    bench = Bench(gpu=2)
    first = bench.submit("small", gpu=1)
    bench.admit()
    large = bench.submit("large", gpu=2)
    second = bench.submit("small", gpu=1)
    assert bench.admit() == []
    bench.policy.withdraw(large)
    assert bench.admit() == [second]
    assert first.running


def test_an_amount_of_zero_demands_nothing() -> None:
    """A demand of 0 waits for nothing."""
    bench = Bench(gpu=0)
    request = bench.submit("a", gpu=0)
    assert request.demands == ()
    assert bench.admit() == [request]


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


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 4), max_size=3), max_size=25),
    st.randoms(use_true_random=False),
)
def test_every_demand_is_met_and_no_resource_is_given_out_twice(
    demands: list[dict[str, float]], random: object
) -> None:
    """For any demands and any order of ends: capacities hold, all are met, and all is given back."""
    capacities = {"a": 4.0, "b": 5.0, "c": 6.0}
    bench = Bench(**capacities)
    for number, wanted in enumerate(demands):
        bench.submit(f"t{number % 3}", **wanted)
    running: list[StartRequest] = []
    served = 0
    while True:
        running += bench.admit()
        for name, capacity in capacities.items():
            used = sum(dict(request.demands).get(name, 0) for request in running)
            assert used == capacity - bench.policy.resources.free[name] <= capacity
        if not running:
            break
        bench.policy.release(running.pop(random.randrange(len(running))))  # type: ignore[attr-defined]
        served += 1
    assert served == len(demands)
    assert bench.policy.resources.free == capacities


def test_fractions_fit_into_the_capacity_that_they_add_up_to() -> None:
    """0.3 - 0.1 - 0.1 is a little less than 0.1: the third task starts nevertheless."""
    policy, run = AdmissionPolicy(SystemResources({"gpu": 0.3})), Run()
    policy.attach(run)
    for _ in range(4):
        policy.submit(StartRequest(run, "a", demands=(("gpu", 0.1),)))
    assert len(policy.admit(0.0, 9)) == 3
