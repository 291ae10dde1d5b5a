//! Who is in the cluster: names, numbers, incarnations, addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::RandomState;
use stillframe_api::agent::{Peer, Peers};
use stillframe_protocol::{Incarnation, MemberId, MemberName};

/// The members as the newest peer list names them.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    me: MemberName,
    // Looked at with every message, so by a hash that is cheaper than the standard library's. The names are the coordinator's.
    ids: HashMap<MemberName, MemberId, RandomState>,
    members: HashMap<MemberId, Peer, RandomState>,
    names: BTreeMap<MemberName, MemberId>,
    /// The others in the list that are leaving.
    leaving: BTreeSet<MemberId>,
    /// The newest incarnation of each that left the generation.
    left: BTreeMap<MemberId, Incarnation>,
}

impl Directory {
    pub(crate) fn new(me: MemberName, peers: Option<&Peers>) -> Self {
        let list = peers.map_or(&[][..], |peers| &peers.members);
        Self {
            ids: list.iter().map(|peer| (peer.member.clone(), peer.member_id)).collect(),
            members: list.iter().map(|peer| (peer.member_id, peer.clone())).collect(),
            // Who is leaving is sent nothing any more.
            names: list
                .iter()
                .filter(|peer| peer.member != me && !peer.leaving)
                .map(|peer| (peer.member.clone(), peer.member_id))
                .collect(),
            leaving: list.iter().filter(|peer| peer.leaving && peer.member != me).map(|peer| peer.member_id).collect(),
            left: peers.map_or(&[][..], |peers| &peers.left).iter().map(|left| (left.member_id, left.incarnation)).collect(),
            me,
        }
    }

    /// The newer list. Who isn't in it stays known by number: something of it may still be under way.
    pub(crate) fn updated(&self, peers: &Peers) -> Self {
        let mut newer = Self::new(self.me.clone(), Some(peers));
        for (id, peer) in &self.members {
            newer.members.entry(*id).or_insert_with(|| peer.clone());
        }
        newer
    }

    /// A member introduced itself that may not be in the list yet.
    pub(crate) fn learn(&mut self, id: MemberId, member: MemberName, incarnation: Incarnation) {
        self.members.entry(id).or_insert(Peer { member, member_id: id, incarnation, address: String::new(), leaving: false });
    }

    pub(crate) fn me(&self) -> &MemberName {
        &self.me
    }

    /// Everyone but this member who isn't leaving, by name.
    pub(crate) fn peers(&self) -> impl Iterator<Item = &MemberName> {
        self.names.keys()
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn id(&self, name: &MemberName) -> Option<MemberId> {
        self.ids.get(name).copied()
    }

    /// The number of a member that is, or was, in the list.
    pub(crate) fn known_id(&self, name: &MemberName) -> Option<MemberId> {
        self.id(name).or_else(|| self.members.values().find(|peer| peer.member == *name).map(|peer| peer.member_id))
    }

    /// Whether another member is leaving.
    pub(crate) fn is_leaving(&self, id: MemberId) -> bool {
        self.leaving.contains(&id)
    }

    /// Whether a member of this number is in the list.
    pub(crate) fn is_member(&self, id: MemberId) -> bool {
        self.members.get(&id).is_some_and(|peer| self.ids.contains_key(&peer.member))
    }

    /// The others that are leaving.
    pub(crate) fn leaving(&self) -> impl Iterator<Item = &Peer> {
        self.leaving.iter().filter_map(|id| self.members.get(id))
    }

    /// Those that have left the generation, with the newest incarnation that did.
    pub(crate) fn left(&self) -> impl Iterator<Item = (MemberId, Incarnation)> {
        self.left.iter().map(|(id, incarnation)| (*id, *incarnation))
    }

    /// Whether this incarnation has left the generation.
    pub(crate) fn has_left(&self, id: MemberId, incarnation: Incarnation) -> bool {
        self.left.get(&id).is_some_and(|left| incarnation <= *left)
    }

    pub(crate) fn peer(&self, id: MemberId) -> Option<&Peer> {
        self.members.get(&id)
    }

    /// The member's name.
    pub(crate) fn name(&self, id: MemberId) -> Option<&MemberName> {
        self.members.get(&id).map(|peer| &peer.member)
    }

    /// The names of everyone, to see whether the list that the application sees has changed.
    pub(crate) fn same_names(&self, other: &Self) -> bool {
        self.names.keys().eq(other.names.keys())
    }
}
