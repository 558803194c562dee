"""The contract suite is itself tested: a correct connector passes, each mutant fails the test that names its fault."""

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path

import pytest

Failures = dict[str, set[str]]


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> Failures:
    """What failed, by test class, when the suite ran on a correct connector and its mutants."""
    report = tmp_path_factory.mktemp("suite") / "report.xml"
    mutants = Path(__file__).with_name("mutants.py")
    command = [
        sys.executable,
        "-m",
        "pytest",
        str(mutants),
        "-q",
        "-p",
        "no:cacheprovider",
        f"--junitxml={report}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert report.exists(), done.stdout + done.stderr
    failed: Failures = defaultdict(set)
    for case in ET.parse(report).iter("testcase"):
        name = case.attrib["classname"].rpartition(".")[2]
        failed[name].update(case.attrib["name"] for outcome in case if outcome.tag in ("failure", "error"))
    return failed


def test_a_correct_connector_passes_the_suite(failures: Failures) -> None:
    """What keeps the contract is not found at fault."""
    assert failures["TestTiny"] == set()


@pytest.mark.parametrize(
    ("mutant", "test"),
    [
        ("TestLosesOrder", "test_messages_of_one_topic_arrive_in_order"),
        ("TestForgetsToResubscribe", "test_subscriptions_are_made_again_on_a_new_link"),
        ("TestLetsOneCallbackBlockAnother", "test_a_callback_that_never_returns_harms_no_other"),
        ("TestDrainsNothing", "test_a_burst_is_drained_by_disconnect"),
        ("TestDropsSilently", "test_what_is_given_up_is_counted"),
        ("TestClearsTheWrongTopic", "test_none_clears_its_own_topic_and_no_other"),
    ],
)
def test_a_mutant_fails_exactly_the_test_that_names_its_fault(
    failures: Failures, mutant: str, test: str
) -> None:
    """No more, or the suite would blame the wrong thing; no less, or it would see nothing."""
    assert failures[mutant] == {test}
