"""Runs that go on: what was recorded does not run again, whatever ended the attempt before."""

import asyncio
import contextlib
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from observers import watch

from cascade.interfaces import (
    ChangeKind,
    RecordedStatus,
    RunChangedError,
    RunEndedError,
    RunInputsError,
    RunInUseError,
    StateUnavailable,
    StepChange,
    StepInDoubtError,
    StepInfo,
    StepKeepsDyingError,
    StepState,
    TaskCancelledError,
    UnstorableValueError,
    UsageError,
)
from cascade.runtime import Engine, LocalConnector, LocalHub, MemoryCache, SqliteState, step
from cascade.spec import Env, LazyResult, Param, task
from cascade.testing import ManualClock
from cascade.testkit import eventually
from cascade.testkit.state import MemoryJournal, MemoryState, StoredRun

ran: Counter[str] = Counter()
broken: set[str] = set()


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()
    broken.clear()


def note(what: str) -> None:
    ran[what] += 1
    if what in broken:
        raise ValueError(what)


@task
async def load(name: str) -> str:
    note(f"load {name}")
    return name


@task(mode="inline")
def size(text: str, factor: int = 1) -> int:
    note(f"size {text}")
    return len(text) * factor


@task(mode="inline")
def hidden(token: str) -> None:
    note("hidden")


@task
async def total(sizes: list[int]) -> int:
    note("total")
    return sum(sizes)


@task
async def hang() -> None:
    note("hang")
    await asyncio.Event().wait()


class Runs:
    """One recorded run, one engine for each attempt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[Any] = []
        self.clock: ManualClock | None = None

    def state(self) -> SqliteState:
        return SqliteState(self.folder, power_safe=False)

    async def run(
        self, target: LazyResult[Any] | list[LazyResult[Any]], params: Any = None, **settings: Any
    ) -> Any:
        ran.clear()
        engine = Engine(state_backend=self.state(), clock=self.clock, cache_backend=MemoryCache())
        self.events = watch(engine)
        return await engine.run(target, params, run_id="night", **settings)

    async def fails(self, target: LazyResult[Any], *what: str, **settings: Any) -> None:
        broken.update(what)
        with pytest.raises((ValueError, ExceptionGroup)):
            await self.run(target, **settings)
        broken.clear()

    async def stopped_in(self, target: LazyResult[Any], what: str) -> None:
        """Run until a step has begun, and stop the process in an orderly way."""
        ran.clear()
        run = asyncio.create_task(self.run(target))
        while not ran[what]:
            await asyncio.sleep(0)
        run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await run

    def steps(self) -> dict[str, StepState]:
        return {step.key: step.state for step in self.state().steps("night")}

    def status(self) -> RecordedStatus:
        return self.state().runs()[0].status


@pytest.fixture
async def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


async def test_a_failed_run_goes_on_at_the_step_that_failed(runs: Runs) -> None:
    """What it needs is taken from the journal, and what is behind that is not even built."""
    target = total([size(load("abc")), size(load("de"))])
    await runs.fails(target, "total")
    assert runs.status() is RecordedStatus.FAILED
    (failed,) = runs.state().steps("night", state=StepState.FAILED)
    assert (failed.key, failed.error, failed.starts) == ("total:0", "ValueError: total", 1)
    assert await runs.run(target) == 5
    assert ran == {"total": 1}
    assert runs.status() is RecordedStatus.SUCCEEDED
    assert set(runs.steps().values()) == {StepState.COMPLETED}


async def test_the_end_of_a_run_stands_when_its_result_is_returned_again(runs: Runs) -> None:
    """A later call that only returns the result leaves the time of the end; a step that runs again moves it."""
    target = total([size(load("abc"))])
    await runs.run(target)
    (ended,) = runs.state().runs()
    assert await runs.run(target) == 3
    (asked,) = runs.state().runs()
    assert (asked.status, asked.ended) == (RecordedStatus.SUCCEEDED, ended.ended)
    more = total([size(load("abcd"))])
    assert await runs.run(more, on_change="rerun") == 4
    (again,) = runs.state().runs()
    assert (again.status, again.ended == ended.ended) == (RecordedStatus.SUCCEEDED, False)


@task
async def caught(name: str) -> Exception:
    note("caught")
    return ValueError(name)


@task
async def texts(errors: list[Exception]) -> list[str]:
    note("texts")
    return [str(error) for error in errors]


async def test_a_task_that_is_not_importable_decides_again_which_calls_it_returns(runs: Runs) -> None:
    """It has no name to find its calls by; the calls themselves do not run again."""

    @task
    async def nested(text: str) -> int:
        note("nested")
        return len(text)

    @task
    async def decide() -> Any:
        note("decide")
        return total([nested("a"), nested("bb")])

    await runs.fails(decide(), "total")
    assert await runs.run(decide()) == 3
    assert ran == {"decide": 1, "total": 1}


@pytest.mark.parametrize("refused_before", [True, False])
async def test_a_task_that_decides_otherwise_is_a_change(refused_before: bool, runs: Runs) -> None:
    """Refused with its key, or calls that are new run.

    What it had returned before is then forgotten, unless an attempt was refused meanwhile: after that the calls
    themselves are compared, and one that is the same keeps its value.
    """
    texts = ["a", "bb"]

    @task
    async def nested(text: str) -> int:
        note(f"nested {text}")
        return len(text)

    @task
    async def decide() -> Any:
        note("decide")
        return total([nested(text) for text in texts])

    await runs.fails(decide(), "total")
    texts[0] = "aaa"
    if refused_before:
        with pytest.raises(RunChangedError, match="decide:0") as caught:
            await runs.run(decide())
        assert caught.value.changes == (StepChange("decide:0", ChangeKind.PLAN),)
        assert ran == {"decide": 1}
    assert await runs.run(decide(), on_change="rerun") == 5
    again = {} if refused_before else {"nested bb": 1}
    assert ran == {"decide": 1, "nested aaa": 1, "total": 1, **again}


async def test_a_run_that_its_process_stops_is_interrupted_and_goes_on(runs: Runs) -> None:
    """A signal is not an outcome of the run, and a cancelled step has none either."""
    target = total([size(load("de").after(hang().after(size(load("abc")))))])
    await runs.stopped_in(target, "hang")
    assert runs.status() is RecordedStatus.INTERRUPTED
    assert runs.steps()["hang:0"] is StepState.STARTED
    await runs.stopped_in(target, "hang")
    assert ran == {"hang": 1}


async def test_the_inputs_of_the_first_attempt_hold_for_all(runs: Runs) -> None:
    """They need not be given again, and must not be given differently."""
    target = total([size(load(Param("day", default="today")))])
    broken.add("total")
    with pytest.raises(ValueError, match="total"):
        await runs.run(target, {"day": "monday"})
    with pytest.raises(RunInputsError, match="was started with day='monday', and is given 'friday'"):
        await runs.run(target, {"day": "friday"})
    broken.clear()
    assert await runs.run(target) == 6


async def test_a_result_that_cannot_be_recorded_costs_a_warning_or_the_step(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    """The step runs again, unless its result is required."""

    @task(mode="inline")
    def lock() -> Any:
        note("lock")
        return threading.Lock()

    @task(mode="inline")
    def use(held: Any) -> bool:
        note("use")
        return bool(held.locked())

    await runs.fails(use(lock()), "use")
    assert "task lock: its result is not recorded, so the step runs again on resume" in caplog.text
    assert await runs.run(use(lock())) is False
    assert ran == {"lock": 1, "use": 1}


async def test_a_required_result_that_cannot_be_recorded_fails_its_step(tmp_path: Path) -> None:
    """It has failed for the record, too; whether a step may run again that runs at most once stays in doubt."""

    @task(mode="inline")
    def lock() -> Any:
        return threading.Lock()

    strict = SqliteState(tmp_path / "runs", power_safe=False, required_results=True)
    engine = Engine(state_backend=strict)
    assert await engine.run(size(load("ab")), run_id="plain") == 2
    for target, state in ((lock(), StepState.FAILED), (lock.at_most_once()(), StepState.IN_DOUBT)):
        with pytest.raises(UnstorableValueError, match="cannot be recorded"):
            await engine.run(target, run_id=state.name)
        (found,) = strict.steps(state.name)
        assert found.state is state
        assert ("cannot be recorded" in found.error) == (state is StepState.FAILED)


async def test_a_hit_of_a_cache_is_recorded(runs: Runs) -> None:
    """The journal is asked first, then the cache."""
    cached = load.with_cache()
    target = total([size(cached("a")), size(cached("a"))])
    await runs.fails(target, "total")
    assert runs.steps()["load:0"] is runs.steps()["load:1"] is StepState.COMPLETED
    assert await runs.run(target) == 2
    assert ran == {"total": 1}


async def killed_in(
    stored: dict[str, StoredRun], target: LazyResult[Any], what: str, **settings: Any
) -> None:
    """Run until a step has begun, and end as a killed process does."""
    state = MemoryState(stored)
    before = ran[what]
    run = asyncio.create_task(Engine(state_backend=state).run(target, run_id="night", **settings))
    while ran[what] == before:
        await asyncio.sleep(0)
    stored["night"].journal.commit()  # type: ignore[union-attr]
    state.lose()
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run


async def test_a_step_that_runs_at_most_once_is_in_doubt_after_a_kill() -> None:
    """It is not called again, and a person has to say whether it was done."""
    stored: dict[str, StoredRun] = {}
    target = hang.at_most_once()()
    await killed_in(stored, target, "hang")
    for _ in range(2):
        with pytest.raises(
            StepInDoubtError, match=r"step 'hang:0' was started at .* cascade resolve night hang:0"
        ):
            await Engine(state_backend=MemoryState(stored)).run(target, run_id="night")
    assert ran["hang"] == 1


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_step_that_its_own_code_has_cancelled_has_failed(tmp_path: Path, *, is_async: bool) -> None:
    """It is tried again as often as its policy says, and is not in doubt afterwards."""

    @task
    async def waits() -> None:
        note("cancelled")
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    @task
    def raises() -> None:
        note("cancelled")
        raise asyncio.CancelledError

    state = SqliteState(tmp_path / "runs", power_safe=False)
    target = (waits if is_async else raises).at_most_once()().with_retry(2, on=(TaskCancelledError,))
    for calls in 2, 4:
        with pytest.raises(TaskCancelledError, match="something that it awaited"):
            await Engine(state_backend=state).run(target, run_id="night")
        (found,) = state.steps("night")
        assert found.state is StepState.FAILED
        assert ran["cancelled"] == calls


@pytest.mark.parametrize(("settings", "limit"), [({}, 5), ({"max_starts": 3}, 3)])
async def test_a_step_in_which_the_process_dies_again_and_again_is_not_started_again(
    settings: dict[str, Any], limit: int
) -> None:
    """Five times, unless the run says otherwise."""
    stored: dict[str, StoredRun] = {}
    for _ in range(limit):
        await killed_in(stored, hang(), "hang", **settings)
    for _ in range(2):
        with pytest.raises(
            StepKeepsDyingError, match=f"step 'hang:0' was running each of the last {limit} times"
        ):
            await Engine(state_backend=MemoryState(stored)).run(hang(), run_id="night", **settings)
    assert ran["hang"] == limit
    await killed_in(stored, hang(), "hang", max_starts=None)
    assert ran["hang"] == limit + 1


@pytest.mark.parametrize(
    "refusal",
    [StateUnavailable("runs", "no space"), RunInUseError("night", pid=7, host="press", since=0.0)],
    ids=lambda refusal: type(refusal).__name__,
)
async def test_an_end_that_cannot_be_recorded_hides_no_error_of_the_run(
    refusal: Exception, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is logged; a run that succeeded is none as long as this is not recorded."""

    async def refuse(journal: MemoryJournal, *ended: Any) -> None:
        raise refusal

    monkeypatch.setattr(MemoryJournal, "end", refuse)
    stored: dict[str, StoredRun] = {}
    broken.add("load abc")
    with pytest.raises(ValueError, match="load abc"):
        await Engine(state_backend=MemoryState(stored)).run(load("abc"), run_id="night")
    assert f"the end of run 'night' is not recorded: {refusal}" in caplog.text
    broken.clear()
    with pytest.raises(type(refusal)):
        await Engine(state_backend=MemoryState(stored)).run(load("abc"), run_id="night")
    monkeypatch.undo()
    ran.clear()
    assert await Engine(state_backend=MemoryState(stored)).run(load("abc"), run_id="night") == "abc"
    assert not ran


async def test_a_variable_of_the_environment_has_to_stay_as_it_was(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message and the file name it and do not show it; one that is set for the first time is no change."""
    monkeypatch.setenv("PRESS_TOKEN", "hunter-1")
    monkeypatch.delenv("PRESS_LINE", raising=False)
    target = total(
        [size(load("ab").after(*(hidden(Env(name, default="")) for name in ("PRESS_TOKEN", "PRESS_LINE"))))]
    )
    await runs.fails(target, "total")
    monkeypatch.setenv("PRESS_LINE", "hunter-2")
    await runs.fails(target, "total")
    monkeypatch.setenv("PRESS_TOKEN", "hunter-3")
    with pytest.raises(RunInputsError, match="another value of PRESS_TOKEN") as refused:
        await runs.run(target)
    assert "hunter" not in str(refused.value)
    assert not any(b"hunter" in path.read_bytes() for path in runs.folder.iterdir())
    monkeypatch.setenv("PRESS_TOKEN", "hunter-1")
    assert await runs.run(target) == 2


async def test_a_run_that_a_constraint_cancelled_goes_on_only_on_request() -> None:
    """A person has ended it."""
    target = size(load("abc"))
    stored: dict[str, StoredRun] = {}
    await Engine(state_backend=MemoryState(stored)).run(target, run_id="night")
    stored["night"].status = RecordedStatus.CANCELLED
    with pytest.raises(RunEndedError, match="give resume='cancelled'"):
        await Engine(state_backend=MemoryState(stored)).run(target, run_id="night")
    assert (
        await Engine(state_backend=MemoryState(stored)).run(target, run_id="night", resume="cancelled") == 3
    )


@task(mode="inline")
def told_inline() -> StepInfo:
    note("told")
    return step()


@task
def told_in_a_thread() -> StepInfo:
    return step()


@task
async def told(before: list[StepInfo]) -> list[StepInfo]:
    note("last")
    return [*before, step()]


async def test_a_step_learns_its_key_and_its_attempts(runs: Runs) -> None:
    """On the loop, inline and in a thread; the idempotency key is the same in every attempt."""
    target = told([told_inline().with_retry(2), told_in_a_thread()])
    await runs.fails(target, "told", "last")
    steps = await runs.run(target)
    assert [(each.key, each.attempt, each.start) for each in steps] == [
        ("told_inline:0", 2, 1),
        ("told_in_a_thread:0", 1, 1),
        ("told:0", 2, 1),
    ]
    assert {each.run_id for each in steps} == {"night"}
    assert steps[2].idempotency_key == StepInfo("night", "told:0", "told").idempotency_key
    with pytest.raises(UsageError, match=r"cs.step\(\) works only inside a task"):
        step()


async def test_telemetry_tells_the_attempts_of_a_run_apart(runs: Runs) -> None:
    """Each has its own token and counts from 0; a reader that drops duplicates loses nothing."""
    hub, seen = LocalHub(), list[dict[str, Any]]()
    target = total([size(load("abc"))])

    async def listen(topic: str, message: dict[str, Any]) -> None:
        seen.append(message)

    reader = LocalConnector(hub)
    await reader.connect()
    await reader.subscribe("cascade/telemetry/#", listen)
    for attempt in (1, 2):
        broken.update({"total"} if attempt == 1 else ())
        engine = Engine(state_backend=runs.state(), connector=LocalConnector(hub, source_id="line-3"))
        with contextlib.suppress(ValueError):
            await engine.run(target, run_id="night")
        broken.clear()
    await eventually(lambda: [message["body"].get("event") for message in seen].count("ENGINE_STOPPED") == 2)
    await reader.disconnect()
    events = [message for message in seen if message["body"]["type"] in ("LifecycleEvent", "TaskStateEvent")]
    assert len({event["event_id"] for event in events}) == len(events)
    by_attempt = [[event for event in events if event.get("attempt", 1) == attempt] for attempt in (1, 2)]
    for of_one in by_attempt:
        assert len({event["token"] for event in of_one}) == 1
        assert [event["seq"] for event in of_one] == list(range(len(of_one)))
    assert by_attempt[0][0]["token"] != by_attempt[1][0]["token"]
    assert by_attempt[1][0]["body"] == {
        "type": "LifecycleEvent",
        "event": "ENGINE_STARTED",
        "target": "total",
        "kept": 2,
    }
    assert "kept" not in by_attempt[0][0]["body"]
