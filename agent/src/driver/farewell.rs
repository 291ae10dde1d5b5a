//! Ending well: what was sent arrives, what was delivered is acknowledged.

use std::time::{Duration, Instant};

use bytes::Bytes;
use stillframe_protocol::{Frame, FrameBody, MemberName};

use super::{Driver, channel::OutgoingLink};
use crate::{Application, Capture, Context, RestoreError, StateReader, link::Input};

/// How long an ending agent waits for what it has sent to arrive.
const FAREWELL: Duration = Duration::from_millis(500);

impl Driver {
    /// Waits a moment for what was sent to arrive, acknowledges what was delivered, and closes.
    pub(super) async fn farewell(&mut self) {
        let Some(mut live) = self.live.take() else { return };
        let until = Instant::now() + FAREWELL;
        live.acknowledge(&mut Deaf);
        live.flush();
        while self.hold.is_none() && !live.all_arrived() {
            let input = tokio::time::timeout_at(until.into(), self.inputs.recv()).await;
            let Ok(Some(input)) = input else { break };
            match input {
                // Answers only: a message that came now would be delivered to nobody.
                Input::Frames { connection, frames } => {
                    let answer = |frame: &Frame| matches!(frame.body, FrameBody::Ack { .. } | FrameBody::Accept { .. });
                    for frame in frames.into_iter().filter(answer) {
                        live.receive(connection, frame, &mut Deaf);
                    }
                }
                Input::Dialed { peer, attempt, result } => live.dialed(peer, attempt, result, &mut Deaf),
                Input::Broken { .. } | Input::Accepted(_) => {}
            }
            live.flush();
        }
        let incoming = std::mem::take(&mut live.incoming).into_values().map(|end| end.connection);
        let outgoing = std::mem::take(&mut live.outgoing).into_values().filter_map(|channel| match channel.link {
            OutgoingLink::Up(connection) => Some(connection),
            OutgoingLink::Unused | OutgoingLink::Dialing { .. } | OutgoingLink::Down { .. } => None,
        });
        let patience = FAREWELL / 5;
        futures::future::join_all(incoming.chain(outgoing).map(|connection| connection.finish(patience))).await;
    }
}

/// Stands in for an application that has ended.
struct Deaf;

impl Application for Deaf {
    fn on_message(&mut self, _: &mut Context<'_>, _: &MemberName, _: Bytes) {}

    fn capture(&mut self) -> Capture {
        Capture::from_fn(|_| Err(std::io::Error::other("the agent has ended")))
    }

    fn restore(&mut self, _: StateReader) -> Result<(), RestoreError> {
        Err(RestoreError::new("the agent has ended"))
    }
}
