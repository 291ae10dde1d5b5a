//! For applications that carry their messages themselves: over UDP, a broker, a queue, anything.
//!
//! The application calls [`Member::wrap`] on a message before it sends it, and [`Member::unwrap`] on what it receives, and carries out the [`Action`]s that this gives, in
//! their order. Registering, the control loop, uploads, reports and restores go on in the background. `docs/transports.md` is the guide.
//!
//! ```no_run
//! use std::{net::UdpSocket, time::{Duration, Instant}};
//! use stillframe_agent::{AgentConfig, Capture, ChannelOrdering, wrap::{Action, Actions, Carrier, Setup}};
//!
//! fn carry_out(mut actions: Actions<'_>, socket: &UdpSocket, seen: &mut u64) -> Result<(), Box<dyn std::error::Error>> {
//!     while let Some(action) = actions.next_action() {
//!         match action {
//!             Action::Start | Action::Peers | Action::Ready { .. } | Action::Committed(_) => {}
//!             Action::Restore(state) => *seen = state.decode()?,
//!             Action::Capture(request) => actions.answer(request, Capture::encode(*seen)),
//!             Action::Deliver { .. } => *seen += 1,
//!             Action::Send { to, envelope } => {
//!                 if let Some(address) = actions.member().address(&to) {
//!                     socket.send_to(envelope.bytes(), address)?;
//!                 }
//!             }
//!             Action::Ended(error) => return Err(error.into()),
//!         }
//!     }
//!     Ok(())
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let socket = UdpSocket::bind("127.0.0.1:0")?;
//! let config = AgentConfig::new("http://127.0.0.1:7700".parse()?, "count".parse()?, "a".parse()?)
//!     .advertise(socket.local_addr()?.to_string());
//! let carrier = Carrier::lossy(ChannelOrdering::Unordered, Duration::from_millis(50));
//! let mut member = Setup::new(config, carrier).start()?;
//! let (mut seen, mut frame) = (0u64, [0; 65536]);
//! socket.set_read_timeout(Some(Duration::from_millis(5)))?;
//! loop {
//!     if let Ok((length, _)) = socket.recv_from(&mut frame)
//!         && let Ok(actions) = member.unwrap(frame[..length].to_vec())
//!     {
//!         carry_out(actions, &socket, &mut seen)?;
//!     }
//!     carry_out(member.on_timeout(Instant::now()), &socket, &mut seen)?;
//! }
//! # }
//! ```
//!
//! | to find | look in |
//! | --- | --- |
//! | starting, wrapping, unwrapping | [`Setup`], [`Member`] |
//! | what the application has to do | [`Action`], [`Actions`] |
//! | what a transport may do to frames | [`Carrier`] |
//! | the bytes | [`Envelope`] |
//! | one generation: participant, windows, timers | `running`, `channel`, `acknowledging` |
//! | what the coordinator wants | `following` |
//! | the messages that were in flight at a snapshot | `replay` |
//! | the thread in the background | `background` |

mod acknowledging;
mod action;
mod background;
mod carrier;
mod channel;
mod envelope;
mod error;
mod following;
mod member;
mod replay;
mod running;
mod setup;

pub use action::{Action, Actions, CaptureRequest};
pub use carrier::Carrier;
pub use envelope::Envelope;
pub use error::{UnwrapError, WrapError};
pub use member::{Member, News, Wrapped};
pub use setup::Setup;
