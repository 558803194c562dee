"""A report names every reason for which a task waits, and none for which it does not."""

from admission_parts import (
    AdmissionPolicy,
    Concurrency,
    Effective,
    Pause,
    Rule,
    StartRequest,
    SystemResources,
    Wait,
    WorkerSlots,
    waits_of,
)
from fakes import Run


def policy_with(*rules: Rule, **resources: float) -> AdmissionPolicy:
    policy = AdmissionPolicy(SystemResources(resources))
    policy.apply({("global", rule.type): Effective(rule, f"topic/{rule.type}") for rule in rules}, 0.0)
    return policy


def test_a_task_at_a_checkpoint_waits_for_pauses_only() -> None:
    """It runs already: a limit that is full holds back other tasks, not this one."""
    policy, run = policy_with(Concurrency(1)), Run()
    policy.attach(run)
    policy.submit(StartRequest(run, "long"))
    assert len(policy.admit(0.0, 9)) == 1
    policy.apply({("global", "pause"): Effective(Pause(), "topic/pause")}, 0.0)
    assert waits_of(policy, run.run_id, 0.0, paused={"long": 1}) == {
        Wait("constraint", "topic/pause", "pause"): 1
    }


def test_each_group_of_tasks_is_counted_under_its_own_reasons() -> None:
    """One that may start stands between two that may not; a task with three reasons counts under each."""
    policy, run, other = policy_with(gpu=4, memory=8), Run(), Run("r2")
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
    policy, run = policy_with(gpu=3), Run()
    policy.attach(run)
    for amount in (3.0, 2.0, 1.0, 1.0):
        policy.submit(StartRequest(run, "train", demands=(("gpu", amount),)))
    assert len(policy.admit(0.0, 9)) == 1
    assert waits_of(policy, run.run_id, 0.0, paused={}) == {Wait("resource", "gpu"): 3}
