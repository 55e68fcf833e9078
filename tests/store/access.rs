//! Tokens of the control port, as a store keeps them.

use crate::support::{TestStore, at, name, on_every_store, operator};
use std::collections::BTreeSet;
use windlass::{
    job::{Scope, Token, TokenRequest},
    store::Error,
};

on_every_store![
    token_is_kept_until_it_is_told_to_end,
    token_ends_when_it_was_made_to_and_never_later,
    same_act_on_a_token_is_done_once,
    token_that_is_not_there_is_named,
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
