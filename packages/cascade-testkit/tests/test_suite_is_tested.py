"""The contract suites are themselves tested: on what is correct, and on what is wrong in one way each."""

import subprocess
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


Run = Callable[..., subprocess.CompletedProcess[str]]

CONNECTORS = {
    "TestTiny": set(),
    "TestLosesOrder": {"test_messages_of_one_topic_arrive_in_order"},
    "TestForgetsToResubscribe": {"test_subscriptions_are_made_again_on_a_new_link"},
    "TestLetsOneCallbackBlockAnother": {"test_a_callback_that_never_returns_harms_no_other"},
    "TestDrainsNothing": {"test_a_burst_is_drained_by_disconnect"},
    "TestDropsSilently": {"test_what_is_given_up_is_counted"},
    "TestClearsTheWrongTopic": {"test_none_clears_its_own_topic_and_no_other"},
    "TestWaitsForTheLink": {"test_what_is_published_without_a_link_waits_for_it"},
    "TestWaitsForAnAnswer": {"test_connect_returns_although_the_other_side_is_silent"},
    "TestGoesOnTrying": {"test_disconnect_returns_although_nobody_answers"},
    "TestSaysFlushed": {"test_flush_waits_until_all_has_left"},
    "TestSendsFromAnyThread": {"test_publish_nowait_from_another_thread_is_refused"},
    "TestKeepsAFilterItRefused": {"test_an_invalid_filter_is_refused"},
}

EXECUTORS = {
    "TestSound": set(),
    "TestLosesAResult": {"test_more_calls_than_workers_are_all_answered"},
    "TestSwallowsAnError": {"test_what_is_raised_is_raised"},
    "TestTellsTooEarly": {"test_the_end_of_a_call_that_was_given_up_is_told"},
    "TestLeaksOnCancel": {"test_a_call_given_up_leaves_nothing_behind"},
}


@pytest.mark.parametrize(
    ("mutants", "faults", "words"),
    [
        ("mutants.py", CONNECTORS, ("-p", "leaping")),
        ("executor_mutants.py", EXECUTORS, ()),  # these have threads, for which nobody's clock can leap
    ],
    ids=["connectors", "executors"],
)
def test_each_mutant_fails_exactly_the_test_that_names_its_fault(
    tmp_path: Path, run_pytest: Run, mutants: str, faults: dict[str, set[str]], words: tuple[str, ...]
) -> None:
    """No more, or the suite would blame the wrong thing; no less, or it would see nothing; the correct one passes."""
    report = tmp_path / "report.xml"
    done = run_pytest(Path(__file__).with_name(mutants), *words, f"--junitxml={report}")
    assert report.exists(), done.stdout + done.stderr
    failed: dict[str, set[str]] = defaultdict(set)
    for case in ET.parse(report).iter("testcase"):
        kind = case.attrib["classname"].rpartition(".")[2]
        test = case.attrib["name"].partition("[")[0]
        failed[kind] |= {test for end in case if end.tag in ("failure", "error")}
    assert failed == faults, done.stdout
