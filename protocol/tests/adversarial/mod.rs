//! Schedules that were thought out to break the machine.
//!
//! | to find | look in |
//! | --- | --- |
//! | several epochs, aborts, late markers | [`cutting`] |
//! | handshakes at the worst moment | [`opening`] |
//! | what is refused, and that it changes nothing | [`refusing`] |
//! | members that leave | [`leaving`] |
//! | parts that are complete at the cut | [`logging`] |
//! | channels that are held back until all are aligned | [`aligning`] |
//! | that nothing grows without bound | [`bounds`] |

mod aligning;
mod bounds;
mod cutting;
mod leaving;
mod logging;
mod opening;
mod refusing;

use bytes::Bytes;
use stillframe_protocol::{
    ChannelOrdering, Epoch, Frame, FrameBody, Generation, Identity, Incarnation, Marker, MemberId, Output, Participant,
};

const A: MemberId = MemberId(1);
const B: MemberId = MemberId(2);
const C: MemberId = MemberId(3);

fn identity(member: MemberId, incarnation: u64, generation: u64) -> Identity {
    Identity { member, incarnation: Incarnation(incarnation), generation: Generation(generation) }
}

fn process(member: MemberId) -> Participant {
    Participant::new(identity(member, 1, 1), Epoch(0))
}

fn drain(participant: &mut Participant) -> Vec<Output> {
    std::iter::from_fn(|| participant.poll()).collect()
}

/// Drains, and gives only what is to be transmitted.
fn frames(participant: &mut Participant) -> Vec<Frame> {
    transmissions(drain(participant))
}

fn transmissions(outputs: Vec<Output>) -> Vec<Frame> {
    outputs
        .into_iter()
        .filter_map(|output| match output {
            Output::Transmit { frame, .. } => Some(frame),
            _ => None,
        })
        .collect()
}

/// Everything except transmissions, in short.
fn story(participant: &mut Participant) -> Vec<String> {
    drain(participant).iter().filter(|output| !matches!(output, Output::Transmit { .. })).map(short).collect()
}

fn short(output: &Output) -> String {
    match output {
        Output::Capture { first, last } => format!("capture {first}..={last}"),
        Output::Record { epochs, seq, .. } => format!("record {seq} for {}", list(epochs)),
        Output::Resume { from } => format!("resume {from}"),
        Output::Log { epochs, messages, .. } => {
            format!("log {} for {}", messages.iter().map(|(seq, _)| seq.to_string()).collect::<Vec<_>>().join(","), list(epochs))
        }
        Output::Deliver { seq, .. } => format!("deliver {seq}"),
        Output::Transmit { frame, .. } => match &frame.body {
            FrameBody::Data { seq, .. } => format!("data {seq}"),
            FrameBody::Marker => format!("marker {}", list(&frame.markers.iter().map(|m| m.epoch).collect::<Vec<_>>())),
            FrameBody::Ack { .. } => "ack".into(),
            FrameBody::Open { .. } => "open".into(),
            FrameBody::Accept { .. } => "accept".into(),
        },
        Output::Opened { to } => format!("opened {to}"),
        Output::Acknowledged { to } => format!("acknowledged {to}"),
        Output::Sealed { epoch, .. } => format!("sealed {epoch}"),
        Output::Violated { epochs, expected, found, .. } => format!("violated {}: {found} for {expected}", list(epochs)),
        Output::Replaced { incarnation, epochs, .. } => format!("replaced by {incarnation}: {}", list(epochs)),
        Output::NewerGeneration { generation } => format!("newer generation {generation}"),
    }
}

fn list(epochs: &[Epoch]) -> String {
    epochs.iter().map(Epoch::to_string).collect::<Vec<_>>().join(",")
}

fn receive_all(participant: &mut Participant, frames: Vec<Frame>) {
    for frame in frames {
        participant.receive(frame).unwrap();
    }
}

/// Opens `from -> to`.
fn connect(from: &mut Participant, to: &mut Participant, ordering: ChannelOrdering) {
    from.open(to.identity().member, to.identity().incarnation, ordering);
    let open = frames(from);
    receive_all(to, open);
    let accept = frames(to);
    receive_all(from, accept);
    assert!(from.is_open(to.identity().member));
}

fn pair(ordering: ChannelOrdering) -> (Participant, Participant) {
    let (mut a, mut b) = (process(A), process(B));
    connect(&mut a, &mut b, ordering);
    drain(&mut a);
    (a, b)
}

fn send(from: &mut Participant, to: MemberId) -> Vec<Frame> {
    from.send(to, Bytes::from_static(b"hello")).unwrap();
    frames(from)
}

fn marker(mut of: Frame, epoch: u64, sent: u64) -> Frame {
    of.epoch = Epoch(epoch);
    of.markers = vec![Marker { epoch: Epoch(epoch), sent }];
    of.body = FrameBody::Marker;
    of
}
