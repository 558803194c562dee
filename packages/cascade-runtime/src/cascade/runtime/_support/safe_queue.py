"""A queue that keeps messages when the process is killed, as the code that publishes them sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class SafeQueue(Protocol):
    """A queue that reports when a message can no longer be lost with the process."""

    def publish_text(
        self, topic: str, text: str, qos: int = 0, *, on_safe: Callable[[], None] | None = None
    ) -> None:
        """Publish a message that is JSON already; call ``on_safe`` once."""
        ...
