//! One suite for every [`Store`](stillframe_coordinator::store::Store): each case runs against the store in memory and against Postgres, and says what
//! both promise. Time and the server's identity are the test's ([`subject`]), so nothing waits.
//!
//! To add a case: write `pub(super) async fn what_is_promised(s: &Subject)` in the file it belongs to, and name it in [`store_suite!`] below; one that
//! isn't named is dead code, and doesn't pass the lints. [`differential`] besides drives both stores with the same steps, drawn at random.

mod subject;

mod audit;
mod clusters;
mod collection;
mod due;
mod guards;
mod hints;
mod keys;
mod leases;
mod leaving;
mod lists;
mod losses;
mod parts;
mod remembered;
mod restores;
mod steps;
mod transitions;
mod uploads;

mod differential;

/// Makes a test of each case, for each implementation.
macro_rules! store_suite {
    (@on $subject:ident { $($file:ident: $($case:ident),+ $(,)?;)+ }) => {
        $(mod $file {
            $(#[tokio::test]
            async fn $case() {
                let subject = crate::suite::subject::Subject::$subject().await;
                crate::suite::$file::$case(&subject).await;
                subject.close().await;
            })+
        })+
    };
    ([$($implementation:ident: $subject:ident),+] $cases:tt) => {
        $(mod $implementation { store_suite! { @on $subject $cases } })+
    };
}

store_suite! {
    [on_memory: memory, on_postgres: postgres] {
        audit:
            every_change_has_its_rows_in_order,
            each_chain_verifies_up_to_its_head,
            a_stretch_of_a_chain_is_told_in_order,
            rows_are_found_by_all_that_is_given_newest_first;
        clusters:
            a_cluster_is_made_once_and_whoever_comes_second_is_given_the_first,
            of_many_who_make_a_cluster_at_once_one_does,
            a_cluster_has_the_settings_it_was_made_with,
            a_cluster_that_breaks_a_constraint_is_not_made,
            an_unknown_cluster_is_none_and_has_no_transition,
            what_is_wanted_of_channels_is_in_force_from_the_next_generation_on,
            clusters_are_listed_by_name_page_by_page,
            the_revisions_of_those_clusters_are_told_that_are_there,
            a_cluster_tells_how_many_members_are_there_and_what_is_under_way;
        collection:
            what_an_aborted_snapshot_left_is_to_be_swept_at_once_and_again,
            leftovers_are_told_the_earliest_first_and_a_hundred_at_most,
            of_several_clusters_each_has_its_turn_at_being_swept,
            a_snapshot_that_is_deleted_passes_through_deleting,
            what_snapshots_own_is_told_of_those_that_are_known,
            what_is_done_now_and_then_is_claimed_once,
            of_two_replicas_that_claim_at_once_one_does,
            a_suspension_keeps_its_first_reason_until_it_is_confirmed,
            what_is_kept_is_read_when_it_is_asked_for;
        due:
            nothing_is_due_where_nothing_is_under_way,
            a_snapshot_is_due_at_its_deadline,
            a_snapshot_that_waits_for_a_pause_is_due_when_that_is_over,
            a_restore_is_due_at_its_deadline,
            of_several_clusters_each_is_told_once_the_most_overdue_first,
            a_schedule_is_due_at_its_slot_and_not_while_it_is_paused,
            a_slot_is_decided_at_most_once_whatever_a_replica_believes,
            of_two_replicas_that_decide_a_slot_one_does,
            schedules_are_told_as_they_were_set_and_listed_by_name,
            a_slot_that_fires_takes_its_snapshot_in_the_same_transition;
        guards:
            all_members_of_a_generation_go_by_the_same,
            a_counter_never_goes_back,
            an_incarnation_is_never_used_again,
            a_member_has_a_number_of_its_own,
            committed_and_aborted_exclude_each_other,
            a_snapshot_that_is_recorded_keeps_its_numbers,
            an_epoch_and_an_id_are_used_once,
            two_restores_are_never_under_way_at_once,
            a_restore_never_uses_a_generation_again,
            a_restore_that_has_ended_stays_ended,
            what_is_needed_is_never_deleted,
            a_decision_that_breaks_one_guard_changes_nothing_else_either;
        hints:
            a_hint_is_heard_by_every_replica_the_one_that_announced_it_too;
        keys:
            who_claims_a_key_carries_the_request_out_and_the_others_wait,
            of_many_who_claim_a_key_at_once_one_does,
            an_answer_is_given_again_and_the_first_stays,
            a_key_belongs_to_one_request,
            a_claim_that_is_not_kept_is_taken_over_with_its_seed,
            a_claim_that_is_given_up_is_free_at_once,
            keys_are_forgotten_when_they_are_old,
            a_key_or_an_answer_that_cannot_be_is_not_kept;
        leaving:
            how_far_a_members_leaving_is_is_read_as_it_was_written,
            what_one_counted_at_its_end_is_with_later_snapshots_that_count_it_and_with_no_other,
            what_one_counted_at_its_end_never_changes;
        leases:
            a_lease_runs_out_unless_it_is_renewed,
            only_the_holder_renews_a_lease_and_anybody_takes_it_over,
            the_lease_of_an_older_incarnation_is_not_renewed,
            a_renewal_is_no_transition_and_one_that_changes_the_member_leaves_it,
            a_member_that_is_lost_is_not_told_again,
            leases_that_nobody_knows_are_passed_over;
        lists:
            members_are_listed_by_name_page_by_page,
            snapshots_are_listed_newest_first_by_state_and_page,
            the_newest_snapshot_is_found_that_was_committed_by_a_time,
            restores_are_listed_newest_first_with_the_bytes_of_their_parts;
        losses:
            a_cluster_that_was_found_is_made_with_its_settings_in_its_first_transition,
            a_cluster_that_was_found_is_not_made_when_the_rule_refuses,
            what_the_archive_proves_is_committed_whatever_it_was_here,
            a_server_that_is_another_than_before_has_its_clusters_behind;
        parts:
            a_part_that_is_wanted_is_there_from_then_on,
            a_part_that_is_reported_again_changes_nothing_and_is_there,
            of_a_batch_that_has_a_part_twice_the_first_counts,
            stale_and_foreign_parts_are_refused,
            nobody_wants_the_parts_of_what_is_aborted,
            a_snapshot_is_complete_once_all_its_parts_are_there,
            of_two_last_parts_at_two_replicas_one_finds_the_snapshot_complete,
            what_somebody_has_to_drive_forward_is_complete_or_committing,
            the_latest_word_on_what_is_waited_for_counts,
            words_count_only_while_the_snapshot_is_recorded;
        remembered:
            it_is_carried_out_while_the_facts_are_as_remembered,
            whoever_decided_in_between_wins,
            of_two_replicas_at_once_one_is_carried_out,
            the_last_parts_go_with_it_in_one_commit,
            what_is_about_more_than_snapshots_takes_the_long_way,
            another_history_that_has_come_to_the_same_version_is_told_by_its_stamp,
            a_snapshot_that_is_another_by_now_has_it_change_nothing,
            a_server_that_may_have_lost_transactions_takes_the_long_way,
            a_cluster_that_never_had_a_transition_takes_the_long_way;
        restores:
            a_restore_goes_from_preparing_to_completed_and_is_known_from_then_on,
            a_rollback_that_begins_is_counted_within_its_window,
            what_proved_unreadable_is_known_and_where_to_fall_back_to,
            members_that_have_other_names_are_found_by_them;
        transitions:
            what_a_transition_gives_is_what_is_read_next,
            a_rule_that_refuses_changes_nothing,
            a_rule_that_changes_nothing_writes_nothing,
            a_rule_that_panics_changes_nothing,
            a_transition_goes_on_when_its_caller_goes_away,
            transitions_at_several_replicas_at_once_each_rest_on_the_others,
            a_snapshot_of_another_cluster_is_not_in_sight,
            however_many_are_aborted_the_newest_committed_ones_stay_in_sight,
            the_one_that_was_asked_about_is_in_sight_also_when_it_has_ended,
            what_a_rule_may_not_change_stays_as_it_is,
            each_version_has_a_stamp_of_its_own,
            of_requests_that_are_carried_out_together_each_is_in_its_own_rows,
            the_request_is_in_the_audit;
        uploads:
            an_upload_is_kept_while_its_part_is_wanted_and_until_it_is_forgotten,
            an_upload_that_nobody_wants_is_not_kept,
            what_was_under_way_is_told_once_the_snapshot_has_ended_and_is_stray_after_a_while;
    }
}
