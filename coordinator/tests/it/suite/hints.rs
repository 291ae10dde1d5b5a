//! Changes are told to whoever listens, at every replica.

use std::time::Duration;

use futures::future::{Either, select};
use stillframe_coordinator::store::{Hint, Store};
use uuid::Uuid;

use super::{steps::bank, subject::Subject};

/// Says it until it is heard: what is said while nobody listens may be missed.
async fn heard(s: &Subject, listener: &dyn Store, said: &Hint) -> Hint {
    let saying = async {
        loop {
            s.store().announce(std::slice::from_ref(said)).await.expect("announced");
            // Between two words, so that saying doesn't keep the machine busy.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let hearing = async {
        match select(Box::pin(listener.next_hint()), Box::pin(saying)).await {
            Either::Left((hint, _)) => hint.expect("a hint"),
            Either::Right((never, _)) => never,
        }
    };
    tokio::time::timeout(Duration::from_secs(20), hearing).await.expect("it is heard")
}

pub(super) async fn a_hint_is_heard_by_every_replica_the_one_that_announced_it_too(s: &Subject) {
    let said = Hint { replica: Uuid::now_v7(), cluster: bank(), revision: 7 };
    assert_eq!(heard(s, s.store(), &said).await, said);
    assert_eq!(heard(s, s.other().await, &said).await, said);
    s.store().announce(&[]).await.expect("nothing to say");
}
