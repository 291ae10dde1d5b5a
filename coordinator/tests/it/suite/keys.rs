//! A request under a key is carried out once.

use std::time::Duration;

use stillframe_coordinator::store::{
    StoreError,
    idempotency::{Claim, KeptAnswer, KeyedRequest},
};
use uuid::Uuid;

use super::subject::Subject;

const HOLD: Duration = Duration::from_secs(2);

fn request(key: &str) -> KeyedRequest {
    KeyedRequest { key: key.to_owned(), fingerprint: format!("of {key}") }
}

fn answer(body: &str) -> KeptAnswer {
    KeptAnswer { status: 201, content_type: Some("application/json".to_owned()), location: None, body: body.as_bytes().to_vec() }
}

async fn claim(s: &Subject, key: &str) -> (Claim, Uuid) {
    let seed = Uuid::now_v7();
    (s.store().claim(&request(key), seed, HOLD).await.expect("an answer"), seed)
}

async fn settle(s: &Subject, key: &str, attempt: u32, answer: Option<KeptAnswer>) {
    s.store().settle_claim(key, attempt, answer).await.expect("settled");
}

pub(super) async fn who_claims_a_key_carries_the_request_out_and_the_others_wait(s: &Subject) {
    let (claimed, seed) = claim(s, "k").await;
    assert_eq!(claimed, Claim::Mine { seed, attempt: 1 });
    let second = s.other().await.claim(&request("k"), Uuid::now_v7(), HOLD).await.expect("an answer");
    assert_eq!(second, Claim::UnderWay);
    assert!(matches!(claim(s, "other").await.0, Claim::Mine { .. }));
}

pub(super) async fn of_many_who_claim_a_key_at_once_one_does(s: &Subject) {
    let request = request("k");
    let other = s.other().await;
    let claims = (0..8).map(|n| if n % 2 == 0 { s.store() } else { other }.claim(&request, Uuid::now_v7(), HOLD));
    let claims = futures::future::join_all(claims).await;
    let mine = claims.into_iter().filter(|claim| matches!(claim, Ok(Claim::Mine { .. })));
    assert_eq!(mine.count(), 1);
}

pub(super) async fn an_answer_is_given_again_and_the_first_stays(s: &Subject) {
    claim(s, "k").await;
    settle(s, "k", 1, Some(answer("one"))).await;
    settle(s, "k", 1, Some(answer("two"))).await;
    settle(s, "k", 1, None).await;
    s.pass(HOLD * 10).await;
    assert_eq!(claim(s, "k").await.0, Claim::Answered(answer("one")));
    assert!(!s.store().keep_claim("k", 1, HOLD).await.expect("an answer"), "nothing is left to be kept");
}

pub(super) async fn a_key_belongs_to_one_request(s: &Subject) {
    claim(s, "k").await;
    let other = KeyedRequest { fingerprint: "another body".to_owned(), ..request("k") };
    let claim_other = async || s.store().claim(&other, Uuid::now_v7(), HOLD).await.expect("an answer");
    assert_eq!(claim_other().await, Claim::OtherRequest);
    s.pass(HOLD * 2).await;
    assert_eq!(claim_other().await, Claim::OtherRequest, "also when nobody holds it any more");
    settle(s, "k", 1, Some(answer("one"))).await;
    assert_eq!(claim_other().await, Claim::OtherRequest);
}

pub(super) async fn a_claim_that_is_not_kept_is_taken_over_with_its_seed(s: &Subject) {
    let (_, seed) = claim(s, "k").await;
    s.pass(HOLD / 2).await;
    assert!(s.store().keep_claim("k", 1, HOLD).await.expect("an answer"));
    s.pass(HOLD / 2).await;
    assert_eq!(claim(s, "k").await.0, Claim::UnderWay);
    s.pass(HOLD / 2).await;
    assert_eq!(claim(s, "k").await.0, Claim::Mine { seed, attempt: 2 });
    assert!(!s.store().keep_claim("k", 1, HOLD).await.expect("an answer"), "another attempt has it");
    settle(s, "k", 1, None).await;
    assert_eq!(claim(s, "k").await.0, Claim::UnderWay, "the first may not give up what is the second's");
    settle(s, "k", 1, Some(answer("late"))).await;
    assert_eq!(claim(s, "k").await.0, Claim::Answered(answer("late")), "but its answer is as good");
}

pub(super) async fn a_claim_that_is_given_up_is_free_at_once(s: &Subject) {
    let (_, seed) = claim(s, "k").await;
    settle(s, "k", 1, None).await;
    assert_eq!(claim(s, "k").await.0, Claim::Mine { seed, attempt: 2 });
    settle(s, "unknown", 1, None).await;
    assert!(!s.store().keep_claim("unknown", 1, HOLD).await.expect("an answer"));
}

pub(super) async fn keys_are_forgotten_when_they_are_old(s: &Subject) {
    claim(s, "old").await;
    settle(s, "old", 1, Some(answer("one"))).await;
    s.pass(Duration::from_secs(3600)).await;
    claim(s, "new").await;
    let trim = async |older| s.store().trim_keys(older).await.expect("trimmed");
    assert_eq!(trim(Duration::from_secs(3600)).await, 0);
    assert_eq!(trim(Duration::from_secs(3599)).await, 1);
    assert!(matches!(claim(s, "old").await.0, Claim::Mine { attempt: 1, .. }));
    assert_eq!(claim(s, "new").await.0, Claim::UnderWay);
}

pub(super) async fn a_key_or_an_answer_that_cannot_be_is_not_kept(s: &Subject) {
    for key in [String::new(), "k".repeat(256)] {
        let claimed = s.store().claim(&request(&key), Uuid::now_v7(), HOLD).await;
        assert!(matches!(claimed, Err(StoreError::Fault { .. })), "{claimed:?}");
    }
    claim(s, "k").await;
    let settled = s.store().settle_claim("k", 1, Some(KeptAnswer { status: 503, ..answer("no") })).await;
    assert!(matches!(settled, Err(StoreError::Fault { .. })), "{settled:?}");
    assert_eq!(claim(s, "k").await.0, Claim::UnderWay);
}
