"""One workflow, wherever you like: in threads, in the processes of a Dask cluster, or both.

What runs a task is not the workflow's business: ``executor=`` takes the name of any executor that is
installed. ``dask`` starts a cluster on this machine; an address goes to one that is there already
(both need cascade-executor-dask, whose README says how it is installed).

    python anywhere.py thread dask
    python anywhere.py tcp://scheduler:8786
"""

import sys

import cascade as cs


@cs.task
def count_primes(start: int, stop: int) -> int:
    """Count the primes in a range, one by one."""
    return sum(n > 1 and all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(start, stop))


@cs.task(mode="inline")
def total(counts: list[int]) -> int:
    """Sum up; so little work stays where the engine is."""
    return sum(counts)


def workflow(stop: int, parts: int) -> cs.LazyResult[int]:
    """Declare a task for each part of the range."""
    bounds = [stop * part // parts for part in range(parts + 1)]
    return total(count_primes.map(start=bounds[:-1], stop=bounds[1:]))


def run_on(where: str) -> int:
    """Run it on an executor by name, or on the Dask cluster at an address."""
    executor = cs.executor("dask", address=where) if "://" in where else where
    return cs.run(workflow(20_000, parts=8), executor=executor)


if __name__ == "__main__":
    for where in sys.argv[1:] or ["thread"]:
        print(f"{where}: {run_on(where)} primes")
