"""The suite that the connector passes notices a connector of NATS that is wrong in one way."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path

import pytest

pytestmark = [pytest.mark.broker, pytest.mark.nightly, pytest.mark.timeout(600)]

CONTROL = "test_a_callback_gets_topic_and_decoded_payload"
"""Passes with every fault here: a mutant that fails everything would show nothing."""
FAULTS = {
    "TestForgetsToResubscribe": {"test_subscriptions_are_made_again_on_a_new_link"},
    "TestNeverCompletes": {
        "test_complete_comes_behind_the_whole_retained_set",
        "test_an_empty_set_is_complete_too",
    },
    "TestCompletesBeforeTheSet": {"test_complete_comes_behind_the_whole_retained_set"},
    "TestKeepsWhatIsGone": {"test_a_topic_cleared_while_the_watch_was_away_is_not_in_the_next_set"},
    "TestSendsAddedTopicsNothing": {"test_an_open_watch_gets_further_topics"},
    "TestForgetsCoveredTopics": {"test_a_topic_that_another_filter_covers_stays_in_the_set"},
    "TestClearsNothing": {"test_none_clears_its_own_topic_and_no_other"},
    "TestKeepsNothing": {"test_a_retained_message_waits_for_later_subscribers"},
    "TestSeesNoWill": {"test_the_will_of_one_that_vanishes_is_seen"},
    "TestDeliversOverlapsTwice": {"test_overlapping_filters_of_a_watch_yield_a_message_once"},
    "TestEndsTheFilterOfAnother": {"test_a_subscription_outlives_the_end_of_another_one_of_its_filter"},
    "TestLeavesTasks": {"test_nothing_is_left_behind"},
}


def test_each_mutant_fails_the_tests_that_name_its_fault(tmp_path: Path) -> None:
    """On a real nats-server; the correct connector passes the same tests."""
    report, file = tmp_path / "report.xml", Path(__file__).with_name("mutants.py")
    wanted = {kind: {CONTROL, *tests} for kind, tests in FAULTS.items()}
    wanted["TestOnNats"] = {CONTROL}.union(*FAULTS.values())
    chosen = [f"{file}::{kind}::{test}" for kind, tests in wanted.items() for test in sorted(tests)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", f"--junitxml={report}", *chosen],
        cwd=file.parent, env=os.environ, capture_output=True, text=True, timeout=590, check=False,
    )  # fmt: skip
    assert report.exists(), done.stdout + done.stderr
    ran, failed = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for case in ET.parse(report).iter("testcase"):
        kind, test = case.attrib["classname"].rpartition(".")[2], case.attrib["name"].partition("[")[0]
        ran[kind].add(test)
        if any(end.tag in ("failure", "error") for end in case):
            failed[kind].add(test)
    assert ran == wanted, done.stdout
    assert failed == FAULTS, done.stdout
