"""The contract suites are themselves tested: on what is correct, and on what is wrong in one way each."""

import subprocess
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


Run = Callable[..., subprocess.CompletedProcess[str]]


def faults(text: str) -> dict[str, set[str]]:
    """Return for each mutant the tests that fail on it: a line names a test and its mutants, ``none`` correct ones."""
    found: dict[str, set[str]] = defaultdict(set)
    for line in text.replace("\n ", " ").strip().splitlines():
        test, _, mutants = line.partition(":")
        for mutant in mutants.split():
            found[f"Test{mutant}"] |= set() if test == "none" else {f"test_{test}"}
    return dict(found)


CONNECTORS = faults("""
none: Tiny Settler Watcher WatcherOnAWithholdingBoard
messages_of_one_topic_arrive_in_order: LosesOrder
subscriptions_are_made_again_on_a_new_link: ForgetsToResubscribe
a_callback_that_never_returns_harms_no_other: LetsOneCallbackBlockAnother
a_burst_is_drained_by_disconnect: DrainsNothing
what_is_given_up_is_counted: DropsSilently HidesWhatWaits
none_clears_its_own_topic_and_no_other: ClearsTheWrongTopic
what_is_published_without_a_link_waits_for_it: WaitsForTheLink
connect_returns_although_the_other_side_is_silent: WaitsForAnAnswer
disconnect_returns_without_an_answer: GoesOnTrying
flush_waits_until_all_has_left: SaysFlushed
flush_returns_false_if_messages_remain: SaysFlushedWithoutALink
every_new_link_is_counted: CountsNoNewLink
publish_nowait_from_another_thread_is_refused: SendsFromAnyThread
publish_nowait_does_what_publish_does: LosesWhatIsPublishedNowait
a_call_that_raises_settles_nothing: SettlesTwice SettlesWhatItRefused
a_lost_link_settles_nothing: SettlesTwice SettlesWithoutALink
before_connect_a_message_is_returned: SettlesTwice KeepsWhatItReturned
each_message_is_settled_once_as_taken: SettlesTwice
disconnect_returns_what_it_could_not_send: SettlesWithoutALink ReturnsNothing RefusesWhatCouldBeSentLater
delivered_and_published_messages_leave_in_order: DeliversFirst
a_topic_cleared_while_the_watch_was_away_is_not_in_the_next_set: NeverCompletes KeepsWhatIsGone
 ForgetsTheSecondLook
a_topic_that_still_holds_its_message_stays_in_the_set: NeverCompletes ForgetsTheSecondLook
an_exact_topic_is_in_the_set: NeverCompletes
complete_comes_behind_the_whole_retained_set: NeverCompletes CompletesBeforeTheSet
an_invalid_filter_is_refused: KeepsAFilterItRefused
unsubscribe_ends_one_subscription_alone: UnsubscribesOnlyOnce
a_subscription_that_has_received_survives_disconnect_and_connect: ForgetsWhoHasReceived
equal_messages_all_arrive_through_overlapping_filters: TakesEqualMessagesForDuplicates
a_callback_that_raises_cancelled_error_is_called_again: EndsWithACancelledErrorOfACallback
a_call_in_progress_ends_with_disconnect: KeepsACancelFromItsWorker
""")

PUBLISHERS = faults("""
abilities_are_declared_as_they_are: CannotSubscribe
connect_twice_is_harmless: ConnectsTwice PublishesTwiceAfterASecondConnect ConnectsOnce
a_cancelled_connect_leaves_nothing_behind: CannotLeaveBeforeItCame ConnectsOnce
 LeavesWhatACancelledConnectBegan CannotConnectAfterACancelledConnect
disconnect_twice_is_harmless: CannotLeaveBeforeItCame CannotLeaveTwice
it_can_be_connected_again: ConnectsOnce
it_can_be_connected_again_on_another_loop: ConnectsOnce StaysOnItsFirstLoop
nothing_is_left_behind: LeavesItsSubscriber
a_cancelled_disconnect_leaves_nothing_behind: LeavesWhatACancelledDisconnectBegan
none: Linked Named
connected_is_true_between_connect_and_disconnect: IsConnectedFromTheBeginning IsNeverConnected
 StaysConnected
source_id_is_a_name_that_stays: HasAnEmptyName HasANumberForAName ChangesItsName
a_payload_is_what_it_was_at_the_call: EncodesLater EncodesLaterWhatIsOutside
what_json_cannot_hold_is_replaced: SendsNothingInsteadOfAThing SendsNullForNaN SendsNullForAThing
 SendsAsciiOnly SendsWithoutControlCharacters SendsTheTextsOnly
an_invalid_topic_is_refused: TakesAnEmptyTopic TakesALevel TakesAll TakesNul TakesHalf TakesALongTopic
 BreaksItsLinkForAnInvalidTopic LosesItsLinkForAnInvalidTopic CountsAnInvalidTopic CountsLessThanItTook
 CountsASecondLink CountsADrop
a_payload_that_is_no_mapping_is_refused: SendsAPayloadThatItRefuses TakesAText TakesBytes TakesANumber
 TakesAList
before_connect_nothing_is_sent: RaisesBeforeConnect KeepsWhatCameBeforeConnect
a_burst_is_drained_by_disconnect: DrainsOneQualityOnly DrainsOnlyQualityZero
publish_nowait_does_what_publish_does: NowaitTakesAnyTopic NowaitTakesAnyPayload
publish_nowait_from_another_thread_is_refused: RefusesNoThread
flush_waits_until_all_has_left: NeverSaysFlushed
statistics_of_what_went_out_are_true: CountsLessThanItTook CountsLessThanItSent CountsNothingReplaced
 IsNeverLinked CountsASecondLink CountsADrop CountsAllAsDropped LetsSomeWaitForEver
""")

SUBSCRIBERS = faults("""
a_callback_gets_topic_and_decoded_payload: GivesAnotherTopic GivesAsciiOnly GivesNothingDeep
an_empty_message_arrives_as_an_empty_dict: PassesOverTheEmptyMessage GivesNoneForTheEmptyMessage
wildcards_match_as_in_mqtt: AnyLevels NoParent Prefixes NoWildcardInside OneLevelBelow
a_leading_wildcard_does_not_match_dollar_topics: OneLevelBelow DollarToo
equal_messages_all_arrive_through_overlapping_filters: CallsOnceForEachFilter CallsOneOfAll
overlapping_filters_call_each_callback_once: CallsOnceForEachFilter CallsOneOfAll
a_callback_that_blocks_loses_nothing: CallsOneOfAFilter LosesWhatWaitedWhileItWasBlocked
a_callback_that_never_returns_harms_no_other: CallsOneOfAFilter
a_callback_that_raises_goes_on_and_harms_no_other: CallsOneOfAFilter EndsWithAnErrorOfACallback
 EndsAllWithAnErrorOfACallback
one_filter_may_have_several_subscriptions: CallsOneOfAFilter
statistics_of_what_came_in_are_true: CallsOneOfAFilter CountsADiscard CountsLessThanCame
 CountsMessagesAsCalls
unsubscribe_ends_one_subscription_alone: CallsOneOfAFilter EndsAllOfAFilter EndsNothingFromOutside
a_call_in_progress_ends_with_disconnect: CallsInsidePublish
a_callback_is_never_called_inside_publish: CallsInsidePublish
a_queue_holds_a_thousand_and_drops_the_oldest: CallsInsidePublish KeepsFewer KeepsMore DropsTheNewest
 CountsNoDiscard
a_callback_may_publish_and_unsubscribe: WaitsForItsOwnCallback KeepsASubscriptionThatEndsItself
a_subscription_outlives_the_end_of_another_one_of_its_filter: EndsAFilterLater
subscribe_before_connect_is_sent_on_connecting: IgnoresWhatComesBeforeConnect
a_subscription_outlives_disconnect: ForgetsWhatNeverReceived
an_invalid_filter_is_refused: TakesNoFilter TakesALevelBehindAll TakesHalfALevel TakesNul TakesHalf
 TakesALong BreaksItsLinkForAnInvalidFilter
an_undecodable_payload_is_passed_over: GivesHalf GivesBytes GivesAList GivesANumber GivesNaN GivesDepth
 EndsWithAnUndecodablePayload
a_further_subscription_gets_the_retained_messages_too: KeepsNothing GivesRetainedOnce
a_retained_message_waits_for_later_subscribers: KeepsNothing KeepsAll
a_subscription_made_before_connect_gets_the_retained_message: KeepsNothing
 GivesNoRetainedMessageOnConnecting
none_clears_its_own_topic_and_no_other: KeepsNothing ClearsNothing ClearsAllBelow
the_last_retained_message_replaces_the_one_before: KeepsNothing KeepsTheFirst
""")

WATCHERS = faults("""
a_watch_yields_linked_then_bytes_in_order: YieldsAnObject MarksAllAsRetained YieldsNoLinked
 YieldsLostFirst YieldsBackwards
overlapping_filters_of_a_watch_yield_a_message_once: YieldsAnObject YieldsTwiceWhatTwoFiltersMatch
the_retained_set_comes_before_what_is_published_after_linked: YieldsAnObject MarksNothingAsRetained
 MarksAllAsRetained YieldsTheSetBehindWhatFollows LosesOneOfTheSet YieldsNoLinked
watches_that_share_a_filter_yield_a_message_once_each: YieldsAnObject YieldsForEachWatchOfAFilter
 YieldsToOneWatchOnly
none: Marks
a_watch_yields_any_bytes_as_they_are: MarksAllAsRetained HidesTheEmptyMessage HidesHalf HidesBytes
a_watch_made_before_connect_begins_with_the_link: YieldsNoLinked YieldsNoLost CompletesOnce LinksOnce
 YieldsLostFirst
a_closed_watch_ends: YieldsAfterItsEnd EndsOnceOnly
a_watch_with_an_invalid_filter_is_refused: WatchesAnything
""")

SENDERS = faults("""
none: NowSender
what_is_sent_now_reaches_all_in_its_order: SendsRetainedLater
what_is_sent_now_waits_for_no_link: KeepsWhatItCannotSendNow SaysAlwaysSent
a_mistake_of_who_sends_now_is_refused: SendsNowFromAnyThread SendNowTakesAnything
""")

REPLIERS = faults("""
none: Replier
each_request_gets_its_own_answer_once: ForgetsCorrelationData AnswersOnAnotherTopic AnswersTwice AnswersTheLatest
 BlocksUntilItHasAnswered
a_message_that_expects_no_answer_shows_none: ShowsAnAddressThatWasNotSent BlocksUntilItHasAnswered
an_answer_without_a_link_waits_for_it: ForgetsCorrelationData AnswersOnAnotherTopic LosesAnAnswerWithoutALink
 RaisesWithoutALink
an_answer_from_another_thread_is_refused: ForgetsCorrelationData AnswersOnAnotherTopic AnswersTwice
 AnswersFromAnyThread
a_request_shows_the_trace_of_its_sender: HidesTheTrace ShowsAnyTextAsATrace ShowsTheLatestTrace
 BlocksUntilItHasAnswered
a_live_request_shows_whether_it_is_retained: HidesThatARequestIsRetained TakesEveryRequestForRetained
""")

KEEPERS = faults("""
none: Keeper
what_was_sent_while_it_was_away_comes_and_what_it_has_stored_does_not: AcknowledgesNothing
 LosesWhatIsSentMeanwhile SendsTheNewestFirst
what_was_not_stored_comes_again: AcknowledgesOnArrival AcknowledgesBeforeTheCommit LosesWhatIsSentMeanwhile
what_a_callback_still_had_comes_again: AcknowledgesOnArrival AsksBeforeTheCallback
what_was_not_stored_when_the_link_broke_comes_again: AcknowledgesOnArrival AcknowledgesBeforeTheCommit
 ForgetsWithItsLink LosesWhatIsSentMeanwhile
""")

LINKS = faults("""
connect_returns_without_an_answer: WaitsForALink
a_subscription_made_without_a_link_is_made_when_it_is_back: WaitsToSubscribe
 LosesWhatWasSubscribedWithoutALink
subscriptions_are_made_again_on_a_new_link: SubscribesToOneAgain
a_connect_cancelled_before_an_answer_leaves_nothing_behind: GoesOnAfterACancelledConnect
a_connect_that_is_cancelled_amid_silence_leaves_nothing_behind: GoesOnAfterASilentConnect
 WaitsForAnAnswerToLeave
disconnect_returns_although_the_other_side_is_silent: GoesOnAmidSilence WaitsForAnAnswerToLeave
what_is_given_up_is_counted: RaisesWithoutALink CountsWhatItGaveUpAsSent CountsWhatItGaveUpAsPending
 CountsWhatItGaveUpTwice SaysThatItIsLinked
what_is_published_without_a_link_waits_for_it: RaisesWithoutALink
flush_returns_false_if_messages_remain: FlushesForEver
every_new_link_is_counted: SaysThatItIsLinked CountsALinkTwice
a_watch_yields_lost_and_linked: YieldsNoLost CompletesOnce LinksOnce
""")

EXECUTORS = faults("""
none: Sound WithContext
a_paused_call_waits_until_it_may_go_on: LosesAPause
a_call_ends_at_its_checkpoint_when_it_is_cancelled: StaysPaused
progress_and_values_of_a_call_arrive: KeepsProgress
a_call_that_has_ended_is_not_followed: FollowsForEver
a_call_that_was_given_up_is_cancelled_at_its_checkpoint: ForgetsWhatWasGivenUp
a_call_is_told_its_step: TellsAnotherStep
a_value_comes_back_as_it_is: ChangesAValue
more_calls_than_workers_are_all_answered: LosesAResult
what_is_raised_is_raised: SwallowsAnError
a_call_whose_worker_was_killed_is_not_run_again: RunsAgain
every_call_that_kills_its_worker_fails_by_name: NamesTheFirstDeathOnly
the_end_of_an_abandoned_call_is_reported: TellsTooEarly
a_call_given_up_leaves_nothing_behind: LeaksOnCancel
""")

STATES = faults("""
none: Memory
a_death_is_counted_for_the_steps_that_ran: LosesTheLastValue CountsOneStart
a_run_whose_process_died_is_free_at_once: LosesTheLastValue
a_step_that_runs_at_most_once_is_in_doubt_until_its_outcome: LosesTheLastValue HasNoDoubt
what_is_not_awaited_is_committed_with_the_next_row: LosesTheLastValue ReordersRows
the_value_is_recorded_as_it_was: KeepsTheObject
values_are_recorded: WritesJson
a_later_value_replaces_an_earlier_one: KeepsTheFirstValue
a_value_that_cannot_be_kept_is_reported_and_the_step_runs_again: FailsForWhatItCannotKeep
events_are_recorded_though_the_outcome_cannot_be: FailsForWhatItCannotKeep KeepsNoEventOfAPlan
 KeepsEventsOfValuesOnly
a_plan_is_recorded: ForgetsTheDecider
the_next_turn_of_a_loop_deletes_the_earlier_one: KeepsEveryTurn DeletesAlikeTurns
a_start_is_counted_and_keeps_its_digests: CountsOneStart
a_failed_try_keeps_its_delay: ForgetsTheDelay
discarded_steps_are_not_known: DiscardsOne
a_death_after_progress_is_the_first_one: ReordersRows CountsEveryDeath
events_are_recorded_with_the_outcome: KeepsNoEventOfAPlan
an_event_with_a_number_that_was_recorded_before_replaces_it: KeepsTheFirstEventOfANumber
settled_events_are_forgotten_with_a_later_commit: ForgetsALastEvent KeepsSettledEvents
a_forgotten_run_is_new: SharesARun ForgetsNothing
a_run_in_use_is_refused: SharesARun
a_cancelled_run_is_continued_only_on_request: ContinuesACancelledRun
other_inputs_are_refused: TakesOtherInputs
another_secret_is_refused_without_its_value: TakesOtherSecrets
an_attempt_that_recorded_nothing_leaves_the_run_as_it_was: InterruptsWhatItRefused
the_keys_of_steps_in_one_state_are_known: IgnoresTheState
a_run_is_listed_with_its_status: ListsTheDeadAsRunning
close_releases_every_run_and_leaves_nothing_behind: LeavesATask
steps_are_listed_in_order_while_the_run_goes_on: ShowsValues
a_kept_failure_is_a_result_that_lists_count_as_failed: ForgetsWhyAStepFailed
""")


@pytest.mark.full
@pytest.mark.parametrize(
    ("mutants", "faults", "words"),
    [
        ("mutants.py", CONNECTORS, ("-p", "leaping")),
        ("publishing_mutants.py", PUBLISHERS, ("-p", "leaping")),
        ("subscribing_mutants.py", SUBSCRIBERS, ("-p", "leaping")),
        ("watching_mutants.py", WATCHERS, ("-p", "leaping")),
        ("replying_mutants.py", REPLIERS, ("-p", "leaping")),
        ("sending_mutants.py", SENDERS, ("-p", "leaping")),
        ("keeping_mutants.py", KEEPERS, ("-p", "leaping")),
        ("linking_mutants.py", LINKS, ("-p", "leaping")),
        ("executor_mutants.py", EXECUTORS, ()),  # these have threads, which no fake clock can skip
        ("state_mutants.py", STATES, ()),
    ],
    ids=[
        "connectors",
        "publishers",
        "subscribers",
        "watchers",
        "repliers",
        "senders",
        "keepers",
        "links",
        "executors",
        "states",
    ],
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
