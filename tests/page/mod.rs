//! The page at `/`, as a person sees it: a real browser before a real port, and before a real daemon where jobs must run.

mod access;
mod daemon;
mod dead;
mod hostile;
mod keyboard;
mod served;
mod session;
mod shots;

use crate::{
    control::{Port, name},
    support::{Tab, browser},
};
use windlass::{
    job::{Scope, Timestamp, Token, TokenRequest},
    store::Actor,
};

/// A token, as its holder shows it.
pub async fn token(port: &Port, scopes: &[Scope], tenant: Option<&str>) -> String {
    let request = TokenRequest { name: name("page"), scopes: scopes.iter().copied().collect(), tenant: tenant.map(name), expires_at: None };
    let mut chance = [0; 40];
    chance[..16].copy_from_slice(uuid::Uuid::now_v7().as_bytes());
    chance.rotate_left(8);
    let (text, token) = Token::make(request, chance, Timestamp(0), "test");
    port.store.put_token(&token, &Actor::new("test")).await.expect("it is kept");
    text
}

/// A tab that shows `view` of the page, once the frame stands.
pub async fn opened(address: std::net::SocketAddr, view: &str) -> Tab {
    let tab = browser().tab().await;
    tab.sized(1280, 800, false).await;
    tab.go(&format!("http://{address}/#{view}")).await;
    tab.until("document.querySelector('#nav a') || document.querySelector('.login')").await;
    tab
}

/// The same, signed in.
pub async fn signed_in(port: &Port, token: &str, view: &str) -> Tab {
    let tab = opened(port.address, view).await;
    tab.write("input[name=token]", token).await;
    tab.click("text:Sign in").await;
    tab.until("document.querySelector('#nav a')").await;
    tab
}

/// Nothing ran that should not, and the policy had nothing to refuse.
pub async fn all_is_well(tab: &Tab) {
    assert_eq!(tab.complaints().await, [""; 0]);
}
