"""The contract suites are themselves tested: on what is correct, and on what is wrong in one way each."""

import subprocess
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


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

_INVALID_TOPIC = "test_an_invalid_topic_is_refused"
_JSON = "test_what_json_cannot_hold_is_replaced"
_STATISTICS = "test_statistics_of_what_went_out_are_true"
_CONNECTED = "test_connected_is_true_between_connect_and_disconnect"
_NAME = "test_source_id_is_a_name_that_stays"

PUBLISHERS = {
    "TestCannotSubscribe": {"test_abilities_are_declared_as_they_are"},
    "TestConnectsTwice": {"test_connect_twice_is_harmless"},
    "TestPublishesTwiceAfterASecondConnect": {"test_connect_twice_is_harmless"},
    "TestCannotLeaveBeforeItCame": {
        "test_disconnect_twice_is_harmless",
        "test_a_cancelled_connect_leaves_nothing_behind",
    },
    "TestCannotLeaveTwice": {"test_disconnect_twice_is_harmless"},
    "TestConnectsOnce": {
        "test_connect_twice_is_harmless",
        "test_a_cancelled_connect_leaves_nothing_behind",
        "test_it_can_be_connected_again",
        "test_it_can_be_connected_again_on_another_loop",
    },
    "TestStaysOnItsFirstLoop": {"test_it_can_be_connected_again_on_another_loop"},
    "TestLeavesItsSubscriber": {"test_nothing_is_left_behind"},
    "TestLeavesWhatACancelledConnectBegan": {"test_a_cancelled_connect_leaves_nothing_behind"},
    "TestCannotConnectAfterACancelledConnect": {"test_a_cancelled_connect_leaves_nothing_behind"},
    "TestLeavesWhatACancelledDisconnectBegan": {"test_a_cancelled_disconnect_leaves_nothing_behind"},
    "TestLinked": set(),
    "TestIsConnectedFromTheBeginning": {_CONNECTED},
    "TestIsNeverConnected": {_CONNECTED},
    "TestStaysConnected": {_CONNECTED},
    "TestNamed": set(),
    "TestHasAnEmptyName": {_NAME},
    "TestHasANumberForAName": {_NAME},
    "TestChangesItsName": {_NAME},
    "TestEncodesLater": {"test_a_payload_is_what_it_was_at_the_call"},
    "TestEncodesLaterWhatIsOutside": {"test_a_payload_is_what_it_was_at_the_call"},
    "TestSendsNothingInsteadOfAThing": {_JSON},
    "TestSendsNullForNaN": {_JSON},
    "TestSendsNullForAThing": {_JSON},
    "TestSendsAsciiOnly": {_JSON},
    "TestSendsWithoutControlCharacters": {_JSON},
    "TestSendsTheTextsOnly": {_JSON},
    "TestTakesAnEmptyTopic": {_INVALID_TOPIC},
    "TestTakesALevel": {_INVALID_TOPIC},
    "TestTakesAll": {_INVALID_TOPIC},
    "TestTakesNul": {_INVALID_TOPIC},
    "TestTakesHalf": {_INVALID_TOPIC},
    "TestTakesALongTopic": {_INVALID_TOPIC},
    "TestBreaksItsLinkForAnInvalidTopic": {_INVALID_TOPIC},
    "TestLosesItsLinkForAnInvalidTopic": {_INVALID_TOPIC},
    "TestCountsAnInvalidTopic": {_INVALID_TOPIC},
    "TestSendsAPayloadThatItRefuses": {"test_a_payload_that_is_no_mapping_is_refused"},
    "TestTakesAText": {"test_a_payload_that_is_no_mapping_is_refused"},
    "TestTakesBytes": {"test_a_payload_that_is_no_mapping_is_refused"},
    "TestTakesANumber": {"test_a_payload_that_is_no_mapping_is_refused"},
    "TestTakesAList": {"test_a_payload_that_is_no_mapping_is_refused"},
    "TestRaisesBeforeConnect": {"test_before_connect_nothing_is_sent"},
    "TestKeepsWhatCameBeforeConnect": {"test_before_connect_nothing_is_sent"},
    "TestDrainsOneQualityOnly": {"test_a_burst_is_drained_by_disconnect"},
    "TestDrainsOnlyQualityZero": {"test_a_burst_is_drained_by_disconnect"},
    "TestNowaitTakesAnyTopic": {"test_publish_nowait_does_what_publish_does"},
    "TestNowaitTakesAnyPayload": {"test_publish_nowait_does_what_publish_does"},
    "TestRefusesNoThread": {"test_publish_nowait_from_another_thread_is_refused"},
    "TestNeverSaysFlushed": {"test_flush_waits_until_all_has_left"},
    "TestCountsLessThanItTook": {_INVALID_TOPIC, _STATISTICS},
    "TestCountsLessThanItSent": {_STATISTICS},
    "TestCountsNothingReplaced": {_STATISTICS},
    "TestIsNeverLinked": {_STATISTICS},
    "TestCountsASecondLink": {_INVALID_TOPIC, _STATISTICS},
    "TestCountsADrop": {_INVALID_TOPIC, _STATISTICS},
    "TestCountsAllAsDropped": {_STATISTICS},
    "TestLetsSomeWaitForEver": {_STATISTICS},
}

SUBSCRIBERS = {
    "TestGivesAnotherTopic": {"test_a_callback_gets_topic_and_decoded_payload"},
    "TestGivesAsciiOnly": {"test_a_callback_gets_topic_and_decoded_payload"},
    "TestGivesNothingDeep": {"test_a_callback_gets_topic_and_decoded_payload"},
    "TestPassesOverTheEmptyMessage": {"test_an_empty_message_arrives_as_an_empty_dict"},
    "TestGivesNoneForTheEmptyMessage": {"test_an_empty_message_arrives_as_an_empty_dict"},
    "TestAnyLevels": {"test_wildcards_match_as_in_mqtt"},
    "TestNoParent": {"test_wildcards_match_as_in_mqtt"},
    "TestPrefixes": {"test_wildcards_match_as_in_mqtt"},
    "TestNoWildcardInside": {"test_wildcards_match_as_in_mqtt"},
    "TestOneLevelBelow": {
        "test_a_leading_wildcard_does_not_match_dollar_topics",
        "test_wildcards_match_as_in_mqtt",
    },
    "TestDollarToo": {"test_a_leading_wildcard_does_not_match_dollar_topics"},
    "TestCallsOnceForEachFilter": {
        "test_equal_messages_all_arrive_through_overlapping_filters",
        "test_overlapping_filters_call_each_callback_once",
    },
    "TestCallsOneOfAFilter": {
        "test_a_callback_that_blocks_loses_nothing",
        "test_a_callback_that_never_returns_harms_no_other",
        "test_a_callback_that_raises_goes_on_and_harms_no_other",
        "test_one_filter_may_have_several_subscriptions",
        "test_statistics_of_what_came_in_are_true",
        "test_unsubscribe_ends_one_subscription_alone",
    },
    "TestCallsOneOfAll": {
        "test_equal_messages_all_arrive_through_overlapping_filters",
        "test_overlapping_filters_call_each_callback_once",
    },
    "TestCallsInsidePublish": {
        "test_a_call_in_progress_ends_with_disconnect",
        "test_a_callback_is_never_called_inside_publish",
        "test_a_queue_holds_a_thousand_and_drops_the_oldest",
    },
    "TestEndsWithAnErrorOfACallback": {"test_a_callback_that_raises_goes_on_and_harms_no_other"},
    "TestEndsAllWithAnErrorOfACallback": {"test_a_callback_that_raises_goes_on_and_harms_no_other"},
    "TestLosesWhatWaitedWhileItWasBlocked": {"test_a_callback_that_blocks_loses_nothing"},
    "TestKeepsFewer": {"test_a_queue_holds_a_thousand_and_drops_the_oldest"},
    "TestKeepsMore": {"test_a_queue_holds_a_thousand_and_drops_the_oldest"},
    "TestDropsTheNewest": {"test_a_queue_holds_a_thousand_and_drops_the_oldest"},
    "TestCountsNoDiscard": {"test_a_queue_holds_a_thousand_and_drops_the_oldest"},
    "TestCountsADiscard": {"test_statistics_of_what_came_in_are_true"},
    "TestCountsLessThanCame": {"test_statistics_of_what_came_in_are_true"},
    "TestCountsMessagesAsCalls": {"test_statistics_of_what_came_in_are_true"},
    "TestWaitsForItsOwnCallback": {"test_a_callback_may_publish_and_unsubscribe"},
    "TestKeepsASubscriptionThatEndsItself": {"test_a_callback_may_publish_and_unsubscribe"},
    "TestEndsAllOfAFilter": {"test_unsubscribe_ends_one_subscription_alone"},
    "TestEndsNothingFromOutside": {"test_unsubscribe_ends_one_subscription_alone"},
    "TestEndsAFilterLater": {"test_a_subscription_outlives_the_end_of_another_one_of_its_filter"},
    "TestIgnoresWhatComesBeforeConnect": {"test_subscribe_before_connect_is_sent_on_connecting"},
    "TestForgetsWhatNeverReceived": {"test_a_subscription_outlives_disconnect"},
    "TestTakesNoFilter": {"test_an_invalid_filter_is_refused"},
    "TestTakesALevelBehindAll": {"test_an_invalid_filter_is_refused"},
    "TestTakesHalfALevel": {"test_an_invalid_filter_is_refused"},
    "TestTakesNul": {"test_an_invalid_filter_is_refused"},
    "TestTakesHalf": {"test_an_invalid_filter_is_refused"},
    "TestTakesALong": {"test_an_invalid_filter_is_refused"},
    "TestBreaksItsLinkForAnInvalidFilter": {"test_an_invalid_filter_is_refused"},
    "TestGivesHalf": {"test_an_undecodable_payload_is_passed_over"},
    "TestGivesBytes": {"test_an_undecodable_payload_is_passed_over"},
    "TestGivesAList": {"test_an_undecodable_payload_is_passed_over"},
    "TestGivesANumber": {"test_an_undecodable_payload_is_passed_over"},
    "TestGivesNaN": {"test_an_undecodable_payload_is_passed_over"},
    "TestGivesDepth": {"test_an_undecodable_payload_is_passed_over"},
    "TestEndsWithAnUndecodablePayload": {"test_an_undecodable_payload_is_passed_over"},
    "TestKeepsNothing": {
        "test_a_further_subscription_gets_the_retained_messages_too",
        "test_a_retained_message_waits_for_later_subscribers",
        "test_a_subscription_made_before_connect_gets_the_retained_message",
        "test_none_clears_its_own_topic_and_no_other",
        "test_the_last_retained_message_replaces_the_one_before",
    },
    "TestKeepsAll": {"test_a_retained_message_waits_for_later_subscribers"},
    "TestKeepsTheFirst": {"test_the_last_retained_message_replaces_the_one_before"},
    "TestClearsNothing": {"test_none_clears_its_own_topic_and_no_other"},
    "TestClearsAllBelow": {"test_none_clears_its_own_topic_and_no_other"},
    "TestGivesRetainedOnce": {"test_a_further_subscription_gets_the_retained_messages_too"},
    "TestGivesNoRetainedMessageOnConnecting": {
        "test_a_subscription_made_before_connect_gets_the_retained_message"
    },
}

WATCHERS = {
    "TestYieldsAnObject": {
        "test_a_watch_yields_linked_then_bytes_in_order",
        "test_overlapping_filters_of_a_watch_yield_a_message_once",
        "test_the_retained_set_comes_before_what_is_published_after_linked",
        "test_watches_that_share_a_filter_yield_a_message_once_each",
    },
    "TestYieldsTwiceWhatTwoFiltersMatch": {"test_overlapping_filters_of_a_watch_yield_a_message_once"},
    "TestYieldsForEachWatchOfAFilter": {"test_watches_that_share_a_filter_yield_a_message_once_each"},
    "TestYieldsToOneWatchOnly": {"test_watches_that_share_a_filter_yield_a_message_once_each"},
    "TestMarks": set(),
    "TestMarksNothingAsRetained": {"test_the_retained_set_comes_before_what_is_published_after_linked"},
    "TestMarksAllAsRetained": {
        "test_a_watch_yields_any_bytes_as_they_are",
        "test_a_watch_yields_linked_then_bytes_in_order",
        "test_the_retained_set_comes_before_what_is_published_after_linked",
    },
    "TestYieldsTheSetBehindWhatFollows": {
        "test_the_retained_set_comes_before_what_is_published_after_linked"
    },
    "TestLosesOneOfTheSet": {"test_the_retained_set_comes_before_what_is_published_after_linked"},
    "TestYieldsNoLinked": {
        "test_a_watch_made_before_connect_begins_with_the_link",
        "test_a_watch_yields_linked_then_bytes_in_order",
        "test_the_retained_set_comes_before_what_is_published_after_linked",
    },
    "TestYieldsNoLost": {"test_a_watch_made_before_connect_begins_with_the_link"},
    "TestCompletesOnce": {"test_a_watch_made_before_connect_begins_with_the_link"},
    "TestLinksOnce": {"test_a_watch_made_before_connect_begins_with_the_link"},
    "TestYieldsLostFirst": {
        "test_a_watch_made_before_connect_begins_with_the_link",
        "test_a_watch_yields_linked_then_bytes_in_order",
    },
    "TestYieldsBackwards": {"test_a_watch_yields_linked_then_bytes_in_order"},
    "TestYieldsAfterItsEnd": {"test_a_closed_watch_ends"},
    "TestEndsOnceOnly": {"test_a_closed_watch_ends"},
    "TestWatchesAnything": {"test_a_watch_with_an_invalid_filter_is_refused"},
    "TestHidesTheEmptyMessage": {"test_a_watch_yields_any_bytes_as_they_are"},
    "TestHidesHalf": {"test_a_watch_yields_any_bytes_as_they_are"},
    "TestHidesBytes": {"test_a_watch_yields_any_bytes_as_they_are"},
}

LINKS = {
    "TestWaitsForALink": {"test_connect_returns_without_an_answer"},
    "TestWaitsToSubscribe": {"test_a_subscription_made_without_a_link_is_made_when_it_is_back"},
    "TestLosesWhatWasSubscribedWithoutALink": {
        "test_a_subscription_made_without_a_link_is_made_when_it_is_back"
    },
    "TestSubscribesToOneAgain": {"test_subscriptions_are_made_again_on_a_new_link"},
    "TestGoesOnAfterACancelledConnect": {"test_a_connect_cancelled_before_an_answer_leaves_nothing_behind"},
    "TestGoesOnAfterASilentConnect": {"test_a_connect_that_is_cancelled_amid_silence_leaves_nothing_behind"},
    "TestGoesOnAmidSilence": {"test_disconnect_returns_although_the_other_side_is_silent"},
    "TestWaitsForAnAnswerToLeave": {
        "test_a_connect_that_is_cancelled_amid_silence_leaves_nothing_behind",
        "test_disconnect_returns_although_the_other_side_is_silent",
    },
    "TestRaisesWithoutALink": {
        "test_what_is_given_up_is_counted",
        "test_what_is_published_without_a_link_waits_for_it",
    },
    "TestFlushesForEver": {"test_flush_returns_false_if_messages_remain"},
    "TestCountsWhatItGaveUpAsSent": {"test_what_is_given_up_is_counted"},
    "TestCountsWhatItGaveUpAsPending": {"test_what_is_given_up_is_counted"},
    "TestCountsWhatItGaveUpTwice": {"test_what_is_given_up_is_counted"},
    "TestSaysThatItIsLinked": {"test_every_new_link_is_counted", "test_what_is_given_up_is_counted"},
    "TestCountsALinkTwice": {"test_every_new_link_is_counted"},
    "TestYieldsNoLost": {"test_a_watch_yields_lost_and_linked"},
    "TestCompletesOnce": {"test_a_watch_yields_lost_and_linked"},
    "TestLinksOnce": {"test_a_watch_yields_lost_and_linked"},
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
    "TestChangesAValue": {"test_a_value_comes_back_as_it_is"},
    "TestLosesAResult": {"test_more_calls_than_workers_are_all_answered"},
    "TestSwallowsAnError": {"test_what_is_raised_is_raised"},
    "TestRunsAgain": {"test_a_call_whose_worker_was_killed_is_not_run_again"},
    "TestNamesTheFirstDeathOnly": {"test_every_call_that_kills_its_worker_fails_by_name"},
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


@pytest.mark.full
@pytest.mark.parametrize(
    ("mutants", "faults", "words"),
    [
        ("mutants.py", CONNECTORS, ("-p", "leaping")),
        ("publishing_mutants.py", PUBLISHERS, ("-p", "leaping")),
        ("subscribing_mutants.py", SUBSCRIBERS, ("-p", "leaping")),
        ("watching_mutants.py", WATCHERS, ("-p", "leaping")),
        ("linking_mutants.py", LINKS, ("-p", "leaping")),
        ("executor_mutants.py", EXECUTORS, ()),  # these have threads, which no fake clock can skip
        ("state_mutants.py", STATES, ()),
    ],
    ids=["connectors", "publishers", "subscribers", "watchers", "links", "executors", "states"],
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


@pytest.mark.full
def test_a_test_of_an_executor_that_fails_releases_the_call_it_holds(tmp_path: Path, run_pytest: Run) -> None:
    """The end of the author's pytest would wait two minutes for a thread that holds one."""
    mutants = Path(__file__).with_name("executor_mutants.py")
    folders = tmp_path / "folders"
    done = run_pytest(mutants, "-k", "TestTellsTooEarly and end_of_an_abandoned", f"--basetemp={folders}")
    assert "1 failed" in done.stdout
    held = [path.parent for path in folders.rglob("started") if not path.parent.is_symlink()]
    assert held
    assert all((folder / "release").exists() for folder in held)
