"""Measure one group with the sources that PYTHONPATH names; print one JSON line per row.

Arguments: ``brief`` or ``quick``, and the group. The first line names the sources that were imported. The rows
are those of the checkout that contains this file, so they use only the public API of the version they measure.
"""

import importlib
import json
import statistics
import sys

from figures.measure import Settings
from figures.table import Row


def main(size: str, group: str) -> None:
    """Measure once and print."""
    import cascade.runtime

    print(json.dumps({"sources": cascade.runtime.__file__}), flush=True)
    settings = Settings(quick=size == "quick", brief=True)
    for row in importlib.import_module(f"figures.{group}").rows(settings):
        print(json.dumps({"name": row.name, "unit": row.unit, "value": sample_of(row)}), flush=True)


def sample_of(row: Row) -> float:
    """Return the smallest CPU time (in microseconds), because disturbances only add to it; else the median."""
    return min(row.ours) if row.unit == "us" else statistics.median(row.ours)


if __name__ == "__main__":  # a worker process of the executors imports this file again
    main(*sys.argv[1:])
