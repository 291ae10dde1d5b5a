//! Each model keeps its promises within small bounds, reaches what it is about, and catches the rules that it is there for.

use stillframe_protocol::participant::BrokenRule;

use super::{
    bounds::{BrokenRestore, Depth, Named},
    check::check,
};

fn holds(model: Named) {
    let report = check(model.bounds(Depth::Small), Depth::Small);
    println!("{}: {} states, {} of them different, {} deep", report.name, report.states, report.unique, report.depth);
    assert!(report.broken.is_empty(), "{}: {}", report.name, report.broken.join("\n"));
    assert!(report.unreached.is_empty(), "{} doesn't reach: {:?}", report.name, report.unreached);
}

macro_rules! models {
    ($($(#[$attribute:meta])* $test:ident: $model:ident,)+) => {
        $($(#[$attribute])* #[test] fn $test() { holds(Named::$model); })+

        #[test]
        fn every_model_has_its_test() {
            assert_eq!([$(Named::$model),+], Named::ALL);
        }
    };
}

models! {
    every_cut_of_a_fifo_ring_is_exact: Fifo,
    every_cut_of_two_fifo_channels_into_one_member_is_exact: FifoIntoOne,
    fifo_connections_that_break_lose_and_repeat_nothing: FifoBreaks,
    a_fifo_connection_that_loses_or_misroutes_is_found_out: FifoLies,
    every_cut_over_datagrams_is_exact_whatever_is_lost_or_repeated: Unordered,
    everything_sent_as_datagrams_arrives_in_the_end: UnorderedEnds,
    channels_may_open_at_any_time: Opening,
    concurrent_epochs_over_fifo_do_not_disturb_each_other: Epochs,
    concurrent_epochs_over_datagrams_do_not_disturb_each_other: EpochsUnordered,
    a_new_incarnation_begins_anew_over_fifo: Crash,
    a_new_incarnation_begins_anew_over_datagrams: CrashUnordered,
    a_restore_loses_and_repeats_nothing_over_fifo: Restore,
    a_restore_loses_and_repeats_nothing_over_datagrams: RestoreUnordered,
    every_sender_logged_cut_is_exact: Logged,
    every_sender_logged_cut_is_exact_though_connections_break: LoggedBreaks,
    every_sender_logged_cut_over_datagrams_is_exact: LoggedUnordered,
    what_was_logged_for_an_old_incarnation_is_not_taken_for_the_new_one: LoggedCrash,
    a_restore_delivers_what_was_logged_and_not_received: LoggedRestore,
    every_aligned_cut_is_exact_with_empty_channels: Aligned,
    aligned_epochs_do_not_disturb_each_other: AlignedEpochs,
    an_alignment_that_takes_too_long_is_exact_with_what_is_recorded: AlignedTimeout,
    aligned_channels_may_open_at_any_time: AlignedOpening,
    aligned_connections_that_break_lose_and_repeat_nothing: AlignedBreaks,
    an_abort_lets_aligned_members_go_on: AlignedAborts,
    a_new_incarnation_begins_anew_in_an_aligned_cluster: AlignedCrash,
    a_restore_loses_and_repeats_nothing_in_an_aligned_cluster: AlignedRestore,
}

#[test]
fn each_broken_rule_is_caught_by_its_models() {
    let mut missed = Vec::new();
    for rule in BrokenRule::ALL {
        for &model in Named::catching(rule) {
            let report = check(model.bounds(Depth::Small).without(rule), Depth::Small);
            match report.broken.first() {
                Some(why) => println!(
                    "{rule:?} is caught by `{}` after {} states: {}",
                    report.name,
                    report.states,
                    why.lines().next().unwrap_or("")
                ),
                None => missed.push((rule, report.name)),
            }
        }
    }
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

#[test]
fn each_broken_way_to_put_back_what_was_logged_is_caught() {
    for broken in [BrokenRestore::RepeatsArrived, BrokenRestore::ForgetsLog] {
        let report = check(Named::LoggedRestore.bounds(Depth::Small).with_broken_restore(broken), Depth::Small);
        let why = report.broken.first().unwrap_or_else(|| panic!("{broken:?} isn't caught by `{}`", report.name));
        println!(
            "{broken:?} is caught by `{}` after {} states: {}",
            report.name,
            report.states,
            why.lines().next().unwrap_or("")
        );
    }
}
