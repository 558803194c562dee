"""A queue for two GPUs: more jobs than cards, and no card is ever promised twice.

Shows ``with_constraints`` and ``system_resources``: a job starts when all that it needs is free,
and gives it back however it ends. How much memory a job needs may itself be computed in the run.
This example needs no GPU: the jobs only count which of them has one.

    python gpu_queue.py
"""

import threading
import time

import cascade as cs

CARDS, MEMORY_GB, JOBS = 2, 24, 9


class Cards:
    """Counts how many jobs use a card at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy = 0
        self.most = 0

    def __enter__(self) -> None:
        with self._lock:
            self._busy += 1
            self.most = max(self.most, self._busy)

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._busy -= 1


cards = Cards()


@cs.task(mode="inline")
def memory_for(job: int) -> float:
    """Tell how many gigabytes a job needs."""
    return 4.0 * (1 + job % 3)


@cs.task
def train(job: int) -> int:
    """Hold a card for a while."""
    with cards:
        time.sleep(0.01)  # stands for the work
    return job


def workflow() -> list[cs.LazyResult[int]]:
    """Declare every job with what it needs."""
    return [train(job).with_constraints(gpu=1, memory_gb=memory_for(job)) for job in range(JOBS)]


if __name__ == "__main__":
    done = cs.run(workflow(), system_resources={"gpu": CARDS, "memory_gb": MEMORY_GB})
    print(f"{len(done)} jobs done, at most {cards.most} at a time on {CARDS} cards")
