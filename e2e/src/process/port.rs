//! Ports that nobody else takes while a process is down.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below the ports that systems choose by themselves (32768 and up on Linux, 49152 and up elsewhere). A process that is started again on
/// its old port would else find it taken now and then: by somebody's outgoing connection, or even by a retry of its own clients that
/// connected to itself.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// A port of loopback that is free now and that this test run gives out once.
///
/// # Panics
///
/// When a thousand candidates are taken.
#[must_use]
pub fn unused() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = RANGE.end - RANGE.start;
    // Test programs that run at the same time begin at different places.
    let base = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(count)).unwrap_or(0);
    for _ in 0..1_000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % count;
        let port = RANGE.start + (base + step) % count;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no unused port in {RANGE:?}");
}
