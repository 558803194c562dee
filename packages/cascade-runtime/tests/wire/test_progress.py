"""The numbers of a run that every screen shows, for any counts and reasons to wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cascade.interfaces import TaskState
from cascade.wire import progress_of, seconds_left

COUNTS = st.dictionaries(st.sampled_from([*map(str, TaskState)]), st.integers(0, 50))
WAITS = st.lists(st.tuples(st.sampled_from(["constraint", "slot", "retry", "sync"]), st.integers(0, 80)))
STATUS = st.sampled_from(["Running", "Lost", "Succeeded"])
LEFT = st.none() | st.floats(0, 1e6)


@given(
    COUNTS,
    STATUS,
    st.integers(0, 80),
    st.integers(0, 400),
    st.booleans(),
    st.none() | WAITS,
    st.booleans(),
    LEFT,
)
def test_the_numbers_of_a_run_never_contradict_each_other(
    counts: dict[str, int],
    status: str,
    recorded: int,
    known: int,
    is_open: bool,
    waits: list[tuple[str, int]] | None,
    paused: bool,
    left_s: float | None,
) -> None:
    """All parts fit into the whole; a share and a time left are there only where they mean something."""
    found = progress_of(
        counts,
        status=status,
        recorded=recorded,
        known=known,
        open=is_open,
        waits=waits,
        paused=paused,
        left_s=left_s,
    )
    assert found.known == max(known, sum(counts.values()))
    assert sum(found.tasks.values()) == found.finished + found.running + found.waiting
    assert sum(found.tasks.values()) <= found.known or not found.known
    assert found.waiting >= counts.get("BLOCKED", 0)
    skipped, taken = (found.tasks.get(word, 0) for word in ("skipped", "recorded"))
    assert (skipped + taken, taken) == (counts.get("SKIPPED", 0), min(recorded, skipped + taken))
    alive = status == "Running"
    if alive and found.known and waits:
        # as many as the reasons name, unless fewer are left
        rest = found.known - found.finished - found.running
        assert found.waiting >= min(rest, max(n for _, n in waits))
    assert found.status == ("Paused" if alive and paused else status)
    assert (found.percent is None) == (not alive or is_open or not found.known)
    assert found.percent is None or 100 * found.finished // found.known >= found.percent <= 99
    assert found.left_s is None or (found.percent is not None and not paused and found.finished < found.known)


def test_the_next_attempt_of_a_task_runs_once_no_reason_to_wait_names_it() -> None:
    """An event says that it is tried again, and none that it goes on."""
    counts = {"RETRYING": 3, "RUNNING": 1}
    found = [progress_of(counts, waits=waits) for waits in (None, [("retry", 2)], [])]
    assert [(each.running, each.waiting) for each in found] == [(1, 3), (2, 2), (4, 0)]


def test_what_is_skipped_is_no_work_for_the_time_left() -> None:
    """Of a run that is continued, most is recorded and ends at once."""
    assert seconds_left({"SKIPPED": 719, "COMPLETED": 9}, known=1_000, seconds=9.0) is None
    assert seconds_left({"SKIPPED": 719, "COMPLETED": 10}, known=1_000, seconds=10.0) == 271.0
