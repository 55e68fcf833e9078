//! Who else on the machine may read the jobs, and whom a command trusts with them.

use super::program::Place;
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
};

fn mode(place: &Place, file: &str) -> u32 {
    fs::metadata(place.path(file)).unwrap_or_else(|error| panic!("{file}: {error}")).mode() & 0o777
}

#[test]
fn what_is_made_for_jobs_is_readable_by_its_owner_alone() {
    let place = Place::new();
    place.json(&["enqueue", "work", "{}", "--json"]);
    assert_eq!(mode(&place, "windlass.db"), 0o600, "made by a command");
    fs::remove_file(place.path("windlass.db")).unwrap();
    let daemon = place.daemon(&[]);
    place.json(&["enqueue", "bench.noop", "{}", "--json"]);
    for file in ["windlass.db", "windlass.db-wal", "windlass.db-shm", "windlass.db.lock"] {
        assert_eq!(mode(&place, file), 0o600, "{file}");
    }
    drop(daemon);
    assert_eq!(place.run(&["export", "-o", "jobs.ndjson"]).code, 0);
    assert_eq!(mode(&place, "jobs.ndjson"), 0o600);
}

#[test]
fn files_that_are_there_keep_their_mode_and_an_open_store_is_warned_of() {
    let place = Place::new();
    for file in ["windlass.db", "windlass.db.lock"] {
        fs::set_permissions(place.write(file, ""), fs::Permissions::from_mode(0o664)).unwrap();
    }
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let (_daemon, before_ready) = place.daemon_and_log(&[]);
    let warned = |entry: &&Value| entry["message"].as_str().is_some_and(|message| message.contains("can be read by everybody"));
    assert_eq!(before_ready.iter().filter(warned).count(), 1, "{before_ready:#?}");
    assert_eq!((mode(&place, "windlass.db"), mode(&place, "windlass.db.lock")), (0o664, 0o664), "a group may share them on purpose");
    let private = Place::new();
    assert_eq!(private.daemon_and_log(&[]).1.iter().filter(warned).count(), 0);
}

#[test]
fn an_address_that_somebody_else_wrote_is_not_called() {
    let place = Place::new();
    let daemon = place.daemon(&[]);
    let lock = place.path("windlass.db.lock");
    let others = fs::metadata(&lock).unwrap().uid() + 4711;
    // Only root can give files away; for anybody else the rule itself is tested beside it, in the door.
    if chown(&lock, Some(others), None).is_err() {
        return;
    }
    let list = ["jobs", "list", "--json"];
    place.run(&list).assert_refused(69, &["windlass.db.lock belongs to user", "--listen"]);
    let address = daemon.address.to_string();
    place.json(&[&list[..], &["--listen", &address]].concat());
    chown(&lock, Some(0), None).unwrap();
    place.json(&list);
}
