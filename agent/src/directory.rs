//! Who is in the cluster: names, numbers, incarnations, addresses.

use std::collections::{BTreeMap, HashMap};

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
}

impl Directory {
    pub(crate) fn new(me: MemberName, peers: Option<&Peers>) -> Self {
        let list = peers.map_or(&[][..], |peers| &peers.members);
        Self {
            ids: list.iter().map(|peer| (peer.member.clone(), peer.member_id)).collect(),
            members: list.iter().map(|peer| (peer.member_id, peer.clone())).collect(),
            names: list.iter().filter(|peer| peer.member != me).map(|peer| (peer.member.clone(), peer.member_id)).collect(),
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
        self.members.entry(id).or_insert(Peer { member, member_id: id, incarnation, address: String::new() });
    }

    pub(crate) fn me(&self) -> &MemberName {
        &self.me
    }

    /// Everyone but this member, by name.
    pub(crate) fn peers(&self) -> impl Iterator<Item = &MemberName> {
        self.names.keys()
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn id(&self, name: &MemberName) -> Option<MemberId> {
        self.ids.get(name).copied()
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
