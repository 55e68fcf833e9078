//! The provider clients against scripted servers, and the address guard against addresses.

mod dataforseo;
mod guard;
mod http;
mod lookup;
pub mod mail_server;
mod openai;
pub mod server;
mod smtp;

use windlass::{
    clients::http::{Config, Http},
    clock::Clock,
    job::Timestamp,
};

/// The instant at which every test of these rooms takes place.
pub fn now() -> Timestamp {
    Timestamp::parse("2026-06-01T12:00:00Z").expect("a time")
}

/// A client whose guard lets loopback through, as the scripted servers need.
pub fn open_http() -> Http {
    let config = Config { allow: vec!["127.0.0.0/8".parse().expect("a network")], ..Config::default() };
    Http::new(&config, Clock::manual(now())).expect("a client")
}
