//! Stops a replica between two of its steps, so that what another does in between is chosen and not left to chance.

use std::time::Duration;

use tokio::{runtime::Handle, sync::watch, task::block_in_place};

/// How long nothing has to happen until nothing is under way. A replica waits for 5 ms here and there.
const STILL: Duration = Duration::from_millis(12);

#[derive(Debug, Default)]
struct State {
    /// How many steps were taken since the gate was set.
    taken: usize,
    /// The one to stop at.
    stop_at: Option<usize>,
    /// Where it stopped.
    stopped: Option<&'static str>,
    /// Calls of the store that aren't over.
    busy: usize,
    /// Calls of the store that ever were.
    calls: usize,
}

/// What every step of a replica passes through. Open unless it is set.
#[derive(Debug)]
pub(crate) struct Gate(watch::Sender<State>);

/// A call that is under way.
pub(super) struct Busy<'a>(&'a Gate);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.busy -= 1);
    }
}

impl Gate {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    /// Stops at the nth step from now on, counted from 1.
    pub(super) fn stop_at(&self, nth: usize) {
        self.0.send_modify(|state| (state.taken, state.stop_at, state.stopped) = (0, Some(nth), None));
    }

    /// Lets everything pass.
    pub(super) fn open(&self) {
        self.0.send_modify(|state| (state.stop_at, state.stopped) = (None, None));
    }

    /// Waits until somebody stands before it; gives at which step.
    pub(super) async fn stopped(&self) -> &'static str {
        let mut state = self.0.subscribe();
        let state = state.wait_for(|state| state.stopped.is_some()).await.expect("the gate is there");
        state.stopped.expect("it was waited for")
    }

    /// A step.
    pub(super) async fn pass(&self, step: &'static str) {
        let mut stops = false;
        self.0.send_modify(|state| {
            state.taken += 1;
            stops = state.stop_at == Some(state.taken);
            if stops {
                state.stopped = Some(step);
            }
        });
        if stops {
            self.0.subscribe().wait_for(|state| state.stopped.is_none()).await.expect("the gate is there");
        }
    }

    /// A step of code that isn't async: a rule, called under the cluster's lock.
    pub(super) fn pass_blocking(&self, step: &'static str) {
        block_in_place(|| Handle::current().block_on(self.pass(step)));
    }

    pub(super) fn busy(&self) -> Busy<'_> {
        self.0.send_modify(|state| (state.busy, state.calls) = (state.busy + 1, state.calls + 1));
        Busy(self)
    }

    /// Waits until the replica has done by itself what it does after an answer, or stands before the gate.
    pub(super) async fn quiet(&self) {
        loop {
            let calls = {
                let mut state = self.0.subscribe();
                let state = state.wait_for(|state| state.busy == 0 || state.stopped.is_some()).await.expect("the gate is there");
                state.calls
            };
            // Only how much is explored depends on it, not what is found.
            tokio::time::sleep(STILL).await;
            let state = self.0.borrow();
            if state.stopped.is_some() || (state.busy, state.calls) == (0, calls) {
                return;
            }
        }
    }
}
