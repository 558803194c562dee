"""SqliteState beside a model: a dict of what must be recorded, while runs begin, complete, die, and go on."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cascade.interfaces import (
    Journal,
    Plan,
    RecordedStatus,
    Resume,
    RunInfo,
    RunInUseError,
    RunStatus,
    StateUnavailable,
    StepState,
)
from cascade.runtime import SqliteState
from cascade.runtime._durable import results

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

RUN = RunInfo("night", "report")
KEYS = st.sampled_from([f"{name}:{number}" for name in "fgh" for number in range(3)])
VALUES = (
    st.none()
    | st.integers()
    | st.text(max_size=5)
    | st.binary(min_size=300, max_size=600)
    | st.sets(st.integers())
)


class Recorded(RuleBasedStateMachine):
    """Committed rows are in ``steps``; rows that no caller waited for are in ``queued`` until a commit."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.runner = asyncio.Runner()
        self.state = self.new_state()
        self.journal: Journal | None = None
        self.steps: dict[str, tuple[StepState, int]] = {}
        self.values: dict[str, Any] = {}
        self.queue: list[tuple[str, tuple[StepState, int]]] = []
        """What was handed over and need not be committed, in its order."""
        self.attempts = 0
        self.status: RecordedStatus | None = None
        self.before: RecordedStatus | None = None
        """How the run stood before this attempt, as long as that has recorded nothing; None in the first one."""

    def new_state(self) -> SqliteState:
        return SqliteState(self.folder / "runs", power_safe=False)

    def do(self, action: Any) -> Any:
        async def main() -> Any:
            return await action

        return self.runner.run(main())

    @property
    def live(self) -> Journal:
        assert self.journal is not None
        return self.journal

    def commit(self) -> None:
        self.steps |= dict(self.queue)
        self.queue.clear()

    @initialize()
    def begin(self) -> None:
        self.resume()

    @rule()
    @precondition(lambda self: self.journal is None)
    def resume(self) -> None:
        self.journal = self.do(self.state.open(RUN, resume=Resume.CANCELLED))
        self.attempts += 1
        assert self.live.attempt == self.attempts
        assert (self.live.earlier.status if self.live.earlier else None) == self.status
        known = {key: self.live.known(key) for key in self.live.known_keys()}
        assert {key: (step.state, step.starts) for key, step in known.items() if step} == self.steps
        for key, value in self.values.items():
            found = self.do(self.live.load(key))
            assert (type(found), found) == (type(value), value)
        self.before, self.status = self.status, RecordedStatus.INTERRUPTED

    @rule(key=KEYS, certain=st.booleans())
    @precondition(lambda self: self.journal is not None)
    def start(self, key: str, certain: bool) -> None:
        self.before = None
        _, starts = (self.steps | dict(self.queue)).get(key, (None, 0))
        if certain:
            self.do(self.live.started_for_certain(key, name="f", inputs=b"i", code=b"c"))
            self.queue.append((key, (StepState.IN_DOUBT, starts + 1)))
            self.commit()
        else:
            self.live.started(key, name="f", inputs=b"i", code=b"c")
            self.queue.append((key, (StepState.STARTED, starts + 1)))

    @rule(key=KEYS)
    @precondition(lambda self: self.journal is not None)
    def retry(self, key: str) -> None:
        step = (self.steps | dict(self.queue)).get(key)
        if step is not None:
            self.before = None
            self.live.retrying(key, tries=1, not_before=1.0, error="OSError")
            self.queue.append((key, (StepState.RETRYING, step[1])))

    @rule(key=KEYS, value=VALUES)
    @precondition(lambda self: self.journal is not None)
    def complete(self, key: str, value: Any) -> None:
        self.before = None
        assert self.do(self.live.completed(key, value))
        self.keep(key, StepState.COMPLETED, value)

    @rule(key=KEYS, content=VALUES, replaced=st.sampled_from([None, "f:", "g:"]))
    @precondition(lambda self: self.journal is not None)
    def expand(self, key: str, content: Any, replaced: str | None) -> None:
        self.before = None
        self.do(self.live.expanded(key, Plan(content), replaces=replaced))
        self.commit()
        gone = {each for each in self.steps if replaced and each.startswith(replaced)}
        starts = 0 if key in gone else self.steps.get(key, (None, 0))[1]
        self.forget(gone)
        self.keep(key, StepState.EXPANDED, Plan(content))
        self.steps[key] = StepState.EXPANDED, starts

    @rule(keys=st.sets(KEYS, max_size=3))
    @precondition(lambda self: self.journal is not None)
    def discard(self, keys: set[str]) -> None:
        self.before = None
        self.do(self.live.discard(keys))
        self.commit()
        self.forget(keys)

    @rule(status=st.sampled_from(RunStatus))
    @precondition(lambda self: self.journal is not None)
    def end(self, status: RunStatus) -> None:
        self.do(self.live.end(status))
        self.commit()
        self.journal, self.status = None, RecordedStatus(status.value)

    @rule()
    @precondition(lambda self: self.journal is not None)
    def close(self) -> None:
        self.do(self.state.close())
        self.commit()
        self.journal, self.status = None, self.before or self.status

    @rule()
    @precondition(lambda self: self.journal is not None)
    def die(self) -> None:
        """Drop what is queued, except what its commits were quick enough to take from the front; the lock is gone."""
        (journal,) = self.state._journals
        journal._writer.failure = StateUnavailable("test", "killed")
        self.do(journal.close())
        found = {step.key: (step.state, step.starts) for step in self.new_state().steps("night")}
        assert found in [self.steps | dict(self.queue[:taken]) for taken in range(len(self.queue) + 1)]
        self.steps = found
        self.queue.clear()
        self.journal, self.state = None, self.new_state()

    @rule()
    @precondition(lambda self: self.journal is not None)
    def intrude(self) -> None:
        with pytest.raises(RunInUseError):
            self.do(self.new_state().open(RUN))

    def keep(self, key: str, state: StepState, value: Any) -> None:
        self.commit()
        self.steps[key] = state, self.steps.get(key, (None, 0))[1]
        self.values[key] = value

    def forget(self, keys: set[str]) -> None:
        for key in keys:
            self.steps.pop(key, None)
            self.values.pop(key, None)

    @invariant()
    def a_reader_sees_what_is_committed(self) -> None:
        found = {step.key: (step.state, step.starts) for step in self.new_state().steps("night")}
        queued = dict(self.queue)
        committed = {key: step for key, step in self.steps.items() if key not in queued}
        assert {key: step for key, step in found.items() if key not in queued} == committed

    def teardown(self) -> None:
        self.do(self.state.close())
        self.runner.close()
        shutil.rmtree(self.folder)


@pytest.mark.parametrize("examples", [15, pytest.param(500, marks=pytest.mark.nightly)])
def test_what_is_recorded_is_what_the_model_says(examples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens in whatever order; a result of over 400 bytes has a file of its own here."""
    monkeypatch.setattr(results, "LARGE", 400)
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Recorded,
        settings=settings(
            max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=checks
        ),
    )
