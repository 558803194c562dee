"""Its values are stored in each form that there is; its last step fails as long as CASCADE_KEPT_BROKEN is set."""

import datetime as dt
import os
from pathlib import PurePosixPath
from typing import Any

import cascade as cs


@cs.task
def measure(part: int) -> tuple[int, dt.datetime]:
    print("measured", part)
    return part, dt.datetime(2026, 11, 25, part, tzinfo=dt.UTC)


@cs.task
def describe(parts: list[Any]) -> dict[str, Any]:
    print("described")
    # JSON, JSON with tags, and a pickle: a range has no form of its own
    tagged = b"bytes", PurePosixPath("a/b")
    return {"plain": [1, 2.5, None, "ü"], "tagged": tagged, "other": range(3), "n": len(parts)}


@cs.task
def report(described: dict[str, Any], parts: list[Any]) -> str:
    if os.environ.get("CASCADE_KEPT_BROKEN"):
        raise ValueError("the printer has no paper")
    return f"{described} {parts[-1]}"


parts = measure.map(part=range(3))
workflow = report(describe(parts), parts)
