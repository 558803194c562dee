"""Parts of admission that tests drive without an engine: the one place that says where they are, and what they are called."""

from fakes import Run

from cascade.runtime._admission.capacities import ConstraintResolver, SystemResources
from cascade.runtime._admission.controller import AdmissionController as Controller
from cascade.runtime._admission.policy import AdmissionPolicy as Policy
from cascade.runtime._admission.request_queues import BlockReason, StartRequest, WorkerSlots
from cascade.runtime._admission.rules import (
    RULES,
    Cancel,
    Concurrency,
    Effective,
    GateRule,
    LiveReading,
    Pause,
    RateLimit,
    Rule,
    TokenBucket,
    is_plain,
    pattern_problem,
    task_matcher,
)
from cascade.runtime._admission.wait_reasons import STALL_LIMIT, StallDetector, Wait, waits_of
from cascade.runtime._support.clock import SystemClock

__all__ = [
    "RULES",
    "STALL_LIMIT",
    "Bench",
    "BlockReason",
    "Cancel",
    "Concurrency",
    "ConstraintResolver",
    "Controller",
    "Effective",
    "GateRule",
    "LiveReading",
    "Pause",
    "Policy",
    "RateLimit",
    "Rule",
    "StallDetector",
    "StartRequest",
    "SystemClock",
    "SystemResources",
    "TokenBucket",
    "Wait",
    "WorkerSlots",
    "is_plain",
    "pattern_problem",
    "task_matcher",
    "waits_of",
]


class Bench:
    """A policy with one run, and short names for the calls of the tests."""

    def __init__(self, **resources: float) -> None:
        self.policy = Policy(SystemResources(resources))
        self.run = Run()
        self.policy.attach(self.run)
        self.now = 100.0

    def put(self, scope: str, rule: Rule, topic: str = "") -> None:
        effective = Effective(rule, topic or f"topic/{scope}/{rule.type}")
        self.policy.apply({(scope, rule.type): effective}, self.now)

    def lift(self, scope: str, kind: str) -> None:
        self.policy.apply({(scope, kind): None}, self.now)

    def submit(
        self, *names: str, run: Run | None = None, slots: WorkerSlots | None = None, **demands: float
    ) -> list[StartRequest]:
        requests = []
        for name in names:
            checked = self.policy.resources.check(name, demands)
            request = StartRequest(run or self.run, name, demands=checked, slots=slots)
            self.policy.submit(request)
            requests.append(request)
        return requests

    def admit(self, most: int = 1_000_000) -> list[StartRequest]:
        return self.policy.admit(self.now, most)

    def names(self, most: int = 1_000_000) -> list[str]:
        return [request.name for request in self.admit(most)]
