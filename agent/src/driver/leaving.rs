//! Leaving in good order, and letting others leave. Level-triggered: what is said to the coordinator follows from how far this member is and from
//! what the assignment says, and is said again for as long as it makes no difference.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use stillframe_api::agent::{Leave, ReportEvent, SentBy};
use stillframe_protocol::{Generation, Incarnation, MemberId, Participant, Received, Sent};
use tracing::Instrument;

use super::{channel::AbortOnDrop, live::Live, recordings::Outward};
use crate::{application::Application, context::Context, control::reporter::Reported, directory::Directory};

/// After this time something is said again that couldn't be taken yet.
const SAY_AGAIN: Duration = Duration::from_millis(250);

/// After this time something is said again that was refused: an operator may have changed what spoke against it.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How far this member is, in one generation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    /// It stays.
    #[default]
    Stays,
    /// Its application wants to leave.
    Wants,
    /// Nothing comes any more, and the application has had its last word: it sends nothing either.
    Silent,
}

/// How far this member's leaving is, in one generation.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    reached: Reached,
    /// The application was told that it is to leave.
    told: bool,
    /// What the coordinator says.
    word: Option<Leave>,
    /// The report that is being made.
    report: Option<(Reached, AbortOnDrop)>,
}

impl Leaving {
    /// The application wants to leave.
    pub(crate) fn want(&mut self) {
        self.reached = self.reached.max(Reached::Wants);
    }

    /// Whether nothing is sent any more.
    pub(crate) fn is_silent(&self) -> bool {
        self.reached == Reached::Silent
    }

    /// What the coordinator says now.
    pub(super) fn heard(&mut self, word: Option<Leave>) {
        if word.is_none() && self.word.is_some() {
            // It may be asked again.
            self.told = false;
        }
        self.word = word;
    }

    /// Whether there is anything to look after.
    pub(super) fn is_under_way(&self) -> bool {
        self.reached != Reached::Stays || self.word.is_some()
    }

    fn says(&mut self, what: Reached, outward: &Outward, event: impl FnOnce() -> ReportEvent) {
        let said = self.report.as_ref().is_some_and(|(said, task)| *said == what && !task.0.is_finished());
        if !said {
            self.report = Some((what, outward.report_until_taken(event())));
        }
    }
}

impl Outward {
    /// Reports until the coordinator takes note of it: also while the cluster isn't in a state to, and while it refuses.
    pub(crate) fn report_until_taken(&self, event: ReportEvent) -> AbortOnDrop {
        let reporter = self.reporter.clone();
        let report = async move {
            loop {
                let wait = match reporter.report(event.clone(), None).await {
                    Reported::Accepted => return,
                    Reported::Irrelevant => SAY_AGAIN,
                    Reported::GivenUp => ASK_AGAIN,
                };
                tokio::time::sleep(wait).await;
            }
        };
        AbortOnDrop(self.runtime.spawn(report.in_current_span()).abort_handle())
    }
}

/// The words that nothing is sent any more to those that are leaving.
#[derive(Debug, Default)]
pub(crate) struct Farewells(BTreeMap<(MemberId, Incarnation), AbortOnDrop>);

impl Farewells {
    /// Says so of each to which nothing waits to be sent.
    pub(crate) fn say(
        &mut self,
        directory: &Directory,
        participant: &Participant,
        outward: &Outward,
        is_empty: impl Fn(MemberId) -> bool,
    ) {
        let leaving: BTreeSet<(MemberId, Incarnation)> =
            directory.leaving().map(|peer| (peer.member_id, peer.incarnation)).collect();
        self.0.retain(|known, _| leaving.contains(known));
        let generation = participant.identity().generation;
        for (id, leaving) in leaving {
            let (Some(member), true, false) = (directory.name(id), is_empty(id), self.0.contains_key(&(id, leaving))) else {
                continue;
            };
            // Nothing is taken for it any more, so this is final.
            let event = ReportEvent::Drained { generation, member: member.clone(), leaving, sent: participant.sent(id) };
            self.0.insert((id, leaving), outward.report_until_taken(event));
        }
    }
}

impl Live {
    /// Goes on with what is under way of leaving.
    pub(super) fn look_after_leaving(&mut self, asked_here: bool, outward: &Outward, app: &mut dyn Application) {
        if asked_here || self.leaving.is_under_way() || self.directory.leaving().next().is_some() {
            self.tell_to_leave(asked_here, app);
            self.advance_leaving(outward, app);
        }
    }

    /// Has the application told, once, that it is to leave.
    fn tell_to_leave(&mut self, asked_here: bool, app: &mut dyn Application) {
        let asked = asked_here || matches!(self.leaving.word, Some(Leave::Asked {}));
        if asked && !self.leaving.told {
            self.leaving.told = true;
            app.on_leave(&mut Context::new(self));
            self.settle(app);
        }
    }

    /// Goes as far as it can towards the end of those that are leaving, this member among them.
    fn advance_leaving(&mut self, outward: &Outward, app: &mut dyn Application) {
        let Self { farewells, directory, participant, outgoing, .. } = self;
        farewells.say(directory, participant, outward, |id| outgoing.get(&id).is_none_or(|channel| channel.outbox.is_empty()));
        let generation = self.generation();
        match (self.leaving.reached, self.leaving.word.clone()) {
            (Reached::Stays, _) | (_, Some(Leave::Left {})) => self.leaving.report = None,
            (Reached::Wants | Reached::Silent, None | Some(Leave::Asked {})) => {
                self.leaving.says(Reached::Wants, outward, || ReportEvent::Leaving { generation });
            }
            (Reached::Wants | Reached::Silent, Some(Leave::Draining {})) => self.leaving.report = None,
            (Reached::Wants, Some(Leave::Drained { sent })) => {
                if self.own.is_empty() && self.has_all(&sent) {
                    tracing::info!("nothing comes any more: the application has its last word");
                    app.on_drained(&mut Context::new(self));
                    self.leaving.reached = Reached::Silent;
                    self.settle(app);
                }
            }
            (Reached::Silent, Some(Leave::Drained { .. })) => {
                if self.own.is_empty() && self.all_arrived() {
                    self.report_end(generation, outward);
                }
            }
        }
    }

    fn has_all(&self, sent: &[SentBy]) -> bool {
        sent.iter().all(|SentBy { member, messages }| {
            *messages == 0 || self.directory.known_id(member).is_some_and(|id| self.participant.has_received(id, *messages))
        })
    }

    fn report_end(&mut self, generation: Generation, outward: &Outward) {
        let (counters, directory) = (self.participant.counters(), &self.directory);
        let name = |id: &MemberId| directory.name(*id).cloned();
        let sent = counters.sent.iter().filter_map(|(id, messages)| Some(Sent { to: name(id)?, messages: *messages })).collect();
        let received = counters.received.iter();
        let received = received.filter_map(|(id, ranges)| Some(Received { from: name(id)?, ranges: ranges.clone() })).collect();
        self.leaving.says(Reached::Silent, outward, || ReportEvent::Left { generation, sent, received });
    }

    /// Forgets the channels with those that have left.
    pub(super) fn part_with_the_left(&mut self) {
        let left: Vec<_> = self.directory.left().collect();
        for (id, incarnation) in left {
            self.participant.depart(id, incarnation);
            if self.directory.is_member(id) {
                // It is back: what waits is for the new one.
                continue;
            }
            let incoming = self.incoming.remove(&id).map(|end| end.connection.id());
            let outgoing =
                self.outgoing.remove(&id).and_then(|mut channel| channel.connection().map(|connection| connection.id()));
            for connection in incoming.into_iter().chain(outgoing) {
                self.connections.remove(&connection);
            }
        }
    }
}
