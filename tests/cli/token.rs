//! `windlass token`: on a store by itself, and through the port of a daemon that asks for one.

use super::program::Place;
use serde_json::Value;

/// What a command prints, which must end well.
fn said(place: &Place, token: Option<&str>, args: &[&str]) -> String {
    let mut command = place.command(args);
    command.envs(token.map(|token| ("WINDLASS__CONTROL__TOKEN", token)));
    let done = command.output().expect("it runs");
    assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text").trim().to_owned()
}

fn id_of(token: &str) -> &str {
    token.split('_').nth(1).expect("windlass_<id>_<secret>")
}

fn list(place: &Place, token: Option<&str>) -> Vec<Value> {
    serde_json::from_str(&said(place, token, &["token", "list", "--json"])).expect("JSON")
}

#[test]
fn tokens_are_made_rotated_and_ended_on_the_store_itself() {
    let place = Place::new();
    let token = said(&place, None, &["token", "create", "ci", "--scopes", "enqueue,read", "--tenant", "acme", "--days", "30"]);
    assert!(token.starts_with("windlass_") && token.len() == 90, "nothing but the token: {token}");
    let rotated = place.run(&["token", "rotate", id_of(&token), "--overlap-hours", "1"]);
    assert!(rotated.err.starts_with(&format!("token {} lets its holder in until ", id_of(&token))), "{rotated:?}");
    let second = rotated.out.trim().to_owned();
    said(&place, None, &["token", "revoke", id_of(&second)]);
    let tokens = list(&place, None);
    assert_eq!(tokens.iter().map(|token| token["id"].as_str().expect("an id")).collect::<Vec<_>>(), [id_of(&token), id_of(&second)]);
    for member in ["name", "scopes", "tenant"] {
        assert_eq!(tokens[0][member], tokens[1][member], "{member}");
    }
    assert_eq!((&tokens[0]["is_live"], &tokens[1]["is_live"]), (&Value::Bool(true), &Value::Bool(false)));
    let table = said(&place, None, &["token", "list"]);
    assert!(table.contains("ended") && !table.contains(&token), "{table}");
    for (args, says) in [
        (&["token", "create", "x", "--scopes", "everything"][..], "is no scope"),
        (&["token", "rotate", "0123456789abcdef"], "does not exist"),
        (&["token", "revoke", "0123456789abcdef"], "does not exist"),
        (&["token", "revoke", "abc"], "sixteen"),
    ] {
        let ended = place.run(args);
        assert!(ended.code != 0 && ended.err.contains(says), "{args:?}: {}", ended.err);
    }
}

#[test]
fn first_token_closes_the_port_to_all_who_have_none() {
    let place = Place::new();
    {
        let mut daemon = place.daemon(&[]);
        place.run(&["token", "create", "ops", "--scopes", "admin"]).assert_refused(78, &["on the store itself"]);
        daemon.signal(libc::SIGTERM);
        daemon.wait();
    }
    let admin = said(&place, None, &["token", "create", "ops", "--scopes", "admin", "--days", "10"]);
    let _daemon = place.daemon(&[]);
    place.run(&["jobs", "list"]).assert_refused(78, &["WINDLASS__CONTROL__TOKEN"]);
    let producer = said(&place, Some(&admin), &["token", "create", "ci", "--scopes", "enqueue"]);
    said(&place, Some(&producer), &["enqueue", "work", "1", "--queue", "elsewhere"]);
    let mut looking = place.command(&["jobs", "list"]);
    let looked = looking.env("WINDLASS__CONTROL__TOKEN", &producer).output().expect("it runs");
    assert_eq!((looked.status.code(), String::from_utf8_lossy(&looked.stderr).contains("`read`")), (Some(78), true));
    let next = said(&place, Some(&admin), &["token", "rotate", id_of(&admin), "--overlap-hours", "0"]);
    let tokens = list(&place, Some(&next));
    assert!(tokens.len() == 3 && tokens[2]["expires_at"].is_string(), "the new one ends too: {tokens:?}");
    let mut again = place.command(&["token", "rotate", id_of(&admin)]);
    let refused = again.env("WINDLASS__CONTROL__TOKEN", &next).output().expect("it runs");
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("has ended"), "{refused:?}");
    said(&place, Some(&next), &["token", "revoke", id_of(&producer)]);
    assert_eq!(list(&place, Some(&next)).iter().filter(|token| token["is_live"] == true).count(), 1);
}
