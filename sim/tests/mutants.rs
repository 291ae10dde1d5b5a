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

/// The rules of the participant that these seeds need. What the others cost is memory, or nothing in such a world; `protocol/tests/` catches every one.
const NEEDED: [BrokenRule; 21] = [
    BrokenRule::DeliverBeforeCut,
    BrokenRule::MarkerBehindLaterMessage,
    BrokenRule::MarkerDoesNotCut,
    BrokenRule::HandshakeDoesNotCut,
    BrokenRule::EpochGoesBack,
    BrokenRule::RetransmissionTakesNewEpoch,
    BrokenRule::NoRecording,
    BrokenRule::RecordsLaterMessages,
    BrokenRule::CloseAtMarker,
    BrokenRule::SealsAtFirstClose,
    BrokenRule::DeliversTwice,
    BrokenRule::OldGenerationAccepted,
    BrokenRule::OldIncarnationAccepted,
    BrokenRule::ForgetsUnacknowledged,
    BrokenRule::MarkersNotRepeated,
    BrokenRule::AcknowledgementDoesNotCut,
    BrokenRule::AcknowledgedBeforeCut,
    BrokenRule::LogsNothing,
    BrokenRule::AlignedDeliversLater,
    BrokenRule::AlignsAtFirstMarker,
    BrokenRule::AlignedOpensEarly,
];

#[test]
fn a_participant_without_one_of_the_rules_that_matter_here_is_caught() {
    NEEDED.into_iter().for_each(|rule| caught(Mutant::Participant(rule)));
}

#[test]
fn a_restore_that_sends_again_what_had_arrived_is_caught() {
    caught(Mutant::RepeatsArrived);
}

#[test]
fn a_restore_that_forgets_what_was_logged_is_caught() {
    caught(Mutant::ForgetsLog);
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
fn every_way_to_break_the_coordinator_has_its_test() {
    assert_eq!(BrokenCoordinator::ALL.len(), 6);
}
