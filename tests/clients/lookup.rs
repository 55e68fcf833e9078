//! Name lookups while the name server hangs.

use super::now;
use futures_util::FutureExt as _;
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use windlass::{
    clients::{
        http::{Config, Http},
        lookup::{Lookup as _, SystemLookup},
    },
    clock::Clock,
    job::ErrorClass,
};

/// A resolver that blocks its thread until it is released.
#[derive(Default)]
struct Hanging {
    asked: AtomicUsize,
    released: Mutex<bool>,
    release: Condvar,
}

impl Hanging {
    fn answer(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if name == "slow.example" {
            let released = self.released.lock().expect("no panic while locked");
            drop(self.release.wait_while(released, |released| !*released).expect("no panic while locked"));
        }
        Ok(vec!["192.0.2.1:0".parse().expect("an address")])
    }

    fn release(&self) {
        *self.released.lock().expect("no panic while locked") = true;
        self.release.notify_all();
    }

    fn lookup(self: &Arc<Self>, start_within: Duration) -> SystemLookup {
        let hanging = Arc::clone(self);
        SystemLookup::asking(move |name| hanging.answer(name), start_within)
    }
}

#[tokio::test]
async fn abandoned_lookups_keep_their_place_so_there_are_never_more_threads_than_places() {
    let hanging = Arc::new(Hanging::default());
    let lookup = hanging.lookup(Duration::from_secs(60));
    for _ in 0..1_500 {
        // Given up as soon as it has begun, as by an attempt with a timeout of a millisecond.
        assert!(lookup.lookup("slow.example").now_or_never().is_none());
    }
    assert!(hanging.asked.load(Ordering::SeqCst) <= 32, "the rest never reached a thread");
    let waiting = lookup.lookup("quick.example");
    hanging.release();
    assert_eq!(waiting.await.expect("an answer").len(), 1, "places come back with the system's answers");
}

#[tokio::test]
async fn a_lookup_that_finds_no_place_is_a_failure_to_try_again_with_a_sentence() {
    let hanging = Arc::new(Hanging::default());
    let lookup = hanging.lookup(Duration::from_millis(20));
    for _ in 0..32 {
        assert!(lookup.lookup("slow.example").now_or_never().is_none());
    }
    let http = Http::with_lookup(&Config::default(), Clock::manual(now()), Arc::new(lookup)).expect("a client");
    let error = http.call(super::http::get("http://quick.example/")).await.expect_err("no place");
    assert_eq!(error.class(), ErrorClass::Retry);
    assert!(error.to_string().contains("could not begin within 20 ms"), "{error}");
    hanging.release();
}
