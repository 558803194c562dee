"""Names that no other test has."""

from __future__ import annotations

import uuid


def unique_topic(prefix: str = "test") -> str:
    """Return a topic that nobody else uses, so that tests may share a broker.

    >>> unique_topic("orders").startswith("orders/")
    True
    """
    return f"{prefix}/{uuid.uuid4().hex}"
