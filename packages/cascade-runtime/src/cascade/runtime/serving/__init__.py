"""Services: workflows that start when a message asks for it, and when their time has come."""

from cascade.runtime.serving._intake import Offer
from cascade.runtime.serving._missed import MissedTick, missed_ticks
from cascade.runtime.serving._runs import RunTarget
from cascade.runtime.serving._schedules import CronSchedule
from cascade.runtime.serving._service import Service
from cascade.runtime.serving._store import RequestStore

__all__ = ["CronSchedule", "MissedTick", "Offer", "RequestStore", "RunTarget", "Service", "missed_ticks"]
