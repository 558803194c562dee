"""The counterpart of hello.py in plain asyncio: one call in a thread."""

import asyncio


def hello(name: str) -> str:
    """Greet."""
    return f"Hello, {name}!"


asyncio.run(asyncio.to_thread(hello, "world"))
