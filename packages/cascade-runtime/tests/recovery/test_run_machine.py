"""Recorded runs beside a model: engines that die, fail, stop and continue with changed arguments, in any order.

A process that dies is simulated: at a named moment the folder is copied as ``kill -9`` would leave it, and what the
engine does from then on does not count. The next attempt continues from the copy.
"""

import asyncio
import contextlib
import itertools
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from cascade.interfaces import RunChangedError, StepInDoubtError, StepState
from cascade.runtime import Engine, SqliteState, step
from cascade.runtime._durable import crash_points
from cascade.spec import LazyResult, task
from cascade.testkit.waiting import busyness

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]

KINDS = ("plain", "inline", "careful", "flaky", "map", "loop")
MOMENTS = (
    "begin-committed",
    "start-queued",
    "called",
    "effect-done",
    "encoded",
    "before-begin",
    "in-transaction",
    "committed-unheard",
    "retry-recorded",
    "expanded-committed",
    "turn-deleted",
    "end-committed",
)
KEPT = (StepState.COMPLETED, StepState.EXPANDED)
ITEMS, TURNS = 3, 3


class Made(NamedTuple):
    """What one call of a step's function returned: no two calls return the same."""

    key: str
    number: int
    inputs: tuple[int, ...]
    """Numbers of the values that it took."""


class Step(NamedTuple):
    """A step of the workflow that the machine has drawn."""

    kind: str
    inputs: tuple[int, ...]


@task
async def work(literal: int, inputs: Any = ()) -> Made:
    assert world is not None
    return await world.body(inputs)


@task(mode="inline")
def work_inline(literal: int, inputs: Any = ()) -> Made:
    assert world is not None
    return world.body_inline(inputs)


@task
async def turn(literal: int, left: int, inputs: Any = ()) -> Any:
    assert world is not None
    if left:
        return turn(literal, left - 1, inputs)
    return await world.body(inputs)


world: "Runs | None" = None
"""The machine that is at work: its tasks are found by name, as those of a loop must be."""


class Killed(Exception):
    """The simulated process has died."""


class Runs(RuleBasedStateMachine):
    """``kept`` is what the last process left on the disk, ``numbers`` the value of each step that was recorded."""

    def __init__(self) -> None:
        super().__init__()
        global world  # noqa: PLW0603 - tasks of a module have no other way to the test
        world = self
        self.folders = Path(tempfile.mkdtemp())
        self.names = itertools.count()
        self.runner = asyncio.Runner()
        self.made: dict[int, Made] = {}
        self.begin()
        crash_points.hook = self.reach

    def begin(self) -> None:
        """Forget the run that has ended; the next attempt begins a new one."""
        self.folder = self.folders / str(next(self.names))
        self.numbers: dict[str, int] = {}
        self.kept: set[str] = set()
        self.taken: dict[str, int] = {}
        self.careful_calls: Counter[str] = Counter()
        self.failed: set[str] = set()
        self.to_rerun: set[str] = set()
        self.wrong: list[str] = []
        self.on_change = "refuse"
        self.ended = False

    # The workflow

    @initialize(data=st.data(), count=st.integers(2, 5))
    def declare(self, data: st.DataObject, count: int) -> None:
        self.steps = [
            Step(
                data.draw(st.sampled_from(KINDS)),
                tuple(sorted(data.draw(st.sets(st.integers(0, number - 1), max_size=2)))) if number else (),
            )
            for number in range(count)
        ]
        self.literals = [0] * count

    def target(self) -> LazyResult[Any]:
        lazies: list[LazyResult[Any]] = []
        for number, each in enumerate(self.steps):
            literal, inputs = self.literals[number], [lazies[one] for one in each.inputs]
            lazies.append(declared(each.kind, literal, inputs).named(f"n{number}"))
        return work(0, lazies).named("last")

    # What happens to it

    @rule(moment=st.sampled_from(MOMENTS), times=st.integers(1, 6))
    def kill(self, moment: str, times: int) -> None:
        if self.ended:
            self.begin()
        self.attempt(moment=moment, times=times)

    @rule(moment=st.sampled_from(["called", "effect-done"]), times=st.integers(1, 4))
    def kill_in_a_step(self, moment: str, times: int) -> None:
        self.kill(moment, times)

    @rule(number=st.integers(0, 4))
    def fail(self, number: int) -> None:
        self.attempt(failing=f"n{number}:")

    @rule(calls=st.integers(1, 4))
    def stop(self, calls: int) -> None:
        self.attempt(calls=calls)

    @rule()
    def proceed(self) -> None:
        """Continue to the end; then nothing is left to do, and a new run may begin."""
        for _ in range(10):  # steps may be in doubt, one after the other
            if not self.ended:
                self.attempt()
        assert self.ended
        before = len(self.made)
        self.attempt()
        assert len(self.made) == before, "a run that has ended runs steps"
        self.begin()

    @rule(number=st.integers(0, 4))
    def change_and_be_refused(self, number: int) -> None:
        """Give a step another argument; only a recorded one counts as changed."""
        with self.changed(number) as own:
            if own:
                with pytest.raises(RunChangedError, match=f"{self.name(number)}:0"):
                    self.attempt(doubts=10)  # they are refused first

    @rule(number=st.integers(0, 4))
    def change_and_keep(self, number: int) -> None:
        """Take what is recorded, although a step has another argument."""
        with self.changed(number) as own:
            kind = self.steps[number % len(self.steps)].kind
            if own and kind not in ("map", "loop"):  # their items and turns would be recorded with both
                self.attempt(on_change="keep")

    @rule(number=st.integers(0, 4), moment=st.sampled_from(["", *MOMENTS]), times=st.integers(1, 3))
    def change_and_rerun(self, number: int, moment: str, times: int) -> None:
        """Run a changed step again, with all that take its value."""
        number %= len(self.steps)
        self.literals[number] += 1
        if any(name_of(key) == self.name(number) for key in self.kept):
            self.on_change = "rerun"
            self.to_rerun |= {*self.behind(number)}
            self.ended, before = False, len(self.made)
            self.attempt(moment=moment, times=times)
            again = {name_of(self.made[each].key) for each in range(before, len(self.made))}
            assert not self.ended or again >= {self.name(number), "last"}

    @contextlib.contextmanager
    def changed(self, number: int) -> Iterator[set[str]]:
        """Give a step another argument for one attempt; yield what is recorded of it."""
        number %= len(self.steps)
        self.literals[number] += 1
        on_change, self.on_change = self.on_change, "refuse"
        yield set() if self.to_rerun else {key for key in self.kept if name_of(key) == self.name(number)}
        self.literals[number] -= 1
        self.on_change = on_change

    def name(self, number: int) -> str:
        return f"n{number % len(self.steps)}"

    def behind(self, number: int) -> Iterable[str]:
        """Return a step and all that take its value."""
        tainted = {number}
        for other, each in enumerate(self.steps):
            tainted |= {other} if tainted & {*each.inputs} else set()
        return ["last", *(f"n{each}" for each in tainted)]

    def forget(self, name: str) -> None:
        for known in (self.numbers, self.taken, self.careful_calls):
            for key in [key for key in known if name_of(key) == name]:
                del known[key]
        self.kept = {key for key in self.kept if name_of(key) != name}

    # One attempt

    def attempt(self, *, moment: str = "", times: int = 1, doubts: int = 0, **how: Any) -> None:
        """Run, and check what is left; settle a doubt, and run again for so many of them."""
        self.moment, self.times_left, self.dead = moment, times, False
        self.failing, self.calls_left = how.pop("failing", ""), how.pop("calls", 0)
        self.running: asyncio.Task[Any] | None = None
        for name in self.to_rerun:
            self.forget(name)
        before = len(self.made)
        value: Any = None
        try:
            value = self.runner.run(self.run(**{"on_change": self.on_change} | how))
        except StepInDoubtError as exc:
            self.settle(exc.key)
            if doubts:
                self.attempt(doubts=doubts - 1, **how)
        except Killed:
            self.folder = self.copy
        else:
            self.ended = value is not None
        assert self.wrong == []
        if self.ended or len(self.made) > before:  # what is to run again was deleted before the first call
            self.to_rerun.clear()
        self.read()
        if self.ended:
            self.check(value)

    async def run(self, **how: Any) -> Any:
        state = SqliteState(self.folder, power_safe=False, keep=None)
        engine = Engine(state_backend=state)
        self.loop = asyncio.get_running_loop()
        running = self.running = asyncio.create_task(
            engine.run(self.target(), run_id="night", max_starts=None, **how)
        )
        done, _ = await asyncio.wait([running], timeout=30 * busyness())
        assert done, "the run does not end"
        if self.dead:
            raise Killed
        if running.cancelled() or isinstance(running.exception(), ValueError | ExceptionGroup):
            return None
        return running.result()

    def reach(self, point: str) -> None:
        """Die at a moment: from whatever thread is there."""
        if self.dead or point != self.moment or self.running is None:
            return
        self.times_left -= 1
        if self.times_left:
            return
        self.copy = self.folders / str(next(self.names))
        copied(self.folder, self.copy)
        self.dead = True
        self.loop.call_soon_threadsafe(self.running.cancel)

    async def body(self, inputs: Any) -> Made:
        await asyncio.sleep(0)
        return self.body_inline(inputs)

    def body_inline(self, inputs: Any) -> Made:
        if self.dead:
            raise Killed
        key = step().key
        if key in self.kept:
            self.wrong.append(f"{key} is recorded and runs again")
        if self.kind_of(key) == "careful" and self.careful_calls[key]:
            self.wrong.append(f"{key} is in doubt and runs again")
        self.careful_calls[key] += 1
        made = Made(key, len(self.made), tuple(each.number for each in flat(inputs)))
        self.taken.update((each.key, each.number) for each in flat(inputs))
        self.reach("called")
        if key.startswith(self.failing or "-") or self.is_flaky(key):
            self.careful_calls[key] = 0
            raise ValueError(key)
        self.calls_left -= 1
        if self.calls_left == 0 and self.running is not None:
            self.running.cancel()
        self.made[made.number] = made
        self.reach("effect-done")
        return made

    def is_flaky(self, key: str) -> bool:
        """Return whether the step fails now: the first time that it is called."""
        fails = self.kind_of(key) == "flaky" and key not in self.failed
        self.failed.add(key)
        return fails

    def kind_of(self, key: str) -> str:
        number = name_of(key)[1:]
        return self.steps[int(number)].kind if number.isdigit() else "plain"

    def settle(self, key: str) -> None:
        """Say of a step in doubt that it was not done."""
        self.careful_calls.pop(key, None)
        self.runner.run(SqliteState(self.folder, power_safe=False).resolve("night", key, "again"))

    # What must hold

    def read(self) -> None:
        """Read what is recorded now; nothing of what was recorded or seen may be missing."""
        state = SqliteState(self.folder, power_safe=False)
        found = {each.key for each in state.steps("night") if each.state in KEPT}
        values = dict(state.values("night"))
        assert {key for key in self.kept - found if "~" not in key} == set(), "a recorded step is lost"
        for key, value in values.items():
            assert self.numbers.setdefault(key, value.number) == value.number, "a value has changed"
        seen = {key: number for key, number in self.taken.items() if key in values}
        assert seen == self.taken, "a step saw a value that was not recorded"
        assert seen == {key: values[key].number for key in seen}
        self.kept = found

    def check(self, value: Made) -> None:
        """Check that every value of the result was made from the values that are recorded of its inputs."""
        keys, wanted = set[str](), [value.number]
        while wanted:
            made = self.made[wanted.pop()]
            assert self.numbers.get(made.key, made.number) == made.number, "a step took another value"
            keys.add(made.key)
            wanted += made.inputs
        assert {name_of(key) for key in keys} >= {"last", *map(self.name, range(len(self.steps)))}

    def teardown(self) -> None:
        global world  # noqa: PLW0603
        world = None
        self.runner.close()
        shutil.rmtree(self.folders)


def declared(kind: str, literal: int, inputs: list[LazyResult[Any]]) -> LazyResult[Any]:
    if kind == "map":
        return work.partial(literal=literal, inputs=inputs).map(literal=[literal] * ITEMS)
    if kind == "loop":
        return turn(literal, TURNS, inputs)
    if kind == "inline":
        return work_inline(literal, inputs)
    return {"careful": work.at_most_once(), "flaky": work.with_retry(2, delay=0.0)}.get(kind, work)(
        literal, inputs
    )


def name_of(key: str) -> str:
    """Return the name of the declared call to which a key belongs."""
    return key.partition(":")[0]


def flat(values: Any) -> Iterable[Made]:
    """Yield the values in lists of lists."""
    if isinstance(values, Made):
        yield values
    else:
        for each in values:
            yield from flat(each)


def copied(folder: Path, copy: Path) -> None:
    """Copy a folder as a killed process leaves it: the log last, which only grows meanwhile."""
    copy.mkdir(mode=0o700)
    for path in sorted(folder.glob("*"), key=lambda path: path.name.endswith("-wal")):
        if not path.name.endswith("-shm"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy2(path, copy)


@pytest.mark.parametrize(
    "examples", [12, pytest.param(500, marks=[pytest.mark.nightly, pytest.mark.timeout(1800)])]
)
def test_a_run_is_what_the_model_says(examples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens in whatever order: no recorded step runs again, and all steps saw the same values."""
    monkeypatch.setattr(crash_points, "hook", crash_points.hook)  # it is put back
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    run_state_machine_as_test(
        Runs,
        settings=settings(
            max_examples=examples,
            stateful_step_count=8,
            deadline=None,
            suppress_health_check=checks,
            derandomize=examples < 100,
            phases=[Phase.generate],
        ),
    )
