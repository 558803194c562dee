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
    "TestGoesOnTrying": {"test_disconnect_returns_without_an_answer"},
    "TestSaysFlushed": {"test_flush_waits_until_all_has_left"},
    "TestSaysFlushedWithoutALink": {"test_flush_returns_false_if_messages_remain"},
    "TestHidesWhatWaits": {"test_what_is_given_up_is_counted"},
    "TestCountsNoNewLink": {"test_every_new_link_is_counted"},
    "TestSendsFromAnyThread": {"test_publish_nowait_from_another_thread_is_refused"},
    "TestLosesWhatIsPublishedNowait": {"test_publish_nowait_does_what_publish_does"},
    "TestSendsTextFirst": {"test_a_text_is_published_in_turn_as_its_object"},
    "TestSettler": set(),
    "TestSettlesTwice": {
        "test_each_message_is_settled_once_as_taken",
        "test_before_connect_a_message_is_returned",
        "test_a_call_that_raises_settles_nothing",
        "test_a_lost_link_settles_nothing",
    },
    "TestSettlesWithoutALink": {
        "test_a_lost_link_settles_nothing",
        "test_disconnect_returns_what_it_could_not_send",
    },
    "TestReturnsNothing": {"test_disconnect_returns_what_it_could_not_send"},
    "TestRefusesWhatCouldBeSentLater": {"test_disconnect_returns_what_it_could_not_send"},
    "TestDeliversFirst": {"test_delivered_and_published_messages_leave_in_order"},
    "TestKeepsWhatItReturned": {"test_before_connect_a_message_is_returned"},
    "TestSettlesWhatItRefused": {"test_a_call_that_raises_settles_nothing"},
    "TestWatcher": set(),
    "TestWatcherOnAWithholdingBoard": set(),
    "TestNeverCompletes": {
        "test_complete_comes_behind_the_whole_retained_set",
        "test_a_topic_cleared_while_the_watch_was_away_is_not_in_the_next_set",
        "test_a_topic_that_still_holds_its_message_stays_in_the_set",
        "test_an_exact_topic_is_in_the_set",
    },
    "TestCompletesBeforeTheSet": {"test_complete_comes_behind_the_whole_retained_set"},
    "TestKeepsWhatIsGone": {"test_a_topic_cleared_while_the_watch_was_away_is_not_in_the_next_set"},
    "TestForgetsTheSecondLook": {
        "test_a_topic_cleared_while_the_watch_was_away_is_not_in_the_next_set",
        "test_a_topic_that_still_holds_its_message_stays_in_the_set",
    },
    "TestKeepsAFilterItRefused": {"test_an_invalid_filter_is_refused"},
    "TestUnsubscribesOnlyOnce": {"test_unsubscribe_ends_one_subscription_alone"},
    "TestForgetsWhoHasReceived": {"test_a_subscription_that_has_received_survives_disconnect_and_connect"},
    "TestTakesEqualMessagesForDuplicates": {"test_equal_messages_all_arrive_through_overlapping_filters"},
    "TestEndsWithACancelledErrorOfACallback": {"test_a_callback_that_raises_cancelled_error_is_called_again"},
    "TestKeepsACancelFromItsWorker": {"test_a_call_in_progress_ends_with_disconnect"},
}

EXECUTORS = {
    "TestSound": set(),
    "TestWithContext": set(),
    "TestLosesAPause": {"test_a_paused_call_waits_until_it_may_go_on"},
    "TestStaysPaused": {"test_a_call_ends_at_its_checkpoint_when_it_is_cancelled"},
    "TestKeepsProgress": {"test_progress_and_values_of_a_call_arrive"},
    "TestFollowsForEver": {"test_a_call_that_has_ended_is_not_followed"},
    "TestForgetsWhatWasGivenUp": {"test_a_call_that_was_given_up_is_cancelled_at_its_checkpoint"},
    "TestTellsAnotherStep": {"test_a_call_is_told_its_step"},
    "TestLosesAResult": {"test_more_calls_than_workers_are_all_answered"},
    "TestSwallowsAnError": {"test_what_is_raised_is_raised"},
    "TestRunsAgain": {"test_a_call_whose_worker_was_killed_is_not_run_again"},
    "TestTellsTooEarly": {"test_the_end_of_an_abandoned_call_is_reported"},
    "TestLeaksOnCancel": {"test_a_call_given_up_leaves_nothing_behind"},
}

STATES = {
    "TestMemory": set(),
    "TestLosesTheLastValue": {
        "test_a_run_whose_process_died_is_free_at_once",
        "test_a_death_is_counted_for_the_steps_that_ran",
        "test_a_step_that_runs_at_most_once_is_in_doubt_until_its_outcome",
        "test_what_is_not_awaited_is_committed_with_the_next_row",
    },
    "TestKeepsTheObject": {"test_the_value_is_recorded_as_it_was"},
    "TestWritesJson": {"test_values_are_recorded"},
    "TestKeepsTheFirstValue": {"test_a_later_value_replaces_an_earlier_one"},
    "TestFailsForWhatItCannotKeep": {
        "test_a_value_that_cannot_be_kept_is_reported_and_the_step_runs_again",
        "test_events_are_recorded_though_the_outcome_cannot_be",
    },
    "TestForgetsTheDecider": {"test_a_plan_is_recorded"},
    "TestKeepsEveryTurn": {"test_the_next_turn_of_a_loop_deletes_the_earlier_one"},
    "TestDeletesAlikeTurns": {"test_the_next_turn_of_a_loop_deletes_the_earlier_one"},
    "TestCountsOneStart": {
        "test_a_start_is_counted_and_keeps_its_digests",
        "test_a_death_is_counted_for_the_steps_that_ran",
    },
    "TestForgetsTheDelay": {"test_a_failed_try_keeps_its_delay"},
    "TestHasNoDoubt": {"test_a_step_that_runs_at_most_once_is_in_doubt_until_its_outcome"},
    "TestDiscardsOne": {"test_discarded_steps_are_not_known"},
    "TestReordersRows": {
        "test_what_is_not_awaited_is_committed_with_the_next_row",
        "test_a_death_after_progress_is_the_first_one",
    },
    "TestKeepsNoEventOfAPlan": {
        "test_events_are_recorded_with_the_outcome",
        "test_events_are_recorded_though_the_outcome_cannot_be",
    },
    "TestKeepsEventsOfValuesOnly": {"test_events_are_recorded_though_the_outcome_cannot_be"},
    "TestKeepsTheFirstEventOfANumber": {"test_an_event_with_a_number_that_was_recorded_before_replaces_it"},
    "TestForgetsALastEvent": {"test_settled_events_are_forgotten_with_a_later_commit"},
    "TestKeepsSettledEvents": {"test_settled_events_are_forgotten_with_a_later_commit"},
    "TestSharesARun": {"test_a_run_in_use_is_refused", "test_a_forgotten_run_is_new"},
    "TestContinuesACancelledRun": {"test_a_cancelled_run_is_continued_only_on_request"},
    "TestTakesOtherInputs": {"test_other_inputs_are_refused"},
    "TestTakesOtherSecrets": {"test_another_secret_is_refused_without_its_value"},
    "TestInterruptsWhatItRefused": {"test_an_attempt_that_recorded_nothing_leaves_the_run_as_it_was"},
    "TestIgnoresTheState": {"test_the_keys_of_steps_in_one_state_are_known"},
    "TestCountsEveryDeath": {"test_a_death_after_progress_is_the_first_one"},
    "TestListsTheDeadAsRunning": {"test_a_run_is_listed_with_its_status"},
    "TestForgetsNothing": {"test_a_forgotten_run_is_new"},
    "TestLeavesATask": {"test_close_releases_every_run_and_leaves_nothing_behind"},
    "TestShowsValues": {"test_steps_are_listed_in_order_while_the_run_goes_on"},
}


@pytest.mark.parametrize(
    ("mutants", "faults", "words"),
    [
        ("mutants.py", CONNECTORS, ("-p", "leaping")),
        ("executor_mutants.py", EXECUTORS, ()),  # these have threads, which no fake clock can skip
        ("state_mutants.py", STATES, ()),
    ],
    ids=["connectors", "executors", "states"],
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
