//! What every store must do alike: one suite, stamped on each of them.
//!
//! A case is an async function over an [`script::App`] of its own, so that cases share a
//! deployment; it asks only the [`imquota::ledger::Ledger`] trait, and never sets the time, since
//! some stores have their own clock. A new store is a function in `stores` and a word at the end
//! of this file; a new case is a public function and a line of `stamp!`.

mod accounts;
mod batches;
mod friends;
mod groups;
mod holdings;
mod limits;
mod members;
mod metering;
mod modes;
mod operations;
mod races;
mod reconcile;
mod script;
mod stores;
mod warnings;

/// One test for each case.
macro_rules! tests_over {
    ($store:ident: $($module:ident { $($case:ident)* })*) => {
        $($(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let store = super::stores::$store().await;
                super::$module::$case(super::script::App::new(&store)).await;
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
                deleting_an_account_gives_back_friendships_of_both_sides_and_groups
                deleting_nothing_is_not_held
            }
            friends {
                both_ways_takes_a_place_in_either_list
                one_way_takes_a_place_in_one_list
                two_one_ways_make_both_ways
                what_is_missing_of_both_ways_is_added
                sides_are_removed_one_by_one
                a_full_list_is_named_by_whose_it_is
                fans_take_no_place
            }
            groups {
                a_group_is_created_with_its_owner_and_members
                creating_again_joins_whoever_is_missing
                an_id_in_use_by_another_type_is_an_error
                a_member_over_his_own_limit_is_refused_alone
                an_owner_over_his_limit_denies_the_whole_creation
                creation_fills_up_to_the_lowest_limit
                groups_of_a_type_at_once_are_limited
                net_new_groups_of_a_day_are_limited
                a_groups_own_limit_can_change
                a_dissolution_gives_everybody_back
                types_that_cost_users_nothing_and_stay_when_empty
            }
            members {
                the_first_who_fit_are_admitted_in_order
                a_member_is_held_although_the_group_is_full
                leaving_makes_room_and_is_done_once
                the_last_to_leave_takes_the_group_with_him
                an_unknown_group_cannot_be_joined_and_need_not_be_left
                members_of_an_untracked_group_are_not_counted
            }
            modes {
                a_check_decides_within_itself_and_writes_nothing
                shadow_writes_everything_and_reports
                force_writes_everything_and_is_silent
                releases_and_changes_have_no_mode
                who_is_far_from_every_limit_is_decided_in_each_mode_as_anybody
            }
            limits {
                nothing_is_done_after_the_deadline
                a_stopped_service_takes_nothing_and_releases
                a_stopped_service_takes_nothing_however_far_the_limits
                an_unknown_app_is_refused
                a_later_revision_of_the_schedule_counts
                no_group_beyond_the_free_number_where_nothing_may_run_over
                the_free_number_of_groups_is_a_limit_in_every_mode
                the_last_free_groups_go_to_as_many_of_thirty_two
                limits_change_by_themselves_when_their_time_comes
                a_breach_names_limit_source_ceiling_and_type
                a_reading_shows_the_schedule
                a_closed_store_says_so
            }
            batches {
                five_hundred_members_at_once
                six_hundred_members_are_released
                a_thousand_friends_at_once
                a_large_check_finds_what_it_took_itself
                a_large_check_of_untracked_members_admits_a_repeated_one_again
                ids_of_any_printable_bytes_are_told_apart
            }
            reconcile {
                what_differs_is_found_on_either_side
                a_repair_makes_the_facts_what_was_claimed
                an_import_only_adds_and_goes_by_no_limit
                what_live_traffic_asked_for_is_left_alone
                who_joined_alone_and_far_from_every_limit_is_left_alone
                a_group_that_lives_keeps_its_members_and_they_keep_it
                what_was_denied_or_only_checked_is_not_tracked
                both_ways_are_tracked_and_one_way_alone
                a_group_of_another_type_is_told_and_left
                members_that_are_not_tracked_are_not_compared
                tracking_that_was_begun_anew_is_another_one
                an_unknown_app_is_refused_here_too
                every_subject_is_gone_through
                large_groups_and_lists_are_compared_whole
            }
            holdings {
                everybody_is_gone_through_with_what_they_hold
                nobody_of_a_large_app_is_left_out
                a_group_is_whole_or_gone_while_it_is_dissolved
                nobody_is_gone_through_after_the_deadline
            }
            warnings {
                each_threshold_warns_once_on_the_way_up
                the_free_number_of_groups_warns_as_other_limits_do
                a_threshold_warns_again_after_the_count_fell_five_points_below
                what_passes_several_thresholds_warns_of_the_highest
                every_count_warns_by_its_own_limit
                net_new_groups_of_a_day_warn
                what_is_only_checked_or_denied_warns_of_nothing
                a_limit_that_changed_is_judged_as_it_is
                imported_facts_warn_with_the_next_take
                what_is_gone_is_warned_of_anew
                a_race_warns_of_each_threshold_once
                a_race_of_one_users_groups_warns_of_each_threshold_once
                everybody_who_is_taken_in_is_judged_by_himself_and_once
                net_new_groups_of_a_type_warn
                random_joins_and_leaves_warn_as_a_plain_model_does
                nothing_is_warned_of_after_the_deadline
            }
            metering {
                a_user_counts_once_on_each_day
                logins_are_refused_one_by_one
                logins_count_alike_in_any_order
                six_hundred_logins_at_once
                a_race_counts_each_user_once
                the_highest_bandwidth_of_a_day_and_region_is_kept
                a_large_group_comes_and_goes_as_one
                nothing_is_metered_after_the_deadline_or_for_an_unknown_app
            }
            races {
                twenty_places_go_to_twenty_of_sixty_four
                one_users_groups_are_counted_across_groups
                one_account_is_taken_once
                friendships_from_both_sides_count_once
                two_apps_do_not_disturb_each_other
                of_many_dissolutions_of_one_group_one_is_applied
                a_large_creation_that_is_dissolved_adds_nobody_to_the_next_group
                a_large_leave_that_meets_a_dissolution_takes_nobody_out_of_the_next_group
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

conformance!(memory, embedded, standalone, sentinel, cluster);
