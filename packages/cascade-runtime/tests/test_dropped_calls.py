"""Calls that are declared and never run: a task that drops them, and a script that never runs anything."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cascade.runtime import Engine
from cascade.runtime._scheduler import dropped_calls
from cascade.spec import LazyResult, Task, task

kept: list[Any] = []


@task
async def save(x: Any) -> Any:
    return x


def drops(x: int) -> int:
    save(x).named("other").with_timeout(3)
    return x


def returns_in_a_list(x: int) -> list[LazyResult[Any]]:
    return [save(x).named("y").after(save(0))]


def keeps_for_later(x: int) -> int:
    kept.append(save(x))
    return x


def runs_it(x: int) -> Any:
    return asyncio.run(Engine().run(save(save(x))))


def raises(x: int) -> Any:
    save(x)
    raise ValueError(x)


@pytest.mark.parametrize("mode", ["thread", "inline"])
async def test_a_call_that_a_task_drops_is_reported_once_for_each_place(
    mode: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With file and line and what to write; what a task returns, keeps, or runs itself is no mistake."""
    monkeypatch.setattr(dropped_calls, "_reported", set())
    caplog.set_level(logging.WARNING, "cascade.engine")

    def as_task(function: Any) -> Task[..., Any]:
        return task(mode=mode)(function)

    used = [as_task(returns_in_a_list)(1), as_task(keeps_for_later)(2)]
    if mode == "thread":
        used.append(as_task(runs_it)(3))
    assert await Engine().run(used) == [[1], 2, 3][: len(used)]
    assert caplog.messages == []
    assert await Engine().run(as_task(drops).map(x=range(3))) == [0, 1, 2]
    line = drops.__code__.co_firstlineno + 1
    (message,) = caplog.messages
    assert message.startswith(
        f"{__file__}:{line}: save(...) was called inside task drops and its call was dropped"
    )
    assert message.endswith("return it, or call save.function(...)")


@pytest.mark.process
@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("", "job.py:5: lazy results were made and never run; run them with cs.run(...)\n"),
        ("cs.run(lazy)", ""),
        ("cs.dry_run(lazy)", ""),
        ("raise SystemError", "SystemError\n"),
    ],
)
def test_a_script_that_runs_nothing_says_so_at_its_end(tmp_path: Path, end: str, message: str) -> None:
    """With the place of its first call; not if it has used its calls, or has failed."""
    script = tmp_path / "job.py"
    script.write_text(
        f"import cascade as cs\n@cs.task\ndef save(x: int) -> int:\n    return x\nlazy = save(1)\nsave(2)\n{end}\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.stderr.endswith(message)
    assert ("never run" in done.stderr) == ("never run" in message)
