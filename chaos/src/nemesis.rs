//! Carrying faults out and healing them.

use std::time::Duration;

use stillframe_e2e::{
    proxy::Weather,
    s3::{Failing, Failure, Held, Point, Requests},
};

use crate::{
    plan::{Break, Fault, StoreFault, Target},
    stage::Stage,
};

/// How much longer a chunk takes to or from a slow store.
const SLOWLY: Duration = Duration::from_millis(150);

/// One in how many chunks is hit when the store loses requests or answers.
const ONE_IN: u64 = 3;

/// What the gate of the store does while a fault lasts; it ends with this value.
#[derive(Debug)]
enum AtTheGate {
    Failing(Failing),
    Held(Held),
}

/// Holds what has to be kept while faults last.
#[derive(Debug, Default)]
pub struct Nemesis {
    gate: Option<AtTheGate>,
}

impl Nemesis {
    /// Begins a fault.
    ///
    /// # Panics
    ///
    /// When the system refuses a signal, or Postgres doesn't come back.
    pub async fn begin(&mut self, stage: &mut Stage, fault: Fault) {
        match fault {
            Fault::Kill(Target::Member(member)) => stage.members[member].kill(),
            Fault::Kill(Target::Replica(replica)) => stage.replicas[replica].kill(),
            Fault::Freeze(Target::Member(member)) => stage.members[member].process().freeze().await,
            Fault::Freeze(Target::Replica(replica)) => stage.replicas[replica].freeze().await,
            Fault::Kill(_) | Fault::Freeze(_) => {}
            Fault::RestartPostgres => {
                let restarted = stage.postgres.restart_immediate().await;
                restarted.unwrap_or_else(|error| panic!("Postgres doesn't come back: {error}"));
            }
            Fault::Store(fault) => self.fail_store(stage, fault),
            Fault::Way(target, how) => set(stage, target, weather(how)),
        }
    }

    fn fail_store(&mut self, stage: &Stage, fault: StoreFault) {
        let gate = stage.store.gate();
        match fault {
            StoreFault::Refuses => {
                let failing = gate.fail(Requests::default(), Point::BeforeTheWork, Failure::SlowDown);
                self.gate = Some(AtTheGate::Failing(failing));
            }
            StoreFault::Late => {
                self.gate = Some(AtTheGate::Held(gate.hold(Requests::writes(), Point::BeforeTheWork, usize::MAX)));
            }
            StoreFault::Away => stage.lines.store.set(Weather::Cut),
            StoreFault::Slow => stage.lines.store.set(Weather::Slow(SLOWLY)),
            StoreFault::Tears => stage.lines.store.set(Weather::Tearing { one_in: ONE_IN }),
            StoreFault::Forgets => stage.lines.store.set(Weather::Forgetful { one_in: ONE_IN }),
        }
    }

    /// Heals a fault.
    ///
    /// # Panics
    ///
    /// When the system refuses a signal or a process.
    pub async fn heal(&mut self, stage: &mut Stage, fault: Fault) {
        match fault {
            Fault::Kill(Target::Member(member)) => stage.members[member].start_again(),
            Fault::Kill(Target::Replica(replica)) => stage.replicas[replica].start(),
            Fault::Freeze(Target::Member(member)) => stage.members[member].process().thaw().await,
            Fault::Freeze(Target::Replica(replica)) => stage.replicas[replica].thaw().await,
            Fault::Kill(_) | Fault::Freeze(_) | Fault::RestartPostgres => {}
            Fault::Store(_) => {
                match self.gate.take() {
                    Some(AtTheGate::Held(held)) => held.let_through(),
                    Some(AtTheGate::Failing(failing)) => drop(failing),
                    None => {}
                }
                stage.lines.store.set(Weather::Fair);
            }
            Fault::Way(target, _) => set(stage, target, Weather::Fair),
        }
    }
}

fn set(stage: &Stage, target: Target, weather: Weather) {
    if let Some(line) = stage.lines.of(target) {
        line.set(weather);
    }
}

fn weather(how: Break) -> Weather {
    match how {
        Break::Cut => Weather::Cut,
        Break::Silent => Weather::Held { forth: true, back: true },
        Break::OneWayForth => Weather::Held { forth: true, back: false },
        Break::OneWayBack => Weather::Held { forth: false, back: true },
    }
}
