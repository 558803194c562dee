"""What a user declares: tasks, lazy results and their policies, inputs, resources and routes."""

from cascade.spec.caching import CachePolicy
from cascade.spec.definition import TaskDefinition
from cascade.spec.inputs import Env, Input, InputCall, Param, read_inputs
from cascade.spec.lazy import Call, Condition, LazyResult, MapCall, call_of, targets_of
from cascade.spec.policies import Policies, RetryPolicy
from cascade.spec.resource import Injection, Resource, inject, resource
from cascade.spec.routing import RouteCall, Router, pipeline, sequence
from cascade.spec.task import Task, check_lengths, column_of, task

__all__ = [
    "CachePolicy",
    "Call",
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
    "Task",
    "TaskDefinition",
    "call_of",
    "check_lengths",
    "column_of",
    "inject",
    "pipeline",
    "read_inputs",
    "resource",
    "sequence",
    "targets_of",
    "task",
]
