"""The counterpart of hello.py over MQTT in plain aiomqtt: a will, a birth, a subscription, four events, a clean end."""

import asyncio
import json
import sys

import aiomqtt

STATUS = "cascade/status/hello"


def hello(name: str) -> str:
    """Greet."""
    return f"Hello, {name}!"


async def main(port: int) -> None:
    """Run one call between events, as an engine does."""
    will = aiomqtt.Will(STATUS, '{"status": "offline"}', qos=1, retain=True)
    async with aiomqtt.Client("127.0.0.1", port, identifier="hello", will=will) as client:
        await client.publish(STATUS, '{"status": "online"}', qos=1, retain=True)
        await client.subscribe("cascade/constraints/#")
        for state in ("ENGINE_STARTED", "RUNNING", "COMPLETED", "ENGINE_STOPPED"):
            if state == "COMPLETED":
                await asyncio.to_thread(hello, "world")
            await client.publish(
                "cascade/telemetry/local/default/1/events", json.dumps({"state": state}), qos=1
            )
        await client.publish(STATUS, '{"status": "offline"}', qos=1, retain=True)


asyncio.run(main(int(sys.argv[1])))
