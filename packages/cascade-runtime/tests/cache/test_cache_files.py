"""Tasks that are cached by a file: when they run, and that a partly written file does not count."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fakes import FakeClock

from cascade.interfaces import CacheFileError, Clock, ConfigurationError, TaskState, TaskStateEvent
from cascade.runtime import Engine
from cascade.spec import task
from cascade.spec.caching import CachePolicy
from cascade.testkit.leaks import no_leaks


class Answer(NamedTuple):
    """What a run gave, and why its task was skipped ("" if it was not)."""

    value: object
    reason: str


class Writer:
    """Writes a file and counts how often."""

    def __init__(self, path: Path, result: object = None, error: Exception | None = None) -> None:
        self.path, self.result, self.error = path, result, error
        self.runs = 0

    def __call__(self) -> object:
        self.runs += 1
        self.path.write_text("written")
        if self.error:
            raise self.error
        return self.result


class Careful(Writer):
    """Writes a file only if it is missing."""

    def __call__(self) -> object:
        if not self.path.exists():
            self.path.write_text("written")
        return None


async def ask(
    policy: CachePolicy,
    compute: Callable[[], object] | list[Any],
    name: str = "a",
    *,
    tries: int = 1,
    clock: Clock | None = None,
    **more: int,
) -> Answer:
    """Run a task that is cached by a file, in an engine of its own; a list has one function for each try, the first one last."""

    @task(name="export", mode="inline")
    def export(name: str, size: int = 3) -> object:
        return (compute.pop() if isinstance(compute, list) else compute)()

    engine, reasons = Engine(clock=clock), list[str]()
    engine.bus.subscribe(
        TaskStateEvent,
        lambda event: reasons.append(event.reason) if event.state is TaskState.SKIPPED else None,
    )
    cached = export.with_cache(ttl=policy.ttl, file=policy.file, newer_than=policy.newer_than)
    value = await engine.run(cached.with_retry(tries)(name, **more))
    return Answer(value, "".join(reasons))


async def test_a_task_does_not_run_while_its_file_exists(tmp_path: Path) -> None:
    """The value is the path, whether it ran or not; no other file is left, and none open."""
    path = tmp_path / "out" / "a.txt"
    policy, writer = CachePolicy(file=path), Writer(path)
    async with no_leaks():
        assert await ask(policy, writer) == Answer(path, "")
        assert await ask(policy, writer) == Answer(path, "its file exists")
    assert writer.runs == 1
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]


async def test_a_function_may_name_the_file(tmp_path: Path) -> None:
    """It is called like the task."""
    path = tmp_path / "a7"
    policy = CachePolicy(file=lambda name, size: tmp_path / f"{name}{size}")
    assert (await ask(policy, Writer(path), "a", size=7)).value == path


@pytest.mark.parametrize("result", [None, "path", "text"])
async def test_the_task_may_return_its_path_or_none(result: object, tmp_path: Path) -> None:
    """The value is the same Path in any case."""
    path = tmp_path / "a"
    returned = {"path": path, "text": str(path)}.get(str(result))
    assert (await ask(CachePolicy(file=path), Writer(path, returned))).value == path


@pytest.mark.parametrize(("result", "words"), [([1], "a list"), ("other", "other"), (0, "an? int")])
async def test_a_task_that_returns_something_else_fails(result: object, words: str, tmp_path: Path) -> None:
    """The next run could not return that value; the file does not count, so the next run fails again."""
    path = tmp_path / "a"
    for _ in range(2):
        with pytest.raises(
            CacheFileError, match=f"'export' is cached by the file .*, but it returned {words}"
        ):
            await ask(CachePolicy(file=path), Writer(path, result))


async def test_a_task_that_writes_no_file_fails(tmp_path: Path) -> None:
    """The message names the task."""
    with pytest.raises(CacheFileError, match="ended without writing that file"):
        await ask(CachePolicy(file=tmp_path / "a"), Writer(tmp_path / "b"))


async def test_a_file_left_by_a_failed_task_is_written_again(tmp_path: Path) -> None:
    """An unfinished file does not count."""
    path = tmp_path / "a"
    with pytest.raises(ValueError, match="half"):
        await ask(CachePolicy(file=path), Writer(path, error=ValueError("half")))
    assert path.exists()
    assert (await ask(CachePolicy(file=path), Writer(path))).reason == ""
    assert (await ask(CachePolicy(file=path), Writer(path))).reason != ""


KILLED = """
import os, pathlib, signal, sys
from cascade.runtime import Engine
from cascade.spec import task

path = pathlib.Path(sys.argv[1])

@task
def export():
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)

import asyncio
asyncio.run(Engine().run(export.with_cache(file=path)()))
"""


async def test_a_file_left_by_a_failed_attempt_is_deleted_before_the_next(tmp_path: Path) -> None:
    """Otherwise a task that checks whether its file exists would take half a file for finished."""
    path = tmp_path / "a"
    attempts = [Careful(path), Writer(path, error=ValueError("half"))]
    path.write_text("older")
    os.utime(path, (0, 0))
    policy = CachePolicy(file=path, ttl=60)
    assert (await ask(policy, attempts, tries=2)).reason == ""
    assert path.read_text() == "written"


@pytest.mark.process
async def test_a_file_left_by_a_killed_process_is_written_again(tmp_path: Path) -> None:
    """Even kill -9 while writing leaves no file that counts."""
    path = tmp_path / "a"
    ended = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", KILLED, str(path)])
    assert ended.returncode == -9
    assert path.read_text() == "half"
    assert (await ask(CachePolicy(file=path), Careful(path))).reason == ""
    assert path.read_text() == "written"


async def test_a_file_from_another_program_counts(tmp_path: Path) -> None:
    """Only the mark beside it makes a file unfinished."""
    path = tmp_path / "a"
    path.write_text("given")
    assert (await ask(CachePolicy(file=path), Writer(path))).reason
    assert path.read_text() == "given"


async def test_a_file_that_cannot_be_marked_is_written_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning; only the protection against partly written files is missing."""
    path = tmp_path / "a"
    (tmp_path / ".a.unfinished").symlink_to(tmp_path / "missing" / "mark")
    assert await ask(CachePolicy(file=path), Writer(path)) == Answer(path, "")
    assert "a partly written file counts as finished" in caplog.text


async def test_two_calls_for_one_file_write_it_once(tmp_path: Path) -> None:
    """Whatever their arguments, calls for the same file are equal."""
    path = tmp_path / "a"
    writer = Writer(path)

    @task
    def export(name: str) -> object:
        return writer()

    cached = export.with_cache(file=path)
    assert await Engine().run([cached("a"), cached("b")]) == [path, path]
    assert writer.runs == 1


async def test_an_attempt_that_wrote_nothing_leaves_nothing_to_warn_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The mark is there and the file is not: the next attempt has nothing to delete."""
    path = tmp_path / "a.out"
    attempts = [Writer(path), lambda: 1 / 0]
    await ask(CachePolicy(file=path), attempts, tries=2)
    assert [*tmp_path.iterdir()] == [path]
    assert caplog.messages == []


async def test_a_file_counts_until_its_ttl_is_over_and_its_sources_are_newer(tmp_path: Path) -> None:
    """A source of the same time is not newer: file systems with coarse times would never hit.

    The age of a file from the future is not known: a clock was set back.
    """
    path, source, clock = tmp_path / "a.out", tmp_path / "a.in", FakeClock()
    policy = CachePolicy(file=path, newer_than=(source,), ttl=60.0)
    for seconds, made_later, counts in (
        (59.5, 0, True),
        (60.0, 0, False),
        (59.5, 1, False),
        (-3600, 0, False),
    ):
        path.write_text("written")
        source.write_text("written")
        written = clock.now() - seconds
        os.utime(path, (written, written))
        os.utime(source, (written + made_later, written + made_later))
        assert bool((await ask(policy, Writer(path), clock=clock)).reason) is counts


@pytest.mark.parametrize("name", ["../victim/x", "..", ".", "", "/etc/x", "a/b", "a\0b"])
async def test_a_value_leads_to_no_other_folder(name: str, tmp_path: Path) -> None:
    """Row 56: Cascade deletes an unfinished file there before the task runs; the value is not in the message."""
    victim = tmp_path / "victim" / "x.csv"
    victim.parent.mkdir()
    victim.write_text("precious")
    victim.with_name(".x.csv.unfinished").touch()

    def write(name: str) -> None:
        raise AssertionError("the task ran")

    made = task(write).with_cache(file=f"{tmp_path}/out/{{name}}.csv")
    with pytest.raises(ConfigurationError, match="pass it as a Path, or pass a function") as refused:
        await Engine().run(made(name=name))
    assert victim.read_text() == "precious"
    assert "victim" not in refused.value.public


async def test_a_path_or_a_function_may_lead_anywhere(tmp_path: Path) -> None:
    """The caller has chosen it as a path."""

    def write(out: Path) -> None:
        Path(f"{out}.csv").write_text("written")

    for policy in ({"file": "{out}.csv"}, {"file": lambda out: f"{out}.csv"}):
        out = tmp_path / str(len(policy)) / "deep"
        out.parent.mkdir(exist_ok=True)
        await Engine().run(task(write).with_cache(**policy)(out=out))
        assert out.with_name("deep.csv").read_text() == "written"
