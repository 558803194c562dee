"""Services: workflows that start when a message asks for it."""

from cascade.runtime.serving._intake import Offer
from cascade.runtime.serving._service import RunTarget, Service
from cascade.runtime.serving._store import RequestStore

__all__ = ["Offer", "RequestStore", "RunTarget", "Service"]
