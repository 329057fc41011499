//! The conformance suite of stores: every case runs on each store.
//!
//! A case is an async function over an [`script::App`] of its own, so that cases share a
//! deployment; it uses only the [`imquota::ledger::Ledger`] trait, and never sets the time, since
//! some stores have their own clock. A new store is a function in `stores` and a word at the end
//! of this file; a new case is a public function and a line of `stamp!`.

mod accounts;
mod batches;
mod friends;
mod groups;
mod hold_ends;
mod hold_repairs;
mod hold_script;
mod holdings;
mod holds;
mod limits;
mod logins;
mod members;
mod metering;
mod modes;
mod operations;
mod qualified;
mod races;
mod reconcile;
mod replaced;
mod script;
mod stores;
mod warnings;
mod whole;

/// One test for each case.
macro_rules! tests_over {
    ($store:ident: $($module:ident { $($case:ident)* })*) => {
        $($(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let store = super::stores::$store().await;
                let app = super::script::App::new(&store);
                if store.is_coalesced {
                    // Operations of unregistered apps are not decided together.
                    app.register().await;
                }
                super::$module::$case(app).await;
                store.ledger.close().await;
            }
        )*)*
    };
}

macro_rules! stamp {
    ($store:ident) => {
        tests_over! { $store:
            accounts {
                an_account_is_counted_once_and_refused_over_the_limit
                a_deleted_account_makes_room
                deleting_an_account_releases_friendships_of_both_sides_and_groups
                deleting_nothing_is_not_held
            }
            friends {
                mutual_friendships_count_in_both_lists
                one_way_friendships_count_in_one_list
                two_one_ways_make_both_ways
                the_missing_side_of_a_mutual_friendship_is_added
                sides_are_removed_one_by_one
                a_full_list_is_named_with_its_user
                followers_count_for_no_list
            }
            groups {
                a_group_is_created_with_its_owner_and_members
                creating_again_joins_the_missing_members
                an_id_in_use_by_another_type_is_an_error
                only_a_member_over_their_own_limit_is_denied
                an_owner_over_their_limit_denies_the_whole_creation
                creation_fills_up_to_the_lowest_limit
                groups_of_a_type_at_once_are_limited
                net_new_groups_of_a_day_are_limited
                a_groups_own_limit_can_change
                a_dissolution_releases_all_members
                types_that_count_for_no_user_and_stay_when_empty
            }
            members {
                the_first_members_that_fit_are_admitted_in_order
                a_member_is_held_although_the_group_is_full
                leaving_makes_room_and_is_applied_once
                a_group_is_reclaimed_with_its_last_member
                an_unknown_group_cannot_be_joined_and_need_not_be_left
                members_of_an_untracked_group_are_not_counted
            }
            modes {
                a_check_decides_within_itself_and_writes_nothing
                shadow_writes_everything_and_reports
                force_writes_everything_and_is_silent
                releases_and_changes_have_no_mode
                users_far_from_every_limit_are_decided_equally_in_each_mode
            }
            limits {
                nothing_is_done_after_the_deadline
                a_stopped_service_takes_nothing_and_releases
                a_stopped_service_takes_nothing_however_far_the_limits
                an_unknown_app_is_refused
                a_later_revision_of_the_schedule_counts
                no_group_beyond_the_free_number_without_overage
                the_free_number_of_groups_is_a_limit_in_every_mode
                the_last_free_groups_are_admitted_exactly_in_a_race
                limits_change_by_themselves_when_their_time_comes
                a_violation_names_limit_source_ceiling_and_type
                a_reading_shows_the_schedule
                a_closed_store_returns_its_error
            }
            qualified {
                members_of_a_type_stand_instead_of_those_of_all_types
                members_of_a_type_are_a_limit_in_every_mode
                sixty_four_joins_fill_a_group_up_to_the_limit_of_its_type
                no_group_beyond_the_number_of_all_types
                groups_of_a_day_are_limited_by_the_edition_within_the_rule
                violations_of_sold_limits_name_edition_and_ceiling
                sold_limits_have_thresholds
            }
            logins {
                a_user_beyond_the_limit_of_a_day_is_denied_and_one_who_was_counted_is_not
                a_user_beyond_the_limit_of_a_month_is_denied_and_one_who_was_counted_is_not
                limits_on_logins_have_every_mode
                a_denial_of_a_login_names_limit_source_and_reason
                the_last_users_of_a_month_are_admitted_exactly_in_a_race
            }
            batches {
                five_hundred_members_at_once
                six_hundred_members_are_released
                a_thousand_friends_at_once
                a_large_check_counts_its_own_takes
                a_large_check_of_untracked_members_admits_a_repeated_one_again
                ids_of_any_characters_are_distinct
            }
            whole {
                no_account_of_a_refused_batch_is_created
                no_friend_of_a_refused_batch_is_added
                no_member_of_a_refused_batch_is_added
                a_group_is_not_created_without_all_of_its_members
                a_denied_group_aborts_its_members
                nothing_is_aborted_without_a_denial
                shadow_and_force_abort_nothing
                a_stopped_service_denies_all_of_a_whole_batch
                five_hundred_are_one_step
                refused_batches_cross_no_threshold
                sixty_four_batches_of_three_fill_a_group_of_one_hundred_to_ninety_nine
                refused_batches_take_no_room_from_other_joins
            }
            holds {
                a_hold_counts_at_once
                an_expired_hold_counts_as_absent
                no_expired_hold_denies_or_is_reported
                a_repetition_is_repeated_while_the_hold_lives
                after_its_end_an_id_begins_a_new_hold
                a_fact_of_two_holds_counts_once_and_ends_with_the_last
                a_take_without_a_hold_makes_permanent
                a_held_group_does_not_end_before_its_members
                only_what_was_admitted_is_held
                members_that_are_not_tracked_are_not_held
                a_held_group_is_billed_from_its_confirmation
                a_sweep_removes_what_has_expired_once
                records_of_holds_are_bounded
                sixty_four_callers_of_whom_half_confirm_never_exceed_the_limit
                five_hundred_members_with_a_hold_are_one_step
            }
            replaced {
                a_held_group_becomes_permanent_under_its_new_id
                the_holds_run_on_under_the_new_id
                what_runs_on_expires_under_the_new_id
                what_expired_before_is_confirmed_late_under_the_new_id
                without_a_held_group_the_creation_is_a_normal_one
                only_a_held_group_of_the_same_type_is_replaced
                a_denied_owner_moves_nothing
                the_own_limit_is_that_of_the_request_or_stays
                five_hundred_members_are_moved_and_no_more
                joins_meanwhile_are_moved_or_find_no_group
            }
            hold_ends {
                an_unknown_hold_is_not_found
                an_end_may_be_repeated_whatever_has_ended_the_hold
                a_confirmed_hold_is_permanent
                a_released_hold_is_gone
                one_confirmed_hold_of_two_is_enough
                of_two_holds_one_released_leaves_the_other
                a_confirmation_after_the_expiry_takes_anew
                a_release_after_the_expiry_removes_no_later_take
                an_expired_creation_is_denied_whole_without_its_owner
                members_of_a_group_that_is_gone_are_not_taken_anew
                a_confirmation_as_of_before_the_expiry_is_in_time
                a_leave_ends_the_hold_for_good
                a_dissolution_ends_the_holds_of_group_and_members
                members_of_a_dissolved_group_are_not_taken_anew
                the_last_member_reclaims_a_held_group
                a_permanent_member_makes_a_held_group_permanent
                each_side_of_a_friendship_is_held_by_itself
            }
            hold_repairs {
                held_facts_are_reported_and_left_alone_by_a_repair
                a_repair_adds_no_member_to_a_held_group
                what_ends_or_confirms_a_hold_is_tracked
                an_expiry_is_tracked
                a_group_that_becomes_permanent_with_a_member_is_tracked
            }
            reconcile {
                differences_are_found_on_either_side
                a_repair_makes_the_facts_equal_to_the_export
                an_import_only_adds_and_ignores_limits
                facts_touched_by_live_traffic_are_left_alone
                single_joins_far_from_every_limit_are_left_alone
                a_touched_group_keeps_its_members
                denied_and_dry_run_calls_are_not_tracked
                both_ways_are_tracked_and_one_way_alone
                a_group_of_another_type_is_reported_and_left_alone
                members_that_are_not_tracked_are_not_compared
                restarted_tracking_is_a_new_one
                an_unknown_app_is_refused_here_too
                a_scan_visits_every_subject
                large_groups_and_lists_are_compared_whole
            }
            holdings {
                a_scan_visits_all_subjects_with_their_usage
                a_scan_of_a_large_app_is_complete
                a_group_is_whole_or_missing_while_it_is_dissolved
                no_scan_runs_after_the_deadline
            }
            warnings {
                each_threshold_is_crossed_once_on_the_way_up
                the_free_number_of_groups_has_thresholds_like_other_limits
                a_threshold_is_crossed_again_after_usage_fell_five_points_below
                an_operation_over_several_thresholds_crosses_the_highest
                every_usage_has_the_thresholds_of_its_own_limit
                net_new_groups_of_a_day_have_thresholds
                denied_and_dry_run_calls_cross_no_threshold
                thresholds_follow_a_changed_limit
                imported_facts_cross_thresholds_with_the_next_take
                deleted_subjects_cross_thresholds_anew
                a_race_crosses_each_threshold_once
                a_race_of_one_users_groups_crosses_each_threshold_once
                each_admitted_user_crosses_thresholds_separately_and_once
                net_new_groups_of_a_type_have_thresholds
                random_joins_and_leaves_cross_the_thresholds_of_a_plain_model
                no_threshold_is_crossed_after_the_deadline
            }
            metering {
                a_user_counts_once_on_each_day
                logins_are_refused_one_by_one
                logins_count_alike_in_any_order
                six_hundred_logins_at_once
                a_race_counts_each_user_once
                the_highest_sample_of_a_day_and_name_is_kept
                a_large_group_comes_and_goes_as_one
                nothing_is_metered_after_the_deadline_or_for_an_unknown_app
            }
            races {
                twenty_of_sixty_four_callers_are_admitted_up_to_a_limit_of_twenty
                one_users_groups_are_counted_across_groups
                one_account_is_taken_once
                friendships_from_both_sides_count_once
                two_apps_do_not_disturb_each_other
                of_many_dissolutions_of_one_group_one_is_applied
                a_dissolved_large_creation_adds_no_member_to_the_next_group
                a_large_leave_during_a_dissolution_removes_no_member_of_the_next_group
            }
        }
    };
}

macro_rules! conformance {
    ($($store:ident),* $(,)?) => {
        $(
            mod $store {
                stamp! { $store }
            }
        )*
    };
}

conformance!(memory, embedded, standalone, coalesced_standalone, sentinel, cluster);
