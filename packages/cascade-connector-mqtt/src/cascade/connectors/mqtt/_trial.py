"""Finds out whether a broker sends a copy of a message for each subscription that matches it."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from cascade.connectors.mqtt import _errors
from cascade.connectors.mqtt._dispatch import Dispatcher
from cascade.connectors.mqtt._listeners import Counts, WatchListener
from cascade.interfaces.stream import Message
from cascade.interfaces.topics import sync_filter, sync_topic

PATIENCE = 2.0


async def sends_copies(client: Any, dispatcher: Dispatcher, source_id: str) -> bool | None:
    """Subscribe twice to a topic of our own, publish to it once, and count.

    Returns None if the broker does not let us, or does not answer: the next link may ask again.
    """
    nonce = secrets.token_hex(8)
    once, last = sync_topic(source_id, nonce), sync_topic(source_id, f"{nonce}-last")
    stream = WatchListener([once, sync_filter(source_id)], Counts())
    dispatcher.add(stream)
    try:
        async with asyncio.timeout(PATIENCE):
            granted = await client.subscribe(list(stream.filters.items()))
            if any(_errors.refusals(granted)):
                return None
            for topic in (once, last):  # at one QoS, so that they come back in this order
                await client.publish(topic, payload="{}", qos=0)
            count = await _count(stream, once, last)
            if unused := dispatcher.remove(stream):
                await client.unsubscribe(unused)
            return count > 1
    except TimeoutError:
        return None
    finally:
        dispatcher.remove(stream)


async def _count(stream: WatchListener, counted: str, last: str) -> int:
    count = 0
    while True:
        item = await stream.next()
        if isinstance(item, Message):
            count += item.topic == counted
            if item.topic == last:
                return count
