//! Each rule is needed: without it the same checks, on the same schedules, find something wrong.

use stillframe_protocol::participant::BrokenRule;

use crate::world::{Broken, BrokenRestore, Plan, run};

/// How many schedules are tried at most. That they all pass with every rule kept is shown by `with_every_rule_kept_the_same_schedules_pass`.
const SEEDS: u64 = 60;
const STEPS: usize = 500;

fn caught(rule: BrokenRule) {
    let found =
        (0..SEEDS).find_map(|seed| run(&Plan::of_seed(seed, STEPS), Some(Broken::Rule(rule))).err().map(|why| (seed, why)));
    let (seed, why) = found.unwrap_or_else(|| panic!("no schedule of {SEEDS} needs the rule that {rule:?} breaks"));
    println!("{rule:?} is caught by seed {seed}: {why}");
}

#[test]
fn with_every_rule_kept_the_same_schedules_pass() {
    for seed in 0..SEEDS {
        if let Err(why) = run(&Plan::of_seed(seed, STEPS), None) {
            panic!("seed {seed}: {why}");
        }
        if let Err(why) = run(&Plan::of_seed(seed, STEPS).sender_logged(), None) {
            panic!("sender-logged, seed {seed}: {why}");
        }
    }
}

fn restore_caught(broken: BrokenRestore) {
    let plan = |seed| Plan::of_seed(seed, STEPS).sender_logged();
    let found = (0..SEEDS).find_map(|seed| run(&plan(seed), Some(Broken::Restore(broken))).err().map(|why| (seed, why)));
    let (seed, why) = found.unwrap_or_else(|| panic!("no schedule of {SEEDS} needs what {broken:?} breaks"));
    println!("{broken:?} is caught by seed {seed}: {why}");
}

#[test]
fn a_restore_that_sends_again_what_had_arrived_is_caught() {
    restore_caught(BrokenRestore::RepeatsArrived);
}

#[test]
fn a_restore_that_forgets_the_log_is_caught() {
    restore_caught(BrokenRestore::ForgetsLog);
}

#[test]
fn delivering_before_cutting_is_caught() {
    caught(BrokenRule::DeliverBeforeCut);
}

#[test]
fn a_marker_behind_a_later_message_is_caught() {
    caught(BrokenRule::MarkerBehindLaterMessage);
}

#[test]
fn not_recording_is_caught() {
    caught(BrokenRule::NoRecording);
}

#[test]
fn closing_a_channel_at_its_marker_although_messages_are_missing_is_caught() {
    caught(BrokenRule::CloseAtMarker);
}

#[test]
fn a_retransmission_that_takes_the_new_epoch_is_caught() {
    caught(BrokenRule::RetransmissionTakesNewEpoch);
}

#[test]
fn accepting_an_old_generation_is_caught() {
    caught(BrokenRule::OldGenerationAccepted);
}
