"""Admission at odd moments: runs that come late or end early, requests that go, gates that change hands."""

from collections.abc import Mapping

import pytest
from admission_parts import (
    BlockReason,
    Cancel,
    Concurrency,
    Effective,
    Pause,
    Policy,
    RateLimit,
    Rule,
    StartRequest,
    SystemResources,
    Wait,
    WorkerSlots,
    waits_of,
)
from fakes import Run


def policy_with(rules: Mapping[str, Rule], **resources: float) -> Policy:
    """Return a policy with rules by scope, all from one author."""
    policy = Policy(SystemResources(resources))
    put(policy, rules)
    return policy


def put(policy: Policy, rules: Mapping[str, Rule]) -> None:
    changes = {(scope, rule.type): Effective(rule, f"topic/{scope}", "me") for scope, rule in rules.items()}
    policy.apply(changes, 0.0)


def submit(policy: Policy, run: Run, *names: str, slots: WorkerSlots | None = None) -> list[StartRequest]:
    requests = [StartRequest(run, name, slots=slots) for name in names]
    for request in requests:
        policy.submit(request)
    return requests


def names(requests: list[StartRequest]) -> list[str]:
    return [request.name for request in requests]


def test_a_request_for_resources_names_what_is_free_of_each() -> None:
    """In the order of their names; what other requests have taken is not free."""
    policy, run = policy_with({}, gpu=2, disk=1.5), Run()
    policy.attach(run)
    demands = policy.resources.check("a", {"gpu": 1, "disk": 1})
    for _ in range(2):
        policy.submit(StartRequest(run, "a", demands=demands))
    assert len(policy.admit(0.0, 9)) == 1
    ((_, reason),) = policy.notifications.take_blocked(9)
    assert reason == BlockReason("it waits for disk: 0.5 of 1.5 free, gpu: 1 of 2 free")
    assert waits_of(policy, run.run_id, 0.0, paused={}) == {Wait("resource", "disk"): 1}


@pytest.mark.parametrize("scope", ["run:r1", "source:line", "global"])
def test_a_run_that_begins_under_a_cancel_is_cancelled(scope: str) -> None:
    """One of another id is not, unless the cancel covers everything."""
    policy, run, other = policy_with({scope: Cancel()}), Run("r1"), Run("r2")
    for each in (run, other):
        policy.attach(each)
    cancelled = [
        (each.run_id, reason.topic, covers)
        for each, reason, covers in policy.notifications.take_cancellations()
    ]
    runs = ["r1"] if scope == "run:r1" else ["r1", "r2"]
    assert cancelled == [(run_id, f"topic/{scope}", None) for run_id in runs]
    assert policy.notifications.take_cancellations() == []


def test_a_call_that_could_not_be_stopped_counts_until_it_is_released() -> None:
    """Also when its run has ended by then; after that nothing of the run is left."""
    policy, run, later = policy_with({}), Run("r1"), Run("r2")
    policy.attach(run)
    request = StartRequest(run, "a")
    policy.count(request)
    policy.count(request)
    policy.detach(run)
    put(policy, {"global": Concurrency(1)})
    assert policy.gates.running == 1
    policy.attach(later)
    submit(policy, later, "b")
    assert policy.admit(0.0, 9) == []
    policy.release(request)
    policy.release(request)
    assert policy.gates.groups_of("r1") == []
    assert names(policy.admit(0.0, 9)) == ["b"]
    assert policy.gates.running == 1


@pytest.mark.parametrize(
    ("scope", "paused"),
    [
        ("global", "ab b"),
        ("task:a*", "ab"),
        ("task:b", "b"),
        ("run:r1", "ab b"),
        ("run:r2", ""),
        ("source:x", "ab b"),
    ],
)
def test_a_task_at_a_checkpoint_sees_the_pause_of_each_scope(scope: str, paused: str) -> None:
    """Before and after a task of its name has asked to start, until the pause is lifted."""
    policy, run = policy_with({}), Run("r1")
    policy.attach(run)
    put(policy, {scope: Pause()})
    for _ in range(2):
        reasons = {name: policy.gates.hold_reason("r1", name) for name in ("ab", "b")}
        assert [name for name, reason in reasons.items() if reason is not None] == paused.split()
        assert all(reason.topic == f"topic/{scope}" for reason in reasons.values() if reason is not None)
        submit(policy, run, "ab", "b")
    assert [policy.gates.is_not_held("r1", name) for name in ("ab", "b")] == [
        name not in paused.split() for name in ("ab", "b")
    ]
    policy.apply({(scope, "pause"): None}, 0.0)
    assert policy.gates.hold_reason("r1", "ab") is None
    assert policy.gates.is_not_held("r1", "ab")


def test_a_rate_that_was_cleared_begins_anew_and_one_that_an_engine_lifts_goes_on() -> None:
    """What the broker cleared is over; what an engine lifts at its end still counts for its next run."""
    for is_cleared, starts in ((True, 1), (False, 0)):
        policy, run = policy_with({"task:a": RateLimit("1/h")}), Run()
        policy.attach(run)
        submit(policy, run, "a", "a")
        assert len(policy.admit(0.0, 9)) == 1
        if is_cleared:
            policy.apply({("task:a", "rate_limit"): None}, 0.0)
            assert len(policy.admit(0.0, 9)) == 1
        else:
            policy.withdraw_all(run)
            policy.clear()
        put(policy, {"task:a": RateLimit("1/h")})
        submit(policy, run, "a")
        assert len(policy.admit(0.0, 9)) == starts


def test_a_task_at_a_checkpoint_waits_for_pauses_only() -> None:
    """It runs already: a limit that is full holds back other tasks, not this one."""
    policy, run = policy_with({"global": Concurrency(1)}), Run()
    policy.attach(run)
    policy.submit(StartRequest(run, "long"))
    assert len(policy.admit(0.0, 9)) == 1
    policy.apply({("global", "pause"): Effective(Pause(), "topic/pause")}, 0.0)
    assert waits_of(policy, run.run_id, 0.0, paused={"long": 1}) == {
        Wait("constraint", "topic/pause", "pause"): 1
    }


def test_each_group_of_tasks_is_counted_under_its_own_reasons() -> None:
    """One that may start stands between two that may not; a task with three reasons counts under each."""
    policy, run, other = policy_with({}, gpu=4, memory=8), Run(), Run("r2")
    slots = WorkerSlots(1)
    for each in (run, other):
        policy.attach(each)
    policy.submit(StartRequest(run, "busy", slots=slots, demands=(("gpu", 3.0),)))
    assert len(policy.admit(0.0, 9)) == 1
    policy.apply(
        {
            ("task:held*", "pause"): Effective(Pause(), "topic/held"),
            ("task:held2", "concurrency"): Effective(Concurrency(0), "topic/limit"),
            ("run:r2", "pause"): Effective(Pause(), "topic/r2"),
        },
        0.0,
    )
    for name, number in (("held1", 2), ("free", 1), ("held2", 3)):
        for _ in range(number):
            policy.submit(StartRequest(run, name))
    policy.submit(StartRequest(run, "large", slots=slots, demands=(("gpu", 2.0), ("memory", 1.0))))
    policy.submit(StartRequest(other, "held2"))
    assert waits_of(policy, run.run_id, 0.0, paused={"held1": 4, "free": 2, "gone": 1}) == {
        Wait("constraint", "topic/held", "pause"): 2 + 3 + 4,
        Wait("constraint", "topic/limit", "concurrency"): 3,
        Wait("slot"): 1,
        Wait("resource", "gpu"): 1,
    }
    assert waits_of(policy, other.run_id, 0.0, paused={}) == {
        Wait("constraint", "topic/held", "pause"): 1,
        Wait("constraint", "topic/limit", "concurrency"): 1,
        Wait("constraint", "topic/r2", "pause"): 1,
    }


def test_tasks_of_one_name_wait_for_what_each_of_them_demands() -> None:
    """Also behind those with other demands that have all started."""
    policy, run = policy_with({}, gpu=3), Run()
    policy.attach(run)
    for amount in (3.0, 2.0, 1.0, 1.0):
        policy.submit(StartRequest(run, "train", demands=(("gpu", amount),)))
    assert len(policy.admit(0.0, 9)) == 1
    assert waits_of(policy, run.run_id, 0.0, paused={}) == {Wait("resource", "gpu"): 3}
