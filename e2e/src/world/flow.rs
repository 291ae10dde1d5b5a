//! Whether the application goes on, whatever happens around it: transfers, pauses, and that nobody was harmed.

use std::time::{Duration, Instant};

use stillframe_api::audit::ListAudit;

use super::World;

/// How often the members are looked at. They say how far they are ten times a second.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the members did in a while.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// Transfers that were received, by all members together, a second.
    pub per_second: f64,
    /// The longest time in which a member received nothing.
    pub longest_pause: Duration,
}

impl World {
    /// Watches for a while what the members do.
    pub async fn flow(&self, watch: Duration) -> Flow {
        let begun = Instant::now();
        let received = || self.members().iter().map(|member| member.status().map_or(0, |status| status.received));
        let before: u64 = received().sum();
        let mut seen: Vec<(u64, Instant)> = received().map(|received| (received, begun)).collect();
        let mut longest_pause = Duration::ZERO;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        while begun.elapsed() < watch {
            ticks.tick().await;
            for (now, (received, since)) in received().zip(&mut seen) {
                longest_pause = longest_pause.max(since.elapsed());
                if now > *received {
                    (*received, *since) = (now, Instant::now());
                }
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "a count of seconds' work")]
        let transfers = received().sum::<u64>().saturating_sub(before) as f64;
        Flow { per_second: transfers / begun.elapsed().as_secs_f64(), longest_pause }
    }

    /// Checks that nobody was declared lost, so that nothing was rolled back; that everything is in order; and that no process has ended.
    ///
    /// # Panics
    ///
    /// When one of these doesn't hold.
    pub async fn unharmed(&mut self, generation: u64) {
        let cluster = self.running(generation).await;
        assert_eq!(cluster.generation.get(), generation, "{cluster:?}");
        let lost = ListAudit { action: Some("member.lost".to_owned()), ..ListAudit::default() };
        let lost = self.client().list_audit(&lost).await.expect("the audit").items;
        assert!(lost.is_empty(), "{lost:?}");
        self.take_committed().await;
        self.all_conserved().await;
        self.no_member_has_ended();
        for coordinator in self.coordinators() {
            assert_eq!(coordinator.ended(), None, "a coordinator has ended by itself");
        }
    }
}
