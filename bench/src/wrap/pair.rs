//! Two members of one process that run, and a coordinator that only lets them.

use std::{
    sync::Arc,
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use bytes::Bytes;
use stillframe_agent::{
    AgentConfig, ClusterName, Epoch, Generation, Incarnation, MemberName, Phase,
    control::{ControlError, ControlPlane},
    wrap::{Carrier, Envelope, Member, Setup},
};
use stillframe_api::{
    HumanDuration,
    agent::{Assignment, AssignmentQuery, Desired, Peer, Peers, Register, Registered, ReportAccepted, ReportEvent},
    cluster::ClusterPhase,
};
use stillframe_protocol::MemberId;
use uuid::Uuid;

use super::drain;

/// How long the members may take to run.
const PATIENCE: Duration = Duration::from_secs(30);

/// The channel a -> b, ready for use.
pub(super) struct Pair {
    pub(super) a: Member,
    pub(super) b: Member,
    pub(super) to: MemberName,
    /// What b has for a.
    pub(super) to_a: Vec<Bytes>,
}

impl Pair {
    pub(super) fn start(carrier: Carrier) -> anyhow::Result<Self> {
        let plane = Arc::new(Lenient::default());
        let start = |name: &str| -> anyhow::Result<Member> {
            let config = AgentConfig::new("http://127.0.0.1:1".parse()?, ClusterName::new("bench")?, MemberName::new(name)?);
            let setup = Setup::new(config.advertise("bench:1"), carrier);
            Ok(setup.with_control_plane(Arc::<Lenient>::clone(&plane)).start()?)
        };
        let (a, b) = (start("a")?, start("b")?);
        let mut pair = Self { a, b, to: MemberName::new("b")?, to_a: Vec::new() };
        pair.until(|pair| [&pair.a, &pair.b].iter().all(|member| member.status().phase == Phase::Running))?;
        // The first message opens the channel.
        let _ = pair.a.wrap(&pair.to, vec![0; super::MESSAGE_BYTES])?;
        pair.until(|pair| pair.b.status().delivered == 1)?;
        Ok(pair)
    }

    fn until(&mut self, there: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let began = Instant::now();
        while !there(self) {
            if began.elapsed() > PATIENCE {
                bail!("the members don't run: {:?}, {:?}", self.a.status(), self.b.status());
            }
            self.carry_answers()?;
            std::thread::yield_now();
        }
        self.carry_answers()
    }

    /// Wraps one message and lets b have it.
    pub(super) fn wrap(&mut self, message: &Bytes) -> anyhow::Result<Envelope> {
        let envelope = self.a.wrap(&self.to, message.clone())?.envelope.context("the channel isn't open")?;
        drain(self.b.unwrap(envelope.bytes().clone())?, &mut 0, &mut self.to_a);
        Ok(envelope)
    }

    /// Serves the timers of both and carries what they say to each other.
    pub(super) fn carry_answers(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let mut to_b = Vec::new();
        drain(self.b.on_timeout(now), &mut 0, &mut self.to_a);
        drain(self.a.on_timeout(now), &mut 0, &mut to_b);
        while !self.to_a.is_empty() || !to_b.is_empty() {
            for frame in std::mem::take(&mut self.to_a) {
                drain(self.a.unwrap(frame)?, &mut 0, &mut to_b);
            }
            for frame in std::mem::take(&mut to_b) {
                drain(self.b.unwrap(frame)?, &mut 0, &mut self.to_a);
            }
        }
        Ok(())
    }
}

/// Registers anybody, and lets two members run.
#[derive(Debug, Default)]
struct Lenient {
    members: Mutex<Vec<Peer>>,
}

#[async_trait]
impl ControlPlane for Lenient {
    async fn register(&self, _: &ClusterName, request: &Register) -> Result<Registered, ControlError> {
        let mut members = self.members.lock().map_err(|_| ControlError::Refused("a panic".to_owned()))?;
        let member_id = MemberId(members.len() as u32 + 1);
        let Register { member, address, .. } = request.clone();
        members.push(Peer { member, member_id, incarnation: Incarnation(1), address, leaving: false });
        let lease = HumanDuration::from_millis(3_600_000);
        Ok(Registered {
            member_id,
            incarnation: Incarnation(1),
            archive: "file:///nowhere".to_owned(),
            archive_id: Uuid::nil(),
            lease,
        })
    }

    async fn assignment(
        &self,
        cluster: &ClusterName,
        _: &MemberName,
        query: &AssignmentQuery,
    ) -> Result<Assignment, ControlError> {
        if query.after > 0 {
            // There will never be any news.
            std::future::pending::<()>().await;
        }
        let members = loop {
            let members = self.members.lock().map_err(|_| ControlError::Refused("a panic".to_owned()))?.clone();
            if members.len() >= 2 {
                break members;
            }
            tokio::task::yield_now().await;
        };
        Ok(Assignment {
            revision: 1,
            cluster: cluster.clone(),
            phase: ClusterPhase::Running,
            epoch: Epoch(0),
            desired: Desired::Run {
                generation: Generation(1),
                epoch: Epoch(0),
                restore: None,
                channel_state: Default::default(),
                aligned_timeout: None,
            },
            peers: Some(Peers { revision: 1, members, left: Vec::new() }),
            leave: None,
            snapshots: Vec::new(),
            outcomes: Vec::new(),
            replica: Uuid::nil(),
            view_age_ms: 0,
        })
    }

    async fn report(
        &self,
        _: &ClusterName,
        _: &MemberName,
        _: Incarnation,
        _: ReportEvent,
    ) -> Result<ReportAccepted, ControlError> {
        Ok(ReportAccepted { relevant: true })
    }
}
