"""Names that no other test has."""

from __future__ import annotations

import uuid


def unique_topic(prefix: str = "test") -> str:
    """Return a topic that no other test uses, so that tests can share a broker.

    >>> unique_topic("orders").startswith("orders/")
    True
    """
    return f"{prefix}/{uuid.uuid4().hex}"
