"""Errors that a client raises when it sends: they are mapped once, at the edge."""

from __future__ import annotations


class LinkLost(Exception):
    """The link is down; ``cause`` is what the client or the operating system raised."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"the link is down: {cause}")
        self.cause = cause


class MessageRejected(Exception):
    """The peer received one message and rejected it; ``code`` is its reason code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"rejected with code {code}")
        self.code = code


class MessageTooLarge(Exception):
    """A message was not sent: it, or the part that ``what`` names, has more bytes than the peer accepts."""

    def __init__(self, size: int, limit: int, *, what: str = "it") -> None:
        super().__init__(f"{what} has {size:,} bytes, and the broker accepts at most {limit:,}")
        self.size = size
        self.limit = limit
