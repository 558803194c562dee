"""A box that works while it holds a lease: ``python lease_worker.py HOST PORT NAME TTL LOG``. Run by ``test_chaos_leases.py``."""

import asyncio
import os
import sys
from pathlib import Path

from cascade.connectors.mqtt import MqttConnector
from cascade.runtime._support.clock import SystemClock
from cascade.runtime.serving._leases import LeaseLink


async def work(host: str, port: str, name: str, ttl: str, log: str) -> None:
    """Write a line for each piece of work: the time before the check, the term, and who did it."""
    clock, who = SystemClock(), f"{name}-{os.getpid()}"
    async with MqttConnector(host, int(port), source_id=name, keepalive=2) as connector:
        lease = LeaseLink("hall", float(ttl), connector=connector, clock=clock, changed=lambda: None)
        keeping = asyncio.create_task(lease.keep(), name="lease")
        with Path(log).open("a", encoding="utf-8") as file:
            while not keeping.done():
                at = clock.boottime()
                if (term := lease.term) is not None:
                    file.write(f"{at:.6f} {term} {who}\n")
                    file.flush()
                    os.fsync(file.fileno())
                await asyncio.sleep(0.03)
        await keeping


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
