"""Parts of admission that tests drive without an engine: the one place that says in which modules they are."""

from cascade.runtime._admission.capacities import ConstraintResolver, SystemResources
from cascade.runtime._admission.controller import AdmissionController
from cascade.runtime._admission.limits import (
    RULES,
    Cancel,
    Concurrency,
    Effective,
    Pause,
    RateLimit,
    Rule,
    TokenBucket,
    is_plain,
    pattern_problem,
    task_matcher,
)
from cascade.runtime._admission.policy import AdmissionPolicy
from cascade.runtime._admission.requests import BlockReason, StartRequest, WorkerSlots
from cascade.runtime._admission.waits import STALL_LIMIT, StallDetector, Wait, waits_of
from cascade.runtime._support.clock import SystemClock

__all__ = [
    "RULES",
    "STALL_LIMIT",
    "AdmissionController",
    "AdmissionPolicy",
    "BlockReason",
    "Cancel",
    "Concurrency",
    "ConstraintResolver",
    "Effective",
    "Pause",
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
