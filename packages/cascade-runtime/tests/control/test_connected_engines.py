"""The engines of one connector: what they share, and what ends with them."""

import logging

import pytest
from fakes import FakeClock, Run

from cascade.interfaces import TaskStateEvent
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
from cascade.runtime._control.connected_engines import ConnectedEngines, PeerEngines
from cascade.runtime.bus import EventBus


def test_no_event_arrives_after_the_engines_were_cleared() -> None:
    """A run may go on when its connector is disconnected: its events concern no report any more."""
    clock = FakeClock()
    engines = ConnectedEngines(
        "press",
        None,
        {},
        clock=clock,
        on_event=lambda _: None,
        on_progress=lambda _: None,
        on_step=lambda: None,
    )
    bus, admission = EventBus(), AdmissionController(AdmissionPolicy(), clock=clock)
    engines.add(admission, dict)
    engines.begin_run("r", admission, bus)
    assert bus.wants(TaskStateEvent)
    engines.clear()
    assert not engines.have_runs
    assert bus.handlers() == []


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


def test_of_the_engines_without_a_run_only_one_that_still_counts_a_call_stays() -> None:
    """The others are forgotten, before and behind it; it is forgotten at the end of its call."""
    bench = Bench()
    request = running(bench.controllers[1], Run("r1"))
    for number in range(3):
        bench.engines.end_run(f"r{number}")
    assert bench.in_force() == [[], [LIMIT], []]
    assert bench.engines.running == 1
    bench.controllers[1].policy.detach(request.run)
    bench.controllers[1].policy.release(request)
    assert bench.controllers[1].on_step is not None
    bench.controllers[1].on_step()
    assert bench.in_force() == [[]] * 3
    assert (bench.engines.running, bench.steps) == (0, 1)


def test_a_clear_lifts_everything_everywhere_and_what_was_kept_is_gone() -> None:
    bench = Bench()
    bench.engines.end_run("r0")
    bench.engines.clear()
    assert bench.in_force() == [[]] * 3
    assert {each.on_step for each in bench.controllers} == {None}
    following = bench.make()
    bench.engines.add(following, dict)
    assert not following.policy.constrained


def test_the_tokens_of_each_limit_that_is_gone_are_dropped() -> None:
    """A limit that is in force keeps them, also between two that are gone."""
    bench = Bench()
    for scope in ("task:a", "task:b", "task:c"):
        bench.buckets[scope] = TokenBucket(RateLimit(1.0))
    bench.engines.forget_buckets(lambda key: key == ("task:b", "rate_limit"))
    assert list(bench.buckets) == ["task:b"]


def test_the_events_of_a_bus_are_observed_until_the_last_of_its_runs_has_ended() -> None:
    """Two runs of one engine share its bus: each event is counted once."""
    bench, bus = Bench(), EventBus()
    controller = bench.make()
    for run_id in ("x", "y"):
        bench.engines.begin_run(run_id, controller, bus)
    observers = len(bus.handlers())
    bench.engines.end_run("x")
    assert len(bus.handlers()) == observers
    bench.engines.end_run("y")
    assert bus.handlers() == []
    bench.engines.begin_run("z", controller, bus)
    assert len(bus.handlers()) == observers


def test_only_engines_that_live_together_share_a_name(caplog: pytest.LogCaptureFixture) -> None:
    """One that follows another, as at each new connection, is not a second one; nor is another name."""
    peers = PeerEngines()

    def warnings() -> list[str]:
        return [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]

    for _ in range(3):
        peers.join("press")
        peers.join("mill")
        peers.leave("press")
        peers.leave("mill")
    peers.join("press")
    assert warnings() == []
    peers.join("mill")
    peers.join("press")
    (warning,) = warnings()
    peers.join("press")
    assert warnings() == [warning]
    assert warning.startswith("two engines of this process are both called press")
