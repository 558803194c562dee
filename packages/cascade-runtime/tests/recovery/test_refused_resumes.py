"""Which recorded steps keep a run from going on."""

import pytest

from cascade.interfaces import StepInDoubtError, StepKeepsDyingError, StepRecord, StepState
from cascade.runtime._recovery.recording import RunRecording
from cascade.runtime._support.clock import SystemClock
from cascade.runtime._support.settings import ResumeRules
from cascade.testkit.state import MemoryJournal


class Recorded(MemoryJournal):
    """Knows these steps."""

    def __init__(self, *steps: StepRecord) -> None:
        self._recorded = {step.key: step for step in steps}

    earlier = None

    def known(self, key: str) -> StepRecord | None:
        return self._recorded.get(key)

    def known_keys(self, *states: StepState) -> list[str]:
        return [key for key, step in self._recorded.items() if not states or step.state in states]


def step(key: str, state: StepState, deaths: int = 0) -> StepRecord:
    return StepRecord(key, state, key, starts=9, began=5.5, deaths=deaths)


def check(rules: ResumeRules, *steps: StepRecord) -> None:
    journal = Recorded(*steps)
    recording = RunRecording(journal, "night", home="", clock=SystemClock(), rules=rules)
    recording.check(rules, "my runs")


OTHERS = [step(f"other:{state}", state, 9) for state in StepState if state not in (1, 6)]


def test_a_step_in_doubt_among_others_is_named_with_what_to_do() -> None:
    """Wherever it stands, and whatever limit of starts there is: nothing may call it again."""
    steps = [
        *OTHERS,
        step("load:0", StepState.STARTED),
        step("press:0", StepState.IN_DOUBT),
        step("load:1", StepState.STARTED),
    ]
    for rules in (ResumeRules(), ResumeRules(max_starts=None)):
        with pytest.raises(StepInDoubtError) as refused:
            check(rules, *steps)
        error = refused.value
        assert (error.run_id, error.key, error.began, error.state) == ("night", "press:0", 5.5, "my runs")


@pytest.mark.parametrize(
    ("rules", "deaths", "refused"),
    [
        (ResumeRules(), 4, False),
        (ResumeRules(), 5, True),
        (ResumeRules(max_starts=3), 2, False),
        (ResumeRules(max_starts=3), 4, True),
        (ResumeRules(max_starts=None), 99, False),
    ],
)
def test_a_step_in_which_the_process_died_too_often_among_others_is_named(
    rules: ResumeRules, deaths: int, *, refused: bool
) -> None:
    """From the limit on, by default from the fifth death on; steps that are not in flight do not count."""
    steps = [
        *OTHERS,
        step("load:0", StepState.STARTED, 1),
        step("draw:0", StepState.STARTED, deaths),
        step("load:1", StepState.STARTED),
    ]
    if not refused:
        check(rules, *steps)
        return
    with pytest.raises(StepKeepsDyingError) as found:
        check(rules, *steps)
    assert (found.value.key, found.value.deaths) == ("draw:0", deaths)
