"""The declarations of a user: tasks, lazy results and their policies, inputs, resources and routes.

Each name is imported from its module when it is first used: a program loads what it declares.
"""

from typing import TYPE_CHECKING

from cascade.interfaces.on_demand import on_demand

if TYPE_CHECKING:
    from cascade.spec.caching import CachePolicy as CachePolicy
    from cascade.spec.definition import TaskDefinition as TaskDefinition
    from cascade.spec.inputs import Env as Env
    from cascade.spec.inputs import Input as Input
    from cascade.spec.inputs import InputCall as InputCall
    from cascade.spec.inputs import Param as Param
    from cascade.spec.inputs import read_inputs as read_inputs
    from cascade.spec.labels import filled as filled
    from cascade.spec.labels import short as short
    from cascade.spec.lazy import Call as Call
    from cascade.spec.lazy import CallSettings as CallSettings
    from cascade.spec.lazy import Condition as Condition
    from cascade.spec.lazy import LazyResult as LazyResult
    from cascade.spec.lazy import MapCall as MapCall
    from cascade.spec.lazy import as_call as as_call
    from cascade.spec.lazy import call_of as call_of
    from cascade.spec.lazy import collected as collected
    from cascade.spec.lazy import place_of_call as place_of_call
    from cascade.spec.lazy import target_name as target_name
    from cascade.spec.lazy import targets_of as targets_of
    from cascade.spec.lazy import watch_calls as watch_calls
    from cascade.spec.nested import PLAIN as PLAIN
    from cascade.spec.nested import VISITS_PER_STEP as VISITS_PER_STEP
    from cascade.spec.nested import Search as Search
    from cascade.spec.nested import Walk as Walk
    from cascade.spec.nested import find_lazies as find_lazies
    from cascade.spec.nested import may_hold_lazies as may_hold_lazies
    from cascade.spec.nested import substitute as substitute
    from cascade.spec.policies import Fallback as Fallback
    from cascade.spec.policies import Policies as Policies
    from cascade.spec.resources import Injection as Injection
    from cascade.spec.resources import Resource as Resource
    from cascade.spec.resources import inject as inject
    from cascade.spec.resources import resource as resource
    from cascade.spec.retry import RetryPolicy as RetryPolicy
    from cascade.spec.routing import RouteCall as RouteCall
    from cascade.spec.routing import Router as Router
    from cascade.spec.routing import pipeline as pipeline
    from cascade.spec.routing import sequence as sequence
    from cascade.spec.tasks import MOST_UNCOUNTED as MOST_UNCOUNTED
    from cascade.spec.tasks import Task as Task
    from cascade.spec.tasks import check_lengths as check_lengths
    from cascade.spec.tasks import column_of as column_of
    from cascade.spec.tasks import settings_of as settings_of
    from cascade.spec.tasks import task as task
    from cascade.spec.tasks import too_many as too_many
    from cascade.spec.workflows import Overlap as Overlap
    from cascade.spec.workflows import Workflow as Workflow
    from cascade.spec.workflows import workflow as workflow

_MODULES = {
    "caching": "CachePolicy",
    "definition": "TaskDefinition",
    "inputs": "Env Input InputCall Param read_inputs",
    "labels": "filled short",
    "lazy": "Call CallSettings Condition LazyResult MapCall as_call call_of collected place_of_call target_name targets_of watch_calls",
    "nested": "PLAIN VISITS_PER_STEP Search Walk find_lazies may_hold_lazies substitute",
    "policies": "Fallback Policies",
    "resources": "Injection Resource inject resource",
    "retry": "RetryPolicy",
    "routing": "RouteCall Router pipeline sequence",
    "tasks": "MOST_UNCOUNTED Task check_lengths column_of settings_of task too_many",
    "workflows": "Overlap Workflow workflow",
}

if not TYPE_CHECKING:
    __getattr__, __dir__, __all__ = on_demand(__name__, _MODULES)
