//! `windlass top` in a terminal, beside a daemon and on a store by itself.

use super::{
    program::{PATIENCE, Place},
    terminal::Terminal,
};
use serde_json::Value;
use std::time::Instant;

fn queue(place: &Place, name: &str) -> Value {
    let queues = place.json(&["queues", "list", "--json"]);
    queues.as_array().unwrap().iter().find(|queue| queue["name"] == name).cloned().unwrap_or_default()
}

#[track_caller]
fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} never came");
    }
}

#[test]
fn a_queue_is_seen_paused_and_let_go_from_a_terminal() {
    let place = Place::new();
    let daemon = place.daemon(&[]);
    place.json(&["enqueue", "work.none", "{}", "--queue", "errands", "--delay-ms", "600000", "--json"]);
    let mut top = Terminal::run(&place, &["top", "--interval", "200ms"], &[], 24, 80);
    let seen = top.sees("errands");
    assert!(seen.contains("[1 Overview]") && seen.contains(&daemon.address.to_string()) && top.is_raw(), "{seen}");
    top.press("2");
    top.sees("[2 Queues]");
    top.press("/errands\rp");
    top.sees("Pause errands?");
    top.press("provider is down\r");
    top.sees("queue errands is paused");
    top.sees("errands (paused)");
    assert_eq!(queue(&place, "errands")["paused"]["reason"], "provider is down");
    top.press("p");
    top.sees("Resume errands?");
    top.press("\r");
    until("an open queue", || queue(&place, "errands")["paused"].is_null());
    top.wait("an open queue", |screen| !screen.contents().contains("(paused)"));
    top.press("q");
    assert!(top.ends_in_order().0.success());
}

#[test]
fn a_job_is_explained_with_no_escape_sequence_of_its_producer() {
    let place = Place::new();
    let _daemon = place.daemon(&[]);
    let id = place.json(&["enqueue", "work.none", "{}", "--queue", "errands", "--delay-ms", "600000", "--json"])["id"].clone();
    place.json(&["queues", "pause", "errands", "--reason", "\u{1b}[31mred\u{1b}]0;owned\u{7}", "--json"]);
    let mut top = Terminal::run(&place, &["top", "--interval", "200ms"], &[("NO_COLOR", "1")], 20, 60);
    let seen = top.sees("[31mred");
    assert!(seen.contains("errands"), "{seen}");
    top.press("\r");
    top.sees("work.none");
    top.press("\r");
    let seen = top.sees("closed");
    assert!(seen.contains(id.as_str().unwrap()), "{seen}");
    top.resize(10, 40);
    top.press("\u{c}");
    let fits = |line: &str| line.chars().count() == 40 && line.ends_with('┐');
    top.wait("a smaller screen", |screen| screen.contents().lines().any(fits));
    top.signal(libc::SIGTERM);
    assert!(top.ends_in_order().0.success());
}

#[test]
fn a_lost_daemon_is_told_of_and_found_again() {
    let place = Place::new();
    let mut daemon = place.daemon(&[]);
    place.json(&["enqueue", "work.none", "{}", "--queue", "errands", "--delay-ms", "600000", "--json"]);
    let address = daemon.address.to_string();
    let mut top = Terminal::run(&place, &["top", "--interval", "200ms", "--listen", &address], &[], 24, 120);
    top.sees(&format!("{address} answers"));
    daemon.signal(libc::SIGTERM);
    daemon.wait();
    let seen = top.sees("! lost ");
    assert!(seen.contains("errands") && seen.contains("trying again"), "what was seen last is still there:\n{seen}");
    let _daemon = place.daemon(&["--listen", &address]);
    top.sees(&format!("{address} answers"));
    top.press("\u{3}");
    assert!(top.ends_in_order().0.success());
}

#[test]
fn without_a_daemon_the_store_itself_is_looked_at() {
    let place = Place::new();
    place.json(&["enqueue", "work.none", "{}", "--queue", "errands", "--json"]);
    let mut top = Terminal::run(&place, &["top"], &[], 24, 80);
    let seen = top.sees("no daemon is alive");
    assert!(seen.contains("errands") && seen.contains("sqlite:windlass.db answers"), "{seen}");
    top.press("\u{1b}");
    assert!(top.ends_in_order().0.success());
}

#[test]
fn a_token_of_one_tenant_sees_its_jobs_and_is_told_of_the_rest() {
    let place = Place::new();
    let made = place.run(&["token", "create", "acme", "--scopes", "read,operate", "--tenant", "acme", "--days", "1"]);
    place.json(&["enqueue", "work.acme", "{}", "--tenant", "acme", "--delay-ms", "600000", "--json"]);
    place.json(&["enqueue", "work.other", "{}", "--tenant", "other", "--delay-ms", "600000", "--json"]);
    let _daemon = place.daemon(&[]);
    let token = made.out.trim();
    let mut top = Terminal::run(&place, &["top", "--interval", "200ms"], &[("WINDLASS__CONTROL__TOKEN", token)], 24, 80);
    top.sees("not one tenant's affair");
    top.press("p");
    top.sees("this token is bound to one");
    top.press("3");
    let seen = top.sees("work.acme");
    assert!(!seen.contains("work.other"), "{seen}");
    top.press("q");
    assert!(top.ends_in_order().0.success());
}

#[test]
fn where_there_is_no_terminal_one_look_is_printed_or_refused() {
    let place = Place::new();
    place.run(&["top", "--once"]).assert_refused(69, &["does not exist"]);
    place.json(&["enqueue", "work.none", "{}", "--queue", "errands", "--json"]);
    place.run(&["top"]).assert_refused(64, &["needs a terminal", "windlass queues list --json"]);
    let once = place.run(&["top", "--once", "--interval", "200ms"]);
    assert_eq!(once.code, 0, "{once:?}");
    for says in ["Waiting", "errands", "0.0 a second", "no daemon is alive"] {
        assert!(once.out.contains(says), "{says} is not in {}", once.out);
    }
    assert!(!once.out.contains('\u{1b}'), "{once:?}");
    assert_eq!(place.run(&["top", "--interval", "1ms"]).code, 64);
}
