"""What a failing script prints: the user's own lines and the message, whatever failed and wherever it ran."""

import subprocess
import sys
from pathlib import Path

import pytest

BOUND = 60.0

PREAMBLE = """
import asyncio, os, signal
import cascade as cs

@cs.task
async def fails(): raise ValueError("no")

@cs.task(mode="thread")
def fails_in_a_thread(): raise ValueError("no")

@cs.task(mode="process")
def fails_in_a_process(): raise ValueError("no")

@cs.task(mode="gpu")
def nowhere(): pass

@cs.task
async def needs(x=cs.inject("missing")): pass

@cs.task
async def hold():
    await asyncio.sleep(100)

@cs.task
async def is_cancelled():
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future

@cs.task
async def is_interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(100)

@cs.task
async def takes(x): pass

if __name__ == "__main__":
    """

CALLS = {
    "a failure": ("cs.run(fails())", 12, "in fails"),
    "a failure in a thread": ("cs.run(fails_in_a_thread())", 12, "in fails_in_a_thread"),
    "a failure in a process": ("cs.run(fails_in_a_process())", 20, "in fails_in_a_process"),
    "failures of a run that goes on": (
        "cs.run([fails(), fails_in_a_thread()], on_failure='continue')",
        28,
        "in fails_in_a_thread",
    ),
    "a time limit": ("cs.run(hold().with_timeout(0.05))", 20, "in hold"),
    "a cancel that the task awaited": ("cs.run(is_cancelled())", 18, "in is_cancelled"),
    "a missing resource": ("cs.run(needs())", 10, "is declared in"),
    "an unknown executor": ("cs.run(nowhere())", 10, "is declared in"),
    "too large a demand": ("cs.run(takes(1).with_constraints(gpu=2))", 10, "is declared in"),
    "a missing input": ("cs.run(takes(cs.Param('x')))", 9, "InputsError"),
    "a wrong keyword": ("cs.run(takes(1), connecter=None)", 12, "did you mean"),
    "a wrong setting": ("cs.run(takes(1), executor=4)", 9, "pass an executor"),
    "a wrong target": ("cs.run(5)", 9, "InvalidTargetError"),
    "Ctrl-C": (
        "cs.run(is_interrupted())",
        9,
        "KeyboardInterrupt",
    ),
    "a failure in a loop of the user's": ("asyncio.run(cs.arun(fails()))", 26, "in fails"),
}


@pytest.mark.process
@pytest.mark.parametrize("what", CALLS)
@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
def test_a_script_ends_with_few_lines(what: str, tmp_path: Path) -> None:
    """At most so many lines, and among them the one that the user needs."""
    call, most, needed = CALLS[what]
    script = tmp_path / "script.py"
    script.write_text(f"{PREAMBLE}{call}\n", "utf-8")
    ended = subprocess.run(
        [sys.executable, script], check=False, capture_output=True, text=True, timeout=BOUND
    )
    # from Python 3.13 on, lines of ~ and ^ show where in the line above
    lines = [line for line in ended.stderr.splitlines() if line.strip(" ~^")]
    assert len(lines) <= most, ended.stderr
    assert needed in ended.stderr
    assert "_scheduler" not in ended.stderr
    assert "pickled_calls.py" not in ended.stderr
