"""The engines of one connector: what they share, and what ends with them."""

from fakes import FakeClock, Run

from cascade.runtime._admission.controller import AdmissionController
from cascade.runtime._admission.limits import (
    Concurrency,
    Effective,
    Key,
    RateLimit,
    TokenBucket,
    TokenBuckets,
)
from cascade.runtime._admission.policy import AdmissionPolicy
from cascade.runtime._admission.requests import StartRequest
from cascade.runtime._control.connected_engines import ConnectedEngines
from cascade.runtime.bus import EventBus

LIMIT: Key = ("task:a", "concurrency")
AT_MOST_3 = Effective(Concurrency(3), "topic")


class Bench:
    """Three engines of one connector, each with a run of its own."""

    def __init__(self) -> None:
        self.steps = 0
        self.buckets: TokenBuckets = {}
        self.clock = FakeClock()
        self.engines = ConnectedEngines(
            "press",
            ("plant", 1883),
            self.buckets,
            clock=self.clock,
            on_event=lambda _: None,
            on_progress=lambda _: None,
            on_step=self._stepped,
        )
        self.controllers = [self.make() for _ in range(3)]
        for number, controller in enumerate(self.controllers):
            self.engines.add(controller, lambda: {LIMIT: AT_MOST_3})
            self.engines.begin_run(f"r{number}", controller, EventBus())

    def make(self) -> AdmissionController:
        return AdmissionController(AdmissionPolicy(), clock=self.clock)

    def _stepped(self) -> None:
        self.steps += 1

    def in_force(self) -> list[list[Key]]:
        return [list(each.policy.gates.by_key) for each in self.controllers]


def running(controller: AdmissionController, run: Run) -> StartRequest:
    """Have a task of a run count as running."""
    request = StartRequest(run, "a")
    controller.policy.attach(run)
    controller.policy.count(request)
    return request


def test_each_engine_of_a_connector_obeys_every_change_and_is_named_alike() -> None:
    """The hint in a log line names source and broker; a limit's tokens are shared."""
    bench = Bench()
    assert bench.in_force() == [[LIMIT]] * 3
    rate: Key = ("task:b", "rate_limit")
    bench.engines.apply({LIMIT: None, rate: Effective(RateLimit(1.0), "topic")})
    assert bench.in_force() == [[rate]] * 3
    assert {(each.source, each.broker) for each in bench.controllers} == {("press", ("plant", 1883))}
    assert list(bench.buckets) == ["task:b"]


def test_the_running_tasks_of_all_engines_are_added_up() -> None:
    bench = Bench()
    for number, controller in enumerate(bench.controllers):
        running(controller, Run(f"r{number}"))
    running(bench.controllers[1], Run("r1"))
    assert bench.engines.running == 4


def test_the_last_engines_constraints_wait_for_the_next_engine_and_follow_the_broker() -> None:
    """Between runs nothing is asked of the registers; the engine that had them obeys nothing any more."""
    bench = Bench()
    for number in (1, 0, 2):
        bench.engines.end_run(f"r{number}")
        bench.engines.end_run(f"r{number}")
    assert not bench.engines.have_runs
    assert bench.in_force() == [[]] * 3
    assert {each.on_step for each in bench.controllers} == {None}
    pause: Key = ("task:b", "concurrency")
    bench.engines.apply({pause: AT_MOST_3})
    following = bench.make()

    def unasked() -> dict[Key, Effective]:
        raise AssertionError("the gates that were kept are adopted")

    bench.engines.add(following, unasked)
    assert set(following.policy.gates.by_key) == {LIMIT, pause}
    second = bench.make()
    bench.engines.add(second, lambda: {LIMIT: AT_MOST_3})
    assert set(second.policy.gates.by_key) == {LIMIT}, "the gates are given away once"


def test_the_tokens_of_each_limit_that_is_gone_are_dropped() -> None:
    """A limit that is in force keeps them, also between two that are gone."""
    bench = Bench()
    for scope in ("task:a", "task:b", "task:c"):
        bench.buckets[scope] = TokenBucket(RateLimit(1.0))
    bench.engines.forget_buckets(lambda key: key == ("task:b", "rate_limit"))
    assert list(bench.buckets) == ["task:b"]
