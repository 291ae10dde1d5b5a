//! Waiting until a snapshot or a restore has ended, whatever happens to the coordinator meanwhile.

use std::time::{Duration, Instant};

use stillframe_api::{ClientError, HumanDuration, restore::Restore, snapshot::Snapshot};

use crate::{
    commands::{restore, snapshot},
    error::CliError,
    parse::Wait,
    progress::Progress,
};

/// How long each request is held: so often a live line can change.
const LIVE_HOLD: Duration = Duration::from_secs(1);
/// As [`LIVE_HOLD`], for plain lines.
const PLAIN_HOLD: Duration = Duration::from_secs(5);
/// How long the coordinator may be away before waiting is given up, when the wait itself has no limit.
const AWAY_LIMIT: Duration = Duration::from_secs(30);
/// The pause after the first failure; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Something that goes on until it ends, and can be asked how far it is.
pub trait Ends {
    /// Whether it has ended, one way or the other.
    fn has_ended(&self) -> bool;
    /// How far it is, in a line.
    fn how_far(&self) -> String;
}

impl Ends for Snapshot {
    fn has_ended(&self) -> bool {
        self.state.has_ended()
    }
    fn how_far(&self) -> String {
        snapshot::show::how_far(self)
    }
}

impl Ends for Restore {
    fn has_ended(&self) -> bool {
        self.state.has_ended()
    }
    fn how_far(&self) -> String {
        restore::show::how_far(self)
    }
}

/// Waits until `of` has ended or the wait has run out, and returns it as it is then. `ask` asks for it once more and has the coordinator
/// hold the answer for the time given.
///
/// # Errors
/// [`CliError::Client`] when the coordinator refuses, or is away for 30 s or until the wait has run out.
pub async fn until_ended<T: Ends>(
    mut of: T,
    wait: Wait,
    progress: &Progress,
    ask: impl AsyncFn(Duration) -> Result<T, ClientError>,
) -> Result<T, CliError> {
    let hold = if progress.is_live() { LIVE_HOLD } else { PLAIN_HOLD };
    let deadline = match wait {
        Wait::UntilEnded => None,
        Wait::AtMost(limit) => Some(Instant::now() + limit.get()),
    };
    let mut away = Away::default();
    loop {
        let left = deadline.map_or(hold, |deadline| deadline.saturating_duration_since(Instant::now()).min(hold));
        if of.has_ended() || left.is_zero() {
            return Ok(of);
        }
        progress.show(&of.how_far());
        match ask(left).await {
            Ok(newer) => {
                of = newer;
                away = Away::default();
            }
            Err(error) if error.is_transient() => {
                let pause = away.pause(deadline).ok_or(error)?;
                progress.show("the coordinator is away; trying again");
                tokio::time::sleep(pause).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The error of a wait that ran out.
#[must_use]
pub fn timed_out(what: String, of: &impl Ends, wait: Wait) -> CliError {
    let waited = match wait {
        Wait::AtMost(waited) => waited,
        Wait::UntilEnded => HumanDuration::from_millis(u64::MAX),
    };
    CliError::TimedOut { what, waited, state: of.how_far() }
}

/// Since when the coordinator is away, and how often it was tried.
#[derive(Default)]
struct Away {
    since: Option<Instant>,
    tries: u32,
}

impl Away {
    /// How long to wait before the next try; `None` when it is time to give up.
    fn pause(&mut self, deadline: Option<Instant>) -> Option<Duration> {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        let give_up = deadline.unwrap_or(since + AWAY_LIMIT);
        let pause = FIRST_PAUSE.saturating_mul(1 << self.tries.min(10)).min(LONGEST_PAUSE);
        self.tries += 1;
        (now + pause < give_up).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use url::Url;

    use super::*;

    struct Counted(u32);

    impl Ends for Counted {
        fn has_ended(&self) -> bool {
            self.0 == 0
        }
        fn how_far(&self) -> String {
            format!("{} left", self.0)
        }
    }

    fn away() -> ClientError {
        let url: Url = "http://127.0.0.1:1/".parse().expect("a URL");
        ClientError::Unreachable { url, reason: "refused".to_owned() }
    }

    #[tokio::test]
    async fn it_is_asked_until_it_has_ended() {
        let asked = Cell::new(3);
        let ask = async |_| {
            asked.set(asked.get() - 1);
            Ok(Counted(asked.get()))
        };
        let ended = until_ended(Counted(3), Wait::UntilEnded, &Progress::new(true), ask).await.expect("it ends");
        assert_eq!((ended.0, asked.get()), (0, 0));
    }

    #[tokio::test]
    async fn a_coordinator_that_comes_back_is_asked_again() {
        let tries = Cell::new(0);
        let ask = async |_| {
            tries.set(tries.get() + 1);
            if tries.get() < 3 { Err(away()) } else { Ok(Counted(0)) }
        };
        assert!(until_ended(Counted(1), Wait::UntilEnded, &Progress::new(true), ask).await.is_ok());
    }

    #[tokio::test]
    async fn a_wait_that_runs_out_while_the_coordinator_is_away_says_so() {
        let wait = Wait::AtMost(HumanDuration::from_millis(250));
        let result = until_ended(Counted(1), wait, &Progress::new(true), async |_| Err(away())).await;
        assert!(matches!(result.err(), Some(CliError::Client(ClientError::Unreachable { .. }))));
    }

    #[tokio::test]
    async fn a_wait_that_runs_out_returns_how_far_it_is() {
        let wait = Wait::AtMost(HumanDuration::from_millis(1));
        let pause = async |_| {
            tokio::time::sleep(Duration::from_millis(2)).await;
            Ok(Counted(7))
        };
        let left = until_ended(Counted(9), wait, &Progress::new(true), pause).await.expect("no error of its own");
        assert!(!left.has_ended());
    }
}
