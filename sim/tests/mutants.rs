//! Each rule is needed: without it the same checks, on the same seeds, find something wrong.

use stillframe_protocol::participant::BrokenRule;
use stillframe_sim::{BrokenCoordinator, Mutant, Options, run};

/// How many seeds are tried at most. That they hold with every rule kept is shown in `seeds`.
const SEEDS: u64 = 200;

fn caught(mutant: Mutant) {
    let options = Options { mutant: Some(mutant), ..Options::default() };
    let found = (0..SEEDS).find_map(|seed| run(seed, options).err());
    let failure = found.unwrap_or_else(|| panic!("no seed of {SEEDS} needs what {mutant:?} breaks"));
    println!("{mutant:?} is caught by seed {}: {}", failure.seed, failure.what);
    let told = failure.to_string();
    assert!(told.contains(&format!("cargo sim --from {} --seeds 1 --trace", failure.seed)), "it says how to replay it: {told}");
    assert!(!failure.tail.is_empty(), "it shows what happened before");
    // And by the same again.
    assert_eq!(run(failure.seed, options).err(), Some(failure));
}

#[test]
fn delivering_before_cutting_is_caught() {
    caught(Mutant::Participant(BrokenRule::DeliverBeforeCut));
}

#[test]
fn a_marker_behind_a_later_message_is_caught() {
    caught(Mutant::Participant(BrokenRule::MarkerBehindLaterMessage));
}

#[test]
fn not_recording_is_caught() {
    caught(Mutant::Participant(BrokenRule::NoRecording));
}

#[test]
fn closing_a_channel_at_its_marker_although_messages_are_missing_is_caught() {
    caught(Mutant::Participant(BrokenRule::CloseAtMarker));
}

#[test]
fn a_retransmission_that_takes_the_new_epoch_is_caught() {
    caught(Mutant::Participant(BrokenRule::RetransmissionTakesNewEpoch));
}

#[test]
fn accepting_an_old_generation_is_caught() {
    caught(Mutant::Participant(BrokenRule::OldGenerationAccepted));
}

#[test]
fn a_coordinator_that_commits_without_looking_at_the_certificate_is_caught() {
    caught(Mutant::CommitsUnproved);
}

#[test]
fn a_coordinator_that_commits_what_lacks_a_part_is_caught() {
    caught(Mutant::Coordinator(BrokenCoordinator::CommitsIncomplete));
}

#[test]
fn a_coordinator_that_takes_another_incarnation_for_the_one_it_knows_is_caught() {
    caught(Mutant::Coordinator(BrokenCoordinator::AcceptsOtherIncarnation));
}

#[test]
fn a_coordinator_that_believes_words_of_the_past_is_caught() {
    caught(Mutant::Coordinator(BrokenCoordinator::AcceptsStaleWords));
}

#[test]
fn a_coordinator_that_gives_out_an_epoch_again_is_caught() {
    caught(Mutant::Coordinator(BrokenCoordinator::ReusesEpochs));
}

#[test]
fn a_coordinator_that_writes_decisions_on_overtaken_facts_is_caught() {
    caught(Mutant::Coordinator(BrokenCoordinator::IgnoresVersions));
}

#[test]
fn a_coordinator_that_forgets_deadlines_is_caught() {
    caught(Mutant::Coordinator(BrokenCoordinator::ForgetsDeadlines));
}

#[test]
fn every_broken_rule_has_its_test() {
    assert_eq!((BrokenRule::ALL.len(), BrokenCoordinator::ALL.len()), (6, 6));
}
