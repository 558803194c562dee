"""The declarations of a user: tasks, lazy results and their policies, inputs, resources and routes."""

from cascade.spec.caching import CachePolicy
from cascade.spec.definition import TaskDefinition
from cascade.spec.inputs import Env, Input, InputCall, Param, read_inputs
from cascade.spec.labels import filled, short
from cascade.spec.lazy import (
    Call,
    CallSettings,
    Condition,
    LazyResult,
    MapCall,
    as_call,
    call_of,
    collected,
    targets_of,
)
from cascade.spec.nested import (
    PLAIN,
    VISITS_PER_STEP,
    Search,
    Walk,
    find_lazies,
    may_hold_lazies,
    substitute,
)
from cascade.spec.policies import Policies, RetryPolicy
from cascade.spec.resource import Injection, Resource, inject, resource
from cascade.spec.routing import RouteCall, Router, pipeline, sequence
from cascade.spec.task import Task, check_lengths, column_of, settings_of, task

__all__ = [
    "PLAIN",
    "VISITS_PER_STEP",
    "CachePolicy",
    "Call",
    "CallSettings",
    "Condition",
    "Env",
    "Injection",
    "Input",
    "InputCall",
    "LazyResult",
    "MapCall",
    "Param",
    "Policies",
    "Resource",
    "RetryPolicy",
    "RouteCall",
    "Router",
    "Search",
    "Task",
    "TaskDefinition",
    "Walk",
    "as_call",
    "call_of",
    "check_lengths",
    "collected",
    "column_of",
    "filled",
    "find_lazies",
    "inject",
    "may_hold_lazies",
    "pipeline",
    "read_inputs",
    "resource",
    "sequence",
    "settings_of",
    "short",
    "substitute",
    "targets_of",
    "task",
]
