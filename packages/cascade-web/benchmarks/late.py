"""The time that a page needs which is opened late: ``python packages/cascade-web/benchmarks/late.py``.

50 engines are connected, and ten of them have a run with 200 tasks. Each round opens the page as a file at the broker's own
WebSocket port, in a new tab, and takes the time from the start of the navigation until the page shows every engine, every run, the
constraint and the graph of the chosen run, and knows that nothing is missing. It prints that time by the wall's clock, which other
programs on the machine lengthen, and the processor time of the tab's main thread.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from urllib.parse import quote

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browsing import SECONDS, Tab, chromium
from live import engine, running
from pages import Kind, publish_all, with_websocket
from playwright.async_api import Browser

import cascade as cs
from cascade.interfaces.topics import constraint_topic
from cascade.testkit.brokers import Broker, Mosquitto, NatsServer
from cascade.testkit.ports import free_port
from cascade.web import page

ENGINES, RUNS, TASKS, ROUNDS = 50, 10, 200, 10
LONGEST = 1.0
WATCH = """(() => { const look = () => {
    const rows = (id) => document.querySelectorAll(`#${id} [role=row]`).length;
    const isComplete = document.querySelector("#link")?.dataset.link === "ready" && !document.querySelector("#problems").textContent
        && document.querySelector("#engines-note").textContent.startsWith("ENGINES online") && rows("engines") === ENGINES
        && rows("runs") === RUNS && rows("constraints") === 1 && document.querySelectorAll("#graph [role=listitem]").length === 2;
    if (isComplete) window.completeAfter = performance.now();
    else requestAnimationFrame(look); };
    requestAnimationFrame(look); })()"""


@dataclass(frozen=True, slots=True)
class Opening:
    """How long one page needed, in seconds."""

    wall: float
    """From the start of the navigation until everything is drawn."""
    busy: float
    """Processor time of the tab's main thread meanwhile."""


@cs.task
async def weld(part: int) -> int:
    """Wait for as long as the benchmark measures."""
    await asyncio.Event().wait()
    return part


@cs.task
async def pack(parts: list[int]) -> int:
    """Wait for the parts."""
    return len(parts)


async def start(stack: AsyncExitStack, broker: Broker, engines: int, runs: int) -> None:
    """Connect the engines, and let the first ones run."""
    limit = {"type": "concurrency", "params": {"limit": 5}, "by": "ada"}
    publish_all(broker, {constraint_topic("task:weld", "concurrency"): limit})
    for number in range(engines):
        each = await stack.enter_async_context(engine(broker, f"press-{number:02}"))
        if number < runs:
            work = pack(weld.map(part=range(TASKS)))
            _ = await stack.enter_async_context(running(each.run(work, run_id=f"run-{number}")))


async def opening(browser: Browser, url: str, watch: str) -> Opening:
    """Open the page in a new tab, and wait until it is complete."""
    tab = await Tab.of(browser)
    try:
        devtools = await tab.page.context.new_cdp_session(tab.page)
        await devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        await tab.page.add_init_script(watch)
        await tab.page.goto(url)
        await tab.page.wait_for_function("() => window.completeAfter", timeout=SECONDS * 1000, polling=50)
        metrics = {
            each["name"]: each["value"] for each in (await devtools.send("Performance.getMetrics"))["metrics"]
        }
        return Opening(await tab.page.evaluate("window.completeAfter") / 1000, metrics["TaskDuration"])
    finally:
        await tab.close()


async def openings(kind: Kind, rounds: int, engines: int, runs: int) -> list[Opening]:
    """Start everything on a new broker, open one page so that all has been reported, and measure the next ones."""
    port = free_port()
    watch = WATCH.replace("ENGINES", str(engines)).replace("RUNS", str(runs))
    with with_websocket(kind, port) as broker, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_text(page(), "utf-8")
        url = f"{path.as_uri()}?broker={quote(f'ws://127.0.0.1:{port}', safe='')}"
        async with AsyncExitStack() as stack:
            browser = await stack.enter_async_context(chromium())
            await start(stack, broker, engines, runs)
            await opening(browser, url, watch)
            return [await opening(browser, url, watch) for _ in range(rounds)]


def main() -> None:
    """Measure on each broker, and print one row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--engines", type=int, default=ENGINES)
    parser.add_argument("--runs", type=int, default=RUNS)
    given = parser.parse_args()
    logging.disable(
        logging.ERROR
    )  # engines report that nothing starts, the client that sets the limit that it is closed
    for kind in (Mosquitto, NatsServer):
        found = asyncio.run(openings(kind, given.rounds, given.engines, given.runs))
        walls, busy = [each.wall for each in found], median(each.busy for each in found)
        print(
            f"{kind.name}: {given.engines} engines, {given.runs} runs: complete after {median(walls):.2f} s"
            f" ({min(walls):.2f} to {max(walls):.2f} in {given.rounds} rounds, wanted at most {LONGEST:g});"
            f" {busy:.2f} s of CPU time",
            flush=True,
        )


if __name__ == "__main__":
    main()
