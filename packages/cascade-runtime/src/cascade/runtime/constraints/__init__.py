"""Control from outside: registers, the gates that they make, and the manager that follows a broker."""

from cascade.runtime.constraints.admission import Admission
from cascade.runtime.constraints.manager import ConstraintManager
from cascade.runtime.constraints.resolver import ConstraintResolver
from cascade.runtime.constraints.system_resources import (
    ResourceCapacityError,
    SystemResources,
    UnknownResourceError,
)
from cascade.runtime.constraints.tickets import Lane, Obstacle, Owner, Ticket
from cascade.runtime.constraints.turnstile import Turnstile

__all__ = [
    "Admission",
    "ConstraintManager",
    "ConstraintResolver",
    "Lane",
    "Obstacle",
    "Owner",
    "ResourceCapacityError",
    "SystemResources",
    "Ticket",
    "Turnstile",
    "UnknownResourceError",
]
