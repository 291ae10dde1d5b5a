//! What is promised of every state, and what some state has to be.

use stateright::Property;
use stillframe_protocol::ChannelOrdering;

use super::{
    actions::Cluster,
    bounds::Sight,
    member::id,
    state::{Phase, Promise, State},
};

fn kept(state: &State, promise: Promise) -> bool {
    state.wrong.as_ref().is_none_or(|wrong| wrong.promise != promise)
}

/// All that is checked of a model.
pub fn properties(cluster: &Cluster) -> Vec<Property<Cluster>> {
    let always = [
        Property::<Cluster>::always("the certificate of a complete snapshot verifies", |_, s| kept(s, Promise::Certificate)),
        Property::always("what verifies is what the applications saw, and exact", |_, s| kept(s, Promise::Exact)),
        Property::always("each message is delivered once, as it was sent, in order if fifo", |_, s| kept(s, Promise::Delivery)),
        Property::always("each part says what its application saw, once", |_, s| kept(s, Promise::Part)),
        Property::always("of an aborted epoch nothing stays", |_, s| kept(s, Promise::Aborted)),
        Property::always("what is fenced changes nothing", |_, s| kept(s, Promise::Fence)),
        Property::always("no honest transport is accused", |_, s| kept(s, Promise::Transport)),
        Property::always("an aligned member records nothing", |_, s| kept(s, Promise::Aligned)),
        Property::always("at rest everything arrived and every snapshot ended", |c, s| missing_at_rest(c, s).is_none()),
    ];
    always.into_iter().chain(cluster.bounds.reaches.iter().map(|&sight| sight.property())).collect()
}

/// What isn't there though nothing is under way.
pub fn missing_at_rest(cluster: &Cluster, state: &State) -> Option<String> {
    let bounds = &cluster.bounds;
    let at_rest = state.wrong.is_none()
        && state.restoring.is_empty()
        && state.network.is_silent()
        && state.left.lies == bounds.lies
        && state.members.iter().all(|process| {
            let told = |epoch| process.aborted.contains(epoch) || *epoch <= process.base;
            let aborted = state.snapshots.iter().filter(|(_, snapshot)| snapshot.phase == Phase::Aborted);
            !process.holds
                && process.participant.epoch().max(process.told) == state.newest
                && aborted.into_iter().all(|(epoch, _)| told(epoch))
        })
        && bounds
            .channels
            .iter()
            .all(|ends| ends.ordering == ChannelOrdering::Fifo || nothing_to_repeat(state, ends.from, ends.to));
    if !at_rest {
        return None;
    }
    for ends in &bounds.channels {
        let (from, to) = ((ends.from, state.incarnations[ends.from]), (ends.to, state.incarnations[ends.to]));
        let sent = state.members[ends.from].seen.sent.get(&to).copied().unwrap_or(0);
        let received = state.members[ends.to].seen.received.get(&from).map_or(0, |received| received.len());
        if sent != received {
            return Some(format!("{ends}: {received} of {sent} arrived"));
        }
        let given = state.members[ends.from].seen.given.get(&to).copied().unwrap_or(0);
        let taken = state.members[ends.to].seen.taken.get(&from).map_or(0, |taken| taken.len());
        if given != taken {
            return Some(format!("{ends}: {taken} of the {given} messages that were given were taken"));
        }
    }
    let waits = state.members.iter().find_map(|process| {
        let behind = (process.participant.epoch() < state.newest).then_some(state.newest);
        let epoch = process.participant.open_epochs().next().or(behind)?;
        Some(format!("{:?} of {epoch}", process.participant.missing(epoch)))
    });
    let open = state.snapshots.iter().find(|(_, snapshot)| snapshot.phase == Phase::Recording);
    waits.or_else(|| open.map(|(epoch, _)| format!("snapshot {epoch}")))
}

fn nothing_to_repeat(state: &State, from: usize, to: usize) -> bool {
    let mut sender = state.members[from].participant.clone();
    sender.retransmit(id(to));
    sender.poll().is_none()
}

/// Makes a property of each sight.
macro_rules! sights {
    ($($(#[$doc:meta])* $sight:ident: $name:literal,)+) => {
        impl Sight {
            /// That it was seen.
            pub fn property(self) -> Property<Cluster> {
                match self {
                    $(Self::$sight => Property::sometimes($name, |cluster: &Cluster, _| cluster.seen.has(Self::$sight)),)+
                }
            }
        }
    };
}

sights! {
    Committed: "a snapshot with empty channels is committed",
    CommittedInFlight: "a snapshot with messages in flight is committed",
    Recorded: "a message is recorded",
    CutByMessage: "a message cuts",
    CutByAcknowledgement: "an acknowledgement cuts",
    CutByHandshake: "a handshake cuts",
    RetransmittedAfterCut: "a message is transmitted again after the cut",
    MarkerOvertook: "a marker overtakes messages",
    TwoEpochsOpen: "two epochs are open at once",
    SealedBeforeAnOlder: "a newer epoch is sealed before an older one",
    Leapt: "two epochs are cut together",
    OldGenerationFenced: "a frame of an old generation is fenced",
    OldIncarnationFenced: "a frame of or for another incarnation is fenced",
    ForeignMemberFenced: "a frame for another member is fenced",
    HeldByNewerGeneration: "a member learns that it may be replaced",
    FifoViolated: "a connection that lost something is found out",
    ReplacedPeerAborted: "a replaced peer aborts an epoch",
    RejectedForOldIncarnation: "a certificate with an old incarnation's counters is rejected",
    CommittedWithNewIncarnation: "a snapshot with a new incarnation is committed",
    Reinjected: "a snapshot with messages in flight is restored",
    CommittedAfterRestore: "a snapshot is committed after a restore",
    Logged: "a message is logged",
    SentAgain: "a snapshot whose log had not arrived is restored",
    ArrivedSkipped: "a snapshot whose log had arrived is restored",
    HeldForAlignment: "a frame is held back until the channels are aligned",
}
