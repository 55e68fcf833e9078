//! Tokens of the control port, as a store keeps them.

use crate::support::{TestStore, at, name, now, on_every_store, operator};
use std::{collections::BTreeSet, time::Duration};
use windlass::{
    job::{Scope, Token, TokenRequest},
    store::{Error, Keys, Retention},
};

on_every_store![
    token_is_kept_until_it_is_told_to_end,
    token_ends_when_it_was_made_to_and_never_later,
    same_act_on_a_token_is_done_once,
    token_that_is_not_there_is_named,
    only_those_that_let_somebody_in_are_keys,
    ended_tokens_are_forgotten_after_a_month_but_for_the_last,
];

/// Another for each number.
fn token(number: u8, request: TokenRequest) -> Token {
    Token::make(request, [number; 40], at(0), "cli:test").1
}

fn request() -> TokenRequest {
    TokenRequest { name: name("ci"), scopes: [Scope::Enqueue, Scope::ReadPayload].into(), tenant: Some(name("acme")), expires_at: None }
}

async fn token_is_kept_until_it_is_told_to_end(store: &mut TestStore) {
    let (first, second) = (token(1, request()), token(2, TokenRequest { tenant: None, ..request() }));
    for token in [&first, &second] {
        store.put_token(token, &operator()).await.expect("it is kept");
    }
    assert_eq!(store.tokens().await.expect("they are read"), [first.clone(), second.clone()]);
    store.end_token(&first.id, at(50), &operator()).await.expect("it ends");
    let ended = Token { expires_at: Some(at(50)), ..first };
    assert_eq!(store.tokens().await.expect("they are read"), [ended, second]);
}

async fn token_ends_when_it_was_made_to_and_never_later(store: &mut TestStore) {
    let made = token(1, TokenRequest { expires_at: Some(at(100)), ..request() });
    store.put_token(&made, &operator()).await.expect("it is kept");
    for (end, then) in [(200, 100), (70, 70), (90, 70)] {
        store.end_token(&made.id, at(end), &operator()).await.expect("it ends");
        let kept = store.tokens().await.expect("they are read");
        assert_eq!(kept.iter().map(|token| token.expires_at).collect::<BTreeSet<_>>(), [Some(at(then))].into());
    }
}

async fn same_act_on_a_token_is_done_once(store: &mut TestStore) {
    let (made, making, ending) = (token(1, request()), operator(), operator());
    for _ in 0..2 {
        store.put_token(&made, &making).await.expect("it is kept");
    }
    let other = Token { name: name("thief"), ..made.clone() };
    let refused = store.put_token(&other, &operator()).await;
    assert!(matches!(&refused, Err(Error::NotAllowed(why)) if why.contains(made.id.as_str())), "{refused:?}");
    for end in [70, 60] {
        store.end_token(&made.id, at(end), &ending).await.expect("it ends");
    }
    assert_eq!(store.tokens().await.expect("they are read"), [Token { expires_at: Some(at(70)), ..made }]);
}

async fn token_that_is_not_there_is_named(store: &mut TestStore) {
    let missing = token(1, request());
    let refused = store.end_token(&missing.id, at(1), &operator()).await;
    assert!(matches!(&refused, Err(Error::NotFound { what }) if what.contains(missing.id.as_str())), "{refused:?}");
    assert_eq!(store.tokens().await.expect("they are read"), []);
}

async fn only_those_that_let_somebody_in_are_keys(store: &mut TestStore) {
    assert_eq!(store.keys().await.expect("they are read"), Keys::default());
    let [lasting, ending, ended, revoked] = [(1, None), (2, Some(100)), (3, Some(10)), (4, None)]
        .map(|(number, end)| token(number, TokenRequest { expires_at: end.map(at), ..request() }));
    for token in [&lasting, &ending, &ended, &revoked] {
        store.put_token(token, &operator()).await.expect("it is kept");
    }
    store.end_token(&revoked.id, Token::REVOKED, &operator()).await.expect("it ends");
    store.clock.advance(Duration::from_secs(10));
    let live = |live: &[&Token]| Keys { live: live.iter().map(|token| (*token).clone()).collect(), is_any: true };
    assert_eq!(store.keys().await.expect("they are read"), live(&[&lasting, &ending]));
    store.end_token(&lasting.id, at(11), &operator()).await.expect("it ends");
    store.clock.advance(Duration::from_secs(90));
    assert_eq!(store.keys().await.expect("they are read"), live(&[]), "and there were some");
}

async fn ended_tokens_are_forgotten_after_a_month_but_for_the_last(store: &mut TestStore) {
    const DAY: i64 = 86_400;
    let [expired, revoked, lasting] =
        [(1, Some(DAY)), (2, None), (3, None)].map(|(number, end)| token(number, TokenRequest { expires_at: end.map(at), ..request() }));
    for token in [&expired, &revoked, &lasting] {
        store.put_token(token, &operator()).await.expect("it is kept");
    }
    store.clock.advance(Duration::from_secs(5 * DAY as u64));
    store.end_token(&revoked.id, Token::REVOKED, &operator()).await.expect("it ends");
    let left = async |days: i64| {
        store.prune(Retention::default(), 100, now(days * DAY)).await.expect("pruned");
        store.tokens().await.expect("they are read").iter().map(|token| token.id.clone()).collect::<Vec<_>>()
    };
    let id = |token: &Token| token.id.clone();
    assert_eq!(left(30).await, [id(&expired), id(&revoked), id(&lasting)]);
    assert_eq!(left(31).await, [id(&revoked), id(&lasting)], "thirty days after its end");
    assert_eq!(left(34).await, [id(&revoked), id(&lasting)], "it counts from when it was revoked");
    assert_eq!(left(35).await, [id(&lasting)]);
    store.end_token(&lasting.id, Token::REVOKED, &operator()).await.expect("it ends");
    assert_eq!(left(500).await, [id(&lasting)], "everybody needs one still");
    assert_eq!(store.keys().await.expect("they are read"), Keys { live: Vec::new(), is_any: true });
}
