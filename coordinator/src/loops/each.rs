//! One after the other, so that what is wrong with one item of a tick doesn't keep the others from their turn.

use std::fmt::Display;

use crate::{service::ServiceError, store::StoreError};

/// Does it for each item. Goes on after an error, and gives the first one in the end; a database that is away is away for all, so there it stops.
pub(super) async fn each<T, F>(items: Vec<T>, name: impl Fn(&T) -> String, act: impl Fn(T) -> F) -> Result<(), ServiceError>
where
    F: Future<Output = Result<(), ServiceError>>,
{
    let mut failed = None;
    for item in items {
        let of = name(&item);
        match act(item).await {
            Ok(()) => {}
            Err(error @ ServiceError::Store(StoreError::Unavailable { .. })) => return Err(error),
            Err(error) => {
                tracing::debug!(of, %error, "left for the next tick");
                failed.get_or_insert(error);
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

/// The name of an item of a cluster, for the log.
pub(super) fn named(cluster: &impl Display, item: &impl Display) -> String {
    format!("{cluster}/{item}")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    async fn acted_on(away: bool) -> (Vec<u32>, bool) {
        let acted = Mutex::new(Vec::new());
        let act = |n: u32| {
            acted.lock().expect("no panic").push(n);
            async move {
                match (n, away) {
                    (2, true) => Err(StoreError::Unavailable { reason: "away".to_owned() }.into()),
                    (2, false) => Err(StoreError::Fault { reason: "a row that can't be read".to_owned() }.into()),
                    _ => Ok(()),
                }
            }
        };
        let failed = each(vec![1, 2, 3], ToString::to_string, act).await.is_err();
        (acted.into_inner().expect("no panic"), failed)
    }

    #[tokio::test]
    async fn an_item_that_fails_does_not_keep_the_others_from_their_turn_and_is_told_of() {
        assert_eq!(acted_on(false).await, (vec![1, 2, 3], true));
    }

    #[tokio::test]
    async fn a_database_that_is_away_is_not_asked_for_each() {
        assert_eq!(acted_on(true).await, (vec![1, 2], true));
    }
}
