//! `windlass doctor`: without a daemon, beside one, and on what is ill; and a daemon that does not start on what would lose jobs.

use super::program::Place;
use crate::support::{OwnPostgres, TestStore};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt as _};

fn store(place: &Place) {
    place.json(&["enqueue", "work", "{}", "--json"]);
}

fn finding(answer: &Value, check: &str) -> Value {
    let findings = answer["findings"].as_array().expect("a list");
    findings.iter().find(|finding| finding["check"] == check).unwrap_or_else(|| panic!("{check} is not in {answer:#}")).clone()
}

#[test]
fn store_that_is_well_is_told_line_by_line_and_is_left_as_it_was() {
    let place = Place::new();
    store(&place);
    let ended = place.run(&["doctor"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    for line in ["ok    durability", "ok    migrations", "  fsync_latency ", "  clock_set ", "  open_files "] {
        assert!(ended.out.contains(line), "{line:?} is not in {}", ended.out);
    }
    let warnings = ended.out.lines().filter(|line| line.starts_with("warn")).count();
    assert_eq!(ended.out.lines().filter(|line| line.trim_start().starts_with("-> ")).count(), warnings, "a remedy for each: {}", ended.out);
    let answer = place.json(&["doctor", "--json", "--deep"]);
    assert!(["ok", "warn"].iter().any(|level| answer["level"] == *level), "{answer:#}");
    assert_eq!(finding(&answer, "integrity")["level"], "ok");
    assert_eq!(finding(&answer, "daemon")["says"], "no daemon works on the file just now");
    assert_eq!(place.json(&["jobs", "list", "--json"])["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn daemon_is_asked_where_one_works_on_the_store() {
    let place = Place::new();
    let daemon = place.daemon(&[]);
    let answer = place.json(&["doctor", "--json"]);
    assert!(finding(&answer, "daemon")["says"].as_str().is_some_and(|says| says.contains(&daemon.address.to_string())), "{answer:#}");
    let again = place.json(&["doctor", "--json", "--deep"]);
    assert_eq!(finding(&again, "fsync_latency"), finding(&answer, "fsync_latency"), "the daemon examined once for both");
    assert_eq!(finding(&again, "integrity")["level"], "ok", "beside the daemon");
    drop(daemon);
    assert_eq!(finding(&place.json(&["doctor", "--json"]), "daemon")["says"], "no daemon works on the file just now");
}

#[test]
fn store_that_is_not_there_is_unavailable_and_not_made() {
    let place = Place::new();
    place.run(&["doctor"]).assert_refused(69, &["the store cannot be reached", "windlass.db does not exist"]);
    assert!(!place.path("windlass.db").exists());
    let ended = place.run(&["doctor", "--store", "postgres://me:hush@127.0.0.1:1/x", "--json"]);
    assert_eq!(ended.code, 69, "{ended:?}");
    assert!(!ended.out.contains("hush") && !ended.err.contains("hush"), "{ended:?}");
    let answer: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((&answer["level"], &finding(&answer, "connection")["level"]), (&"fail".into(), &"fail".into()));
    assert!(finding(&answer, "open_files")["says"].is_string(), "the machine is looked at all the same");
}

#[test]
fn warnings_end_well_unless_they_are_not_to() {
    let place = Place::new();
    store(&place);
    fs::set_permissions(place.path("windlass.db"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let ended = place.run(&["doctor"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains("warn  permissions") && ended.out.contains("-> stop the daemon and run `chmod o-rwx"), "{}", ended.out);
    place.run(&["doctor", "--strict"]).assert_refused(78, &["permissions"]);
}

#[test]
fn damage_is_found_by_reading_the_whole_file() {
    let place = Place::new();
    let lines: String = (0..2000).map(|n| format!("{{\"kind\":\"work\",\"payload\":{n}}}\n")).collect();
    assert_eq!(place.run_with_input(&["enqueue", "-"], &lines).code, 0);
    let mut bytes = fs::read(place.path("windlass.db")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8192].fill(0xff);
    place.write("windlass.db", "");
    fs::write(place.path("windlass.db"), bytes).unwrap();
    let ended = place.run(&["doctor", "--deep"]);
    ended.assert_refused(78, &["integrity"]);
    assert!(ended.out.contains("fail  integrity") && ended.out.contains("restore a backup"), "{}", ended.out);
    place.run(&["doctor", "--deep", "--store", "redis://127.0.0.1:1"]).assert_refused(64, &["--deep", "redis-check-aof"]);
}

#[test]
fn configuration_and_its_certificates_are_looked_at() {
    let place = Place::new();
    store(&place);
    let mut parameters = rcgen::CertificateParams::new(["mail.example".to_owned()]).unwrap();
    (parameters.not_before, parameters.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    let expired = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem();
    let ca = place.write("ca.pem", &expired);
    let token = "0123456789abcdef0123456789abcdef";
    let config = place.write("windlass.toml", &format!("[control]\ntoken = \"{token}\"\n[providers.smtp]\nca_file = {ca:?}\n"));
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();
    let ended = place.run(&["doctor", "--config", "windlass.toml"]);
    ended.assert_refused(78, &["certificate"]);
    assert!(ended.out.contains("expired at 2021-01-01") && ended.out.contains("`providers.smtp.ca_file`"), "{}", ended.out);
    assert!(ended.out.contains("warn  configuration") && ended.out.contains("control.token"), "{}", ended.out);
    assert!(!ended.out.contains(token));
}

#[tokio::test]
async fn daemon_does_not_start_on_tables_that_a_crash_empties() {
    if !TestStore::is_wanted("postgres") {
        return;
    }
    let (server, place) = (OwnPostgres::start().await, Place::new());
    server.client().await.batch_execute("ALTER TABLE windlass.tokens SET UNLOGGED").await.expect("a table");
    let run = place.run(&["run", "--listen", "127.0.0.1:0", "--store", &server.url()]);
    assert_eq!(run.code, 78, "{run:?}");
    assert!(run.err.contains("windlass: a crash of the server empties the tables tokens") && run.err.contains("SET LOGGED"), "{run:?}");
    let doctor = place.run(&["doctor", "--store", &server.url()]);
    doctor.assert_refused(78, &["unlogged_tables"]);
    assert!(doctor.out.contains("fail  unlogged_tables"), "{}", doctor.out);
    assert_eq!(place.run(&["jobs", "list", "--store", &server.url()]).code, 0, "a command may look");
}
