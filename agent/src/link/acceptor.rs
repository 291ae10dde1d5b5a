//! Taking connections: who calls is checked before a single frame is read.

use std::{io, time::Duration};

use stillframe_protocol::{ClusterName, Generation, Incarnation, MemberName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    Input,
    callers::{Callers, Place},
    preamble::{self, Preamble, PreambleError, Verdict},
};
use crate::transport::{Arriving, Link, Listener};

/// How long a caller that was refused may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// How long callers are waited for, and kept waiting.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// A caller has to have said who it is, a TLS handshake included.
    pub(crate) introduction: Duration,
    /// A caller of a newer generation waits for this member to get there.
    pub(crate) generation: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { introduction: Duration::from_secs(5), generation: Duration::from_secs(10) }
    }
}

/// What a caller must fit.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) cluster: ClusterName,
    pub(crate) member: MemberName,
    pub(crate) incarnation: Incarnation,
    /// Changes with each restore.
    pub(crate) generation: watch::Receiver<Generation>,
    /// The largest message that is taken: callers are told.
    pub(crate) max_message_bytes: usize,
    pub(crate) patience: Patience,
}

/// A connection whose caller fits.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) preamble: Preamble,
    pub(crate) link: Link,
}

/// Why a caller wasn't let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no connection came about: {0}")]
    Connection(io::Error),
    #[error("the caller is {0}")]
    Stranger(#[from] PreambleError),
    #[error("the caller didn't say who it is for {0:?}, or doesn't read")]
    Mute(Duration),
    #[error("{from} (incarnation {incarnation}) called {to} in cluster {cluster}; it was told: {verdict}", from = caller.from, incarnation = caller.from_incarnation, to = caller.to, cluster = caller.cluster)]
    Told { caller: Box<Preamble>, verdict: Verdict },
    #[error("{from} called, but {why}", from = caller.from)]
    Credentials { caller: Box<Preamble>, why: String },
    #[error("too many callers wait to be let in")]
    TooMany,
    #[error("the agent has ended")]
    AgentEnded,
}

impl Gate {
    /// The verdict on a caller as things are, or nothing when it is of a newer generation.
    fn judge(&self, preamble: &Preamble) -> Option<Verdict> {
        let generation = *self.generation.borrow();
        if preamble.cluster != self.cluster {
            return Some(Verdict::OtherCluster);
        }
        if preamble.to != self.member {
            return Some(Verdict::OtherMember);
        }
        if preamble.to_incarnation != self.incarnation {
            return Some(Verdict::OtherIncarnation { incarnation: self.incarnation });
        }
        match preamble.generation.cmp(&generation) {
            std::cmp::Ordering::Less => Some(Verdict::OldGeneration { generation }),
            std::cmp::Ordering::Equal => Some(Verdict::Welcome { max_message_bytes: self.max_message_bytes as u64 }),
            std::cmp::Ordering::Greater => None,
        }
    }

    async fn verdict(&mut self, preamble: &Preamble) -> Verdict {
        let patience = self.patience.generation;
        let wait = async {
            loop {
                if let Some(verdict) = self.judge(preamble) {
                    return verdict;
                }
                if self.generation.changed().await.is_err() {
                    return Verdict::NotYet { generation: *self.generation.borrow() };
                }
            }
        };
        match tokio::time::timeout(patience, wait).await {
            Ok(verdict) => verdict,
            Err(_) => Verdict::NotYet { generation: *self.generation.borrow() },
        }
    }
}

/// Takes connections until it is dropped.
pub(crate) async fn serve(mut listener: Box<dyn Listener>, gate: Gate, inputs: mpsc::Sender<Input>) {
    let places = Callers::default();
    let mut callers = JoinSet::new();
    loop {
        while callers.try_join_next().is_some() {}
        places.room().await;
        match listener.accept().await {
            Ok(arriving) => {
                let (gate, inputs) = (gate.clone(), inputs.clone());
                places.take(|place| {
                    callers.spawn(async move {
                        match admit(arriving, place, gate, inputs).await {
                            Ok(()) => {}
                            // A member's certificate in the wrong hands; all else may come from anybody.
                            Err(refusal @ Refusal::Credentials { .. }) => tracing::warn!(%refusal, "a connection was refused"),
                            Err(refusal) => tracing::debug!(%refusal, "a connection was refused"),
                        }
                    })
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: trying at once would only burn the processor.
                tracing::warn!(%error, "can't take connections of other members; trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Lets the caller read what it was told: to close while something of it is unread would take that back.
async fn linger(link: &mut Link) {
    let _ = link.writer.shutdown().await;
    let mut rest = [0; 1024];
    for _ in 0..64 {
        if !matches!(link.reader.read(&mut rest).await, Ok(1..)) {
            break;
        }
    }
}

async fn introduced(arriving: Arriving) -> Result<(Link, Preamble), Refusal> {
    let mut link = arriving.await.map_err(Refusal::Connection)?;
    match preamble::read_call(&mut link.reader).await {
        Ok(preamble) => Ok((link, preamble)),
        Err(error) => {
            let told = match error {
                PreambleError::Version(_) => Verdict::OtherVersion { version: preamble::VERSION },
                PreambleError::Tls => Verdict::NoTls,
                PreambleError::Garbage(_) | PreambleError::Io(_) => return Err(error.into()),
            };
            preamble::answer(told, &mut link.writer).await.map_err(Refusal::Connection)?;
            let _ = tokio::time::timeout(LINGER, linger(&mut link)).await;
            Err(error.into())
        }
    }
}

async fn admit(arriving: Arriving, place: Place, mut gate: Gate, inputs: mpsc::Sender<Input>) -> Result<(), Refusal> {
    let patience = gate.patience.introduction;
    let introduced = tokio::time::timeout(patience, introduced(arriving)).await;
    let (mut link, preamble) = introduced.map_err(|_| Refusal::Mute(patience))??;
    let credentials = link.credentials.as_ref().map_or(Ok(()), |credentials| credentials.are_of(&preamble.from));
    if let Err(why) = credentials {
        preamble::answer(Verdict::OtherCredentials, &mut link.writer).await.map_err(Refusal::Connection)?;
        return Err(Refusal::Credentials { caller: Box::new(preamble), why });
    }
    if !place.introduce(preamble.from_id) {
        return Err(Refusal::TooMany);
    }
    let verdict = gate.verdict(&preamble).await;
    let answered = tokio::time::timeout(patience, preamble::answer(verdict, &mut link.writer)).await;
    answered.map_err(|_| Refusal::Mute(patience))?.map_err(Refusal::Connection)?;
    match verdict {
        Verdict::Welcome { .. } => {
            let accepted = Input::Accepted(Box::new(Accepted { preamble, link }));
            inputs.send(accepted).await.map_err(|_| Refusal::AgentEnded)
        }
        verdict => Err(Refusal::Told { caller: Box::new(preamble), verdict }),
    }
}

/// One caller by itself.
#[cfg(test)]
pub(crate) async fn admit_alone(arriving: Arriving, gate: Gate) -> Result<(), Refusal> {
    let (inputs, _received) = mpsc::channel(1);
    let mut place = None;
    Callers::default().take(|taken| {
        place = Some(taken);
        tokio::spawn(std::future::pending::<()>()).abort_handle()
    });
    admit(arriving, place.ok_or(Refusal::AgentEnded)?, gate, inputs).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use stillframe_protocol::MemberId;
    use tokio::io::DuplexStream;

    use super::*;
    use crate::{
        link::dialer::{DialError, dial},
        transport::{Memory, Transport},
    };

    fn preamble() -> Preamble {
        Preamble {
            cluster: ClusterName::new("bank").unwrap(),
            generation: Generation(3),
            from: MemberName::new("p1").unwrap(),
            from_id: MemberId(1),
            from_incarnation: Incarnation(7),
            to: MemberName::new("p2").unwrap(),
            to_incarnation: Incarnation(8),
        }
    }

    const SHORT: Patience = Patience { introduction: Duration::from_millis(200), generation: Duration::from_millis(50) };

    fn gate(generation: u64, patience: Patience) -> (watch::Sender<Generation>, Gate) {
        let (sender, generation) = watch::channel(Generation(generation));
        let Preamble { cluster, to, to_incarnation, .. } = preamble();
        (sender, Gate { cluster, member: to, incarnation: to_incarnation, generation, max_message_bytes: 1000, patience })
    }

    struct Served {
        network: Memory,
        inputs: mpsc::Receiver<Input>,
        generation: watch::Sender<Generation>,
        task: tokio::task::JoinHandle<()>,
    }

    impl Drop for Served {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    async fn served(patience: Patience) -> Served {
        let network = Memory::new("p2");
        let (inputs, received) = mpsc::channel(4);
        let (generation, gate) = gate(3, patience);
        let task = tokio::spawn(serve(network.listen().await.unwrap(), gate, inputs));
        Served { network, inputs: received, generation, task }
    }

    async fn call(served: &Served, preamble: Preamble) -> Result<crate::link::Dialed, DialError> {
        dial(Arc::new(served.network.clone()), "p2".to_owned(), preamble).await
    }

    #[tokio::test]
    async fn whoever_does_not_fit_is_told_why() {
        let served = served(SHORT).await;
        let of = |change: fn(&mut Preamble)| {
            let mut preamble = preamble();
            change(&mut preamble);
            preamble
        };
        for (caller, wanted) in [
            (of(|it| it.cluster = ClusterName::new("other").unwrap()), Verdict::OtherCluster),
            (of(|it| it.to = MemberName::new("p3").unwrap()), Verdict::OtherMember),
            (of(|it| it.to_incarnation = Incarnation(7)), Verdict::OtherIncarnation { incarnation: Incarnation(8) }),
            (of(|it| it.generation = Generation(2)), Verdict::OldGeneration { generation: Generation(3) }),
            (of(|it| it.generation = Generation(4)), Verdict::NotYet { generation: Generation(3) }),
        ] {
            match call(&served, caller).await {
                Err(DialError::Refused(verdict)) => assert_eq!(verdict, wanted),
                other => panic!("expected {wanted}, got {other:?}"),
            }
        }
        assert_eq!(call(&served, preamble()).await.unwrap().max_message_bytes, 1000);
    }

    #[tokio::test]
    async fn a_caller_of_the_next_generation_is_let_in_once_this_member_is_there_too() {
        let mut served = served(Patience::default()).await;
        let caller = Preamble { generation: Generation(4), ..preamble() };
        let call = call(&served, caller.clone());
        let (welcome, ()) = tokio::join!(call, async {
            served.generation.send_replace(Generation(4));
        });
        assert!(welcome.is_ok());
        match served.inputs.recv().await {
            Some(Input::Accepted(accepted)) => assert_eq!(accepted.preamble, caller),
            other => panic!("{other:?}"),
        }
    }

    fn arriving(pipe: DuplexStream) -> Arriving {
        let (reader, writer) = tokio::io::split(pipe);
        Box::pin(std::future::ready(Ok(Link::new(reader, writer))))
    }

    #[tokio::test]
    async fn a_caller_that_says_who_it_is_byte_by_byte_has_only_so_much_time_for_it() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        let drip = tokio::spawn(async move {
            for byte in b"SFRM\x02\x00\xff".iter().chain(std::iter::repeat(&b'x')) {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if theirs.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
        });
        let refusal = tokio::time::timeout(Duration::from_secs(20), admit_alone(arriving(ours), gate(3, SHORT).1))
            .await
            .unwrap()
            .unwrap_err();
        assert!(matches!(refusal, Refusal::Mute(_)), "{refusal}");
        drip.await.unwrap();
    }

    #[tokio::test]
    async fn members_that_all_come_back_at_once_are_all_let_in() {
        let mut served = served(Patience::default()).await;
        let mut inputs = std::mem::replace(&mut served.inputs, mpsc::channel(1).1);
        let callers = (0..1000).map(|n| call(&served, Preamble { from_id: MemberId(n), ..preamble() }));
        let taken = tokio::spawn(async move {
            let mut taken = Vec::new();
            while taken.len() < 1000 {
                match inputs.recv().await {
                    Some(Input::Accepted(accepted)) => taken.push(accepted),
                    other => panic!("{other:?}"),
                }
            }
        });
        let let_in = futures::future::join_all(callers).await;
        assert!(let_in.iter().all(Result::is_ok), "none of them has to call again");
        taken.await.unwrap();
    }

    #[tokio::test]
    async fn thousands_of_silent_callers_keep_no_member_out_and_are_not_kept() {
        // Longer than the test may take: nobody is closed for having been silent for too long.
        let long = Duration::from_secs(600);
        let served = served(Patience { introduction: long, generation: long }).await;
        let mut silent = Vec::new();
        for _ in 0..1500 {
            silent.push(served.network.dial("p2", &preamble().to).await.unwrap());
            tokio::task::yield_now().await;
        }
        assert!(call(&served, preamble()).await.is_ok(), "a member that says who it is needs not wait for those that don't");
        let mut closed = 0;
        for link in &mut silent[..1000] {
            closed += usize::from(matches!(link.reader.read(&mut [0; 1]).await, Ok(0) | Err(_)));
        }
        assert_eq!(closed, 1000, "the oldest had to go");
    }
}
