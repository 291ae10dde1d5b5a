//! Polling and reporting, both until they are answered; and the lease.

use super::Process;
use crate::{
    Checked,
    event::Event,
    plan::MS,
    words::{Ask, Report, Tell},
    world::World,
};

/// How often a member asks at least.
const POLL_EVERY: u64 = 120 * MS;

impl World {
    /// Sends something to a replica; it may be lost, late, or come twice.
    fn ask(&mut self, number: u64, process: &Process, ask: Ask) {
        let (replica, slot) = (process.replica, process.slot);
        for _ in 0..self.copies() {
            let delay = self.rng.u64(MS / 5..=self.plan.word_delay_us) * process.slowness;
            let ask = ask.clone();
            self.after(delay, Event::Asked { replica, process: number, slot, asked_at: self.now, ask });
        }
    }

    /// Answers a member; that may be lost, late, or come twice.
    pub(crate) fn tell(&mut self, replica: usize, process: u64, asked_at: u64, tell: Tell) {
        let Some(slot) = self.processes.get(&process).map(|process| process.slot) else { return };
        if self.network.is_control_cut(slot, replica, self.now) {
            return;
        }
        for _ in 0..self.copies() {
            let delay = self.rng.u64(MS / 5..=self.plan.word_delay_us);
            self.after(delay, Event::Told { process, asked_at, tell: tell.clone() });
        }
    }

    /// How often a word to or from the coordinator arrives.
    fn copies(&mut self) -> u32 {
        if self.healed {
            return 1;
        }
        let draw = self.rng.u32(0..1_000);
        if draw < self.plan.words_lost {
            self.stats.fault("word lost");
            0
        } else if draw < self.plan.words_lost + self.plan.words_repeated {
            self.stats.fault("word repeated");
            2
        } else {
            1
        }
    }

    pub(crate) fn poll(&mut self, number: u64, process: &mut Process) -> Checked {
        let again = POLL_EVERY + self.rng.u64(0..=POLL_EVERY / 3);
        self.after(again * process.slowness, Event::Poll { process: number });
        if self.replicas.len() > 1 && (self.rng.u8(..) < 10 || self.now > process.lease_until) {
            process.replica = self.rng.usize(0..self.replicas.len());
        }
        if self.now >= process.lease_until && !process.holds {
            self.note(format_args!("p{}#{number} holds: its lease ran out", process.slot));
            process.holds = true;
        }
        let Some((_, incarnation)) = process.registered else {
            let instance = process.instance;
            self.ask(number, process, Ask::Register { instance });
            return Ok(());
        };
        self.ask(number, process, Ask::Poll { incarnation, after: process.revision });
        let reports: Vec<u64> = process.reports.keys().copied().collect();
        reports.into_iter().for_each(|report| self.send_report(number, process, report));
        self.look_after_leaving(number, process)
    }

    pub(super) fn send_report(&mut self, number: u64, process: &Process, report: u64) {
        let Some((_, incarnation)) = process.registered else { return };
        if let Some(what) = process.reports.get(&report) {
            self.ask(number, process, Ask::Report { number: report, incarnation, report: what.clone() });
        }
    }

    /// Reports something that is said again, if need be, at the next poll.
    pub(super) fn say_once(&mut self, number: u64, process: &Process, report: Report) {
        let Some((_, incarnation)) = process.registered else { return };
        self.ask(number, process, Ask::Report { number: 0, incarnation, report });
    }

    /// The coordinator's word arrives. False if the process has to end.
    pub(crate) fn told(&mut self, number: u64, process: &mut Process, asked_at: u64, tell: Tell) -> Result<bool, String> {
        let lease_until = asked_at + self.plan.lease_us;
        match tell {
            Tell::Fenced => {
                self.note(format_args!("p{}#{number} is fenced", process.slot));
                return Ok(false);
            }
            Tell::Taken { number } => drop(process.reports.remove(&number)),
            Tell::Registered { member, incarnation } => {
                if process.registered.is_none() {
                    self.note(format_args!("p{}#{number} is member {member} incarnation {incarnation}", process.slot));
                    process.registered = Some((member, incarnation));
                    process.lease_until = lease_until;
                    let ask = Ask::Poll { incarnation, after: 0 };
                    self.ask(number, process, ask);
                }
            }
            Tell::Assigned(assignment) => {
                process.lease_until = process.lease_until.max(lease_until);
                // A poll's answer that was overtaken by a newer one.
                if assignment.revision >= process.revision {
                    let news = assignment.revision > process.revision;
                    process.revision = assignment.revision;
                    let goes_on = self.follow(number, process, &assignment)?;
                    if goes_on
                        && news
                        && let Some((_, incarnation)) = process.registered
                    {
                        self.ask(number, process, Ask::Poll { incarnation, after: assignment.revision });
                    }
                    return Ok(goes_on);
                }
            }
        }
        Ok(true)
    }
}
