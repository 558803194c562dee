"""The engine of ``nox -s demo-survive``: a line whose run is recorded, and continues whenever this is started again.

    python line.py runs mqtt://localhost:1883 line-7 --parts 40 --seconds 0.1

Each step takes material and enters its key in ``ledger`` in the folder before its work, as a machine that moves does.
``material`` in the folder is the number of entries for which there is any; without that file there is enough.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import cascade as cs
from cascade.connectors.mqtt import MqttConnector

RUN = "night"
LEDGER, MATERIAL = "ledger", "material"
AT_ONCE = 4


@cs.task
def press(part: int, seconds: float, folder: str) -> int:
    """Press one part."""
    enter(folder)
    time.sleep(seconds)
    return part


@cs.task
def measure(pressed: int, seconds: float, folder: str) -> int:
    """Return the weight of a part."""
    enter(folder)
    time.sleep(seconds)
    return 10 * pressed


@cs.task
def pack(weights: list[int], folder: str) -> int:
    """Return the weight of all parts."""
    enter(folder)
    return sum(weights)


def enter(folder: str) -> None:
    """Append a line with the step's key, its idempotency key and the attempt: what the world outside has seen."""
    step = cs.step()
    while not has_material(Path(folder)):
        time.sleep(0.01)
    ledger = os.open(Path(folder) / LEDGER, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(ledger, f"{step.key} {step.idempotency_key} {step.attempt}\n".encode())
    finally:
        os.close(ledger)


def has_material(folder: Path) -> bool:
    """Return whether there is material for one more entry."""
    try:
        return len((folder / LEDGER).read_bytes().splitlines()) < int((folder / MATERIAL).read_bytes())
    except FileNotFoundError:
        return True


def parts_of(number: int) -> cs.LazyResult[int]:
    """Declare the line for so many parts: two steps for each, and one for all."""
    same = {"seconds": cs.Param("seconds", type=float), "folder": cs.Param("folder")}
    pressed = press.partial(**same).map(part=range(number)).with_concurrency(AT_ONCE)
    weights = measure.partial(**same).map(pressed=pressed).with_concurrency(AT_ONCE)
    return pack(weights, cs.Param("folder"))


def main() -> None:
    """Run, or continue, and print the value."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("broker", metavar="URL")
    parser.add_argument("source")
    parser.add_argument("--parts", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.1)
    given = parser.parse_args()
    connector = MqttConnector.from_url(given.broker, source_id=given.source)
    params = {"seconds": given.seconds, "folder": given.folder}
    print(cs.run(parts_of(given.parts), params, state=given.folder, run_id=RUN, connector=connector))


if __name__ == "__main__":
    main()
