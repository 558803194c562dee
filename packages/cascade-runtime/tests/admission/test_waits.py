"""A report names every reason for which a task waits, and none for which it does not."""

from fakes import Run

from cascade.runtime._admission.capacities import SystemResources
from cascade.runtime._admission.limits import Concurrency, Effective, Pause, Rule
from cascade.runtime._admission.policy import AdmissionPolicy
from cascade.runtime._admission.requests import StartRequest
from cascade.runtime._admission.waits import Wait, waits_of


def policy_with(*rules: Rule, **resources: float) -> AdmissionPolicy:
    policy = AdmissionPolicy(SystemResources(resources))
    policy.apply({("global", rule.type): Effective(rule, f"topic/{rule.type}") for rule in rules}, 0.0)
    return policy


def test_a_task_whose_resource_is_free_but_promised_to_an_older_one_waits_for_it() -> None:
    """Without that, the report would show a task that waits for nothing."""
    policy, run = policy_with(gpu=2), Run()
    policy.attach(run)
    for name, amount in (("first", 1.0), ("large", 2.0), ("small", 1.0)):
        policy.submit(StartRequest(run, name, demands=(("gpu", amount),)))
    assert [request.name for request in policy.admit(0.0, 9)] == ["first"]
    assert policy.resources.free == {"gpu": 1.0}
    assert waits_of(policy, run.run_id, 0.0, paused={}) == {Wait("resource", "gpu"): 2}


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
