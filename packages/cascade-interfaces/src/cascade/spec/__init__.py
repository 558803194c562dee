"""What a user declares: tasks, lazy results and their policies."""

from cascade.spec.definition import Mode, TaskDefinition
from cascade.spec.lazy import LazyResult, MapResult
from cascade.spec.policies import Policies, RetryPolicy
from cascade.spec.task import Task, check_lengths, task

__all__ = [
    "LazyResult",
    "MapResult",
    "Mode",
    "Policies",
    "RetryPolicy",
    "Task",
    "TaskDefinition",
    "check_lengths",
    "task",
]
