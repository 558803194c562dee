"""Listen to the topics of gates of which engines have heard nothing: whether this client does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection

from cascade.interfaces.gates import MAX_TOPICS
from cascade.interfaces.watch import Message
from cascade.ops._doctor.broker_probes import Examined

LISTEN_SECONDS = 5.0
REPORT_SECONDS = 2.0
"""In which an engine reports that it has heard a value, too."""


async def hear_topics(link: Examined, topics: Collection[str]) -> frozenset[str]:
    """Return the topics on which a message has arrived, retained or live; then engines have had time to report it."""
    wanted = sorted(topics)[:MAX_TOPICS]
    heard: set[str] = set()
    stream = link.watch(*wanted)
    with contextlib.suppress(TimeoutError):
        async with contextlib.aclosing(stream), asyncio.timeout(LISTEN_SECONDS):
            async for item in stream:
                if isinstance(item, Message):
                    heard.add(item.topic)
                    if len(heard) == len(wanted):
                        break
    if heard:
        await asyncio.sleep(REPORT_SECONDS)
    return frozenset(heard)
