"""SystemResources: all at once or not at all, first come, first served, and clear errors before that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stand_ins import Run

from cascade.interfaces import UsageError
from cascade.runtime.constraints.admission import Admission
from cascade.runtime.constraints.registers import Effective
from cascade.runtime.constraints.rules import Pause
from cascade.runtime.constraints.system_resources import (
    ResourceCapacityError,
    SystemResources,
    UnknownResourceError,
)
from cascade.runtime.constraints.tickets import Obstacle, Ticket


class Bench:
    def __init__(self, **capacities: float) -> None:
        self.admission = Admission(SystemResources(capacities))
        self.run = Run()
        self.admission.attach(self.run)

    def enter(self, name: str, **demands: float) -> Ticket:
        ticket = Ticket(self.run, name, demands=self.admission.resources.check(name, demands))
        self.admission.enter(ticket)
        return ticket

    def admit(self) -> list[Ticket]:
        return self.admission.admit(0.0, 1_000)


def test_a_demand_above_the_capacity_names_both() -> None:
    """It fails at once, and says what was asked and what there is."""
    with pytest.raises(ResourceCapacityError, match=r"'train' needs gpu=4, but this engine has gpu=2 in all"):
        SystemResources({"gpu": 2}).check("train", {"gpu": 4})


@pytest.mark.parametrize(
    ("capacities", "have"), [({"gpu": 2, "memory_gb": 64}, "it has gpu, memory_gb"), ({}, "it has none")]
)
def test_an_unknown_resource_lists_the_known_ones(capacities: dict[str, float], have: str) -> None:
    """A name that was mistyped is seen beside the right ones."""
    with pytest.raises(UnknownResourceError, match=have):
        SystemResources(capacities).check("train", {"gpus": 1})


@pytest.mark.parametrize("amount", [-1, float("nan"), float("inf"), True, "1", None])
def test_an_amount_that_is_no_number_is_refused(amount: object) -> None:
    """Neither a demand nor a capacity may be anything but a finite number from 0."""
    with pytest.raises(UsageError, match="number from 0"):
        SystemResources({"gpu": 2}).check("train", {"gpu": amount})  # type: ignore[dict-item]
    with pytest.raises(UsageError, match="number from 0"):
        SystemResources({"gpu": amount})  # type: ignore[dict-item]


def test_demands_are_met_all_at_once() -> None:
    """A task that lacks one of its resources holds none of the others."""
    bench = Bench(gpu=1, memory_gb=16)
    first = bench.enter("a", gpu=1)
    assert bench.admit() == [first]
    both = bench.enter("b", gpu=1, memory_gb=16)
    assert bench.admit() == []
    assert bench.admission.resources.free == {"gpu": 0.0, "memory_gb": 16.0}
    why = Obstacle("it waits for gpu: 0 of 1 free, memory_gb: 16 of 16 free")
    assert bench.admission.notices.take_blocked(9) == [(both, why)]
    bench.admission.leave(first)
    assert bench.admit() == [both]


def test_a_great_demand_is_not_overtaken_for_ever() -> None:
    """Small demands that come after a great one wait behind it, even while they would fit."""
    bench = Bench(memory_gb=10)
    small = [bench.enter("small", memory_gb=3) for _ in range(3)]
    assert bench.admit() == small
    great = bench.enter("great", memory_gb=8)
    later = [bench.enter("small", memory_gb=1) for _ in range(3)]
    assert bench.admit() == []
    for ticket in small[:2]:
        bench.admission.leave(ticket)
        assert bench.admit() == []
    bench.admission.leave(small[2])
    assert bench.admit() == [great, *later[:2]]


def test_other_resources_are_not_held_up() -> None:
    """Who needs nothing of what a waiting task needs passes it."""
    bench = Bench(gpu=1, cpu=4)
    first = bench.enter("a", gpu=1)
    bench.enter("b", gpu=1)
    other = bench.enter("c", cpu=4)
    assert bench.admit() == [first, other]


def test_a_paused_task_holds_up_nobody() -> None:
    """A great demand that may not start anyway is no reason for others to wait."""
    bench = Bench(gpu=2)
    first = bench.enter("small", gpu=1)
    assert bench.admit() == [first]
    great = bench.enter("great", gpu=2)
    second = bench.enter("small", gpu=1)
    assert bench.admit() == []
    bench.admission.apply({("task:great", "pause"): Effective(Pause(), "t")}, 0.0)
    assert bench.admit() == [second]
    bench.admission.apply({("task:great", "pause"): None}, 0.0)
    for ticket in (first, second):
        assert bench.admit() == []
        bench.admission.leave(ticket)
    assert bench.admit() == [great]


def test_a_withdrawn_great_demand_lets_the_small_ones_pass() -> None:
    """When the task at the front gives up, those behind it are looked at again."""
    bench = Bench(gpu=2)
    first = bench.enter("small", gpu=1)
    bench.admit()
    great = bench.enter("great", gpu=2)
    second = bench.enter("small", gpu=1)
    assert bench.admit() == []
    bench.admission.withdraw(great)
    assert bench.admit() == [second]
    assert first.running


def test_an_amount_of_zero_needs_nothing() -> None:
    """A demand of 0 is a demand for nothing, and waits for nothing."""
    bench = Bench(gpu=0)
    ticket = bench.enter("a", gpu=0)
    assert ticket.demands == ()
    assert bench.admit() == [ticket]


def test_many_different_demands_cost_a_few_looks_each() -> None:
    """1,000 tasks that each need another amount: no more than 3 checks a task."""
    bench = Bench(memory_gb=2_000)
    for number in range(1_000):
        bench.enter("a", memory_gb=1_000 + number / 1_000)
    done = 0
    while started := bench.admit():
        for ticket in started:
            done += 1
            bench.admission.leave(ticket)
    assert done == 1_000
    assert bench.admission.checks <= 3_000


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 4), max_size=3), max_size=25),
    st.randoms(use_true_random=False),
)
def test_everyone_is_served_and_nothing_is_given_out_twice(
    demands: list[dict[str, float]], random: object
) -> None:
    """Whatever is asked for and in whatever order it ends: never too much at once, all served, all back."""
    capacities = {"a": 4.0, "b": 5.0, "c": 6.0}
    bench = Bench(**capacities)
    for number, wanted in enumerate(demands):
        bench.enter(f"t{number % 3}", **wanted)
    running: list[Ticket] = []
    served = 0
    while True:
        running += bench.admit()
        for name, capacity in capacities.items():
            used = sum(dict(ticket.demands).get(name, 0) for ticket in running)
            assert used == capacity - bench.admission.resources.free[name] <= capacity
        if not running:
            break
        bench.admission.leave(running.pop(random.randrange(len(running))))  # type: ignore[attr-defined]
        served += 1
    assert served == len(demands)
    assert bench.admission.resources.free == capacities
