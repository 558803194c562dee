"""``cascade logs``: live, beside engines at a real broker."""

import json
import subprocess
import sys
from itertools import takewhile

import pytest

from cascade.testkit.waiting import busyness
from testing_tools.engines import Plant

pytestmark = [pytest.mark.broker, pytest.mark.process, pytest.mark.full]

JOB = """
import asyncio, logging, sys
import cascade as cs

logging.getLogger("shop").setLevel("INFO")

@cs.task
async def resize(n: int) -> None:
    logging.getLogger("shop").log(20 + 10 * (n % 2), "image %d", n)
    await asyncio.sleep(0.1)

async def main():
    def run(name, source):
        connector = cs.connector(f"{sys.argv[1]}?source_id={source}")
        return cs.arun(resize.with_rate("10/s").map(n=[*range(5_000)]), connector=connector, logs="INFO", name=name)
    await asyncio.gather(run("nightly", "press-1"), run("bake", "oven"))

asyncio.run(main())
"""


def test_lines_come_as_they_are_written(plant: Plant) -> None:
    """Of all engines, or of the runs of one name; the levels below the wanted one are left out. SIGTERM ends it with 143."""
    job = [sys.executable, "-c", JOB, plant.broker.url]
    with subprocess.Popen(job, stderr=subprocess.DEVNULL) as process:
        try:
            every = plant.begin("logs", "--json")
            chosen = plant.begin("logs", "-f", "nightly", "--level", "WARNING", "--task", "resi*")
            assert every.stdout is not None
            assert chosen.stdout is not None
            first = json.loads(every.stdout.readline())
            assert [*first] == ["ts", "source", "run_id", "task_id", "level", "logger", "message"]
            seen = {("press-1", "INFO"), ("press-1", "WARNING"), ("oven", "INFO"), ("oven", "WARNING")}
            lines = (json.loads(each) for each in every.stdout)
            for each in takewhile(lambda _: seen, lines):
                seen.discard((each["source"], each["level"]))
            for _ in range(4):
                _, level, source, _, task_id, logger, text = chosen.stdout.readline().split("\t")
                assert (level, source, logger) == ("WARNING", "press-1", "shop")
                assert task_id == f"resize:0[{text.split()[1]}]"
            for command in (every, chosen):
                command.terminate()
                assert command.wait(20 * busyness()) == 143
        finally:
            process.kill()
