//! Whatever is wrong, the program says so in a sentence, ends with the right code, and loses nothing.

use super::program::{Place, bytes_of};
use std::{net::TcpListener, path::Path};

const PAYLOAD: &str = "{}";

#[test]
fn a_command_line_that_makes_no_sense_ends_with_64() {
    let place = Place::new();
    for args in [&["no-such-command"][..], &["run", "--no-such-flag"], &["jobs", "show", "not-an-id"], &["jobs", "list", "--state", "lost"]]
    {
        let ended = place.run(args);
        assert_eq!(ended.code, 64, "{args:?}: {ended:?}");
        assert!(ended.err.starts_with("error: "), "{args:?}: {ended:?}");
    }
    place.run(&["enqueue", "http.call"]).assert_refused(64, &["the payload is missing"]);
    place.run(&["enqueue", "-", PAYLOAD]).assert_refused(64, &["takes whole envelopes from standard input"]);
    let ended = place.run(&["enqueue", "work", PAYLOAD]);
    assert_eq!(ended.code, 0, "{ended:?}");
    place.run(&["dead", "redrive"]).assert_refused(64, &["say which dead letters"]);
}

#[test]
fn help_and_version_are_no_errors() {
    let place = Place::new();
    for args in [&["--help"][..], &["--version"], &["jobs", "--help"], &["help", "enqueue"]] {
        let ended = place.run(args);
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn a_payload_that_is_no_json_ends_with_65_and_makes_no_store() {
    let place = Place::new();
    for (payload, says) in [("{\"a\":", "not valid JSON"), ("", "not valid JSON"), ("{} {}", "not valid JSON")] {
        place.run(&["enqueue", "work", payload]).assert_refused(65, &[says]);
    }
    assert!(!place.path("windlass.db").exists());
}

#[test]
fn an_envelope_that_breaks_a_rule_ends_with_65_and_the_member_at_fault() {
    let place = Place::new();
    let refused = |args: &[&str], says: &[&str]| {
        let whole: Vec<&str> = ["enqueue", "work", PAYLOAD].iter().chain(args).copied().collect();
        place.run(&whole).assert_refused(65, says);
    };
    refused(&["--priority", "10"], &["/priority", "0 (first) to 9 (last)"]);
    refused(&["--ordered"], &["/ordered", "concurrency_key"]);
    refused(&["--delay-ms", "5", "--run-at", "2030-01-01T00:00:00Z"], &["send one of them"]);
    place.run(&["enqueue", "two words", PAYLOAD]).assert_refused(65, &["the kind must be 1 to 128"]);
    let bomb = "[".repeat(100) + &"]".repeat(100);
    place.run(&["enqueue", "work", &bomb]).assert_refused(65, &["nested deeper than 64 levels"]);
    place
        .run_with_input(&["enqueue", "-"], "{\"kind\":\"work\",\"payload\":{},\"priorty\":1}\n")
        .assert_refused(65, &["line 1", "priorty", "did you mean `priority`?", "nothing was enqueued"]);
}

#[test]
fn a_bad_line_of_ndjson_is_named_and_nothing_of_its_chunk_is_written() {
    let place = Place::new();
    let line = |n: usize| match n {
        1503 => "{\"kind\":\"work\",\"payload\":}\n".to_owned(),
        1777 => "{\"kind\":\"work\"}\n".to_owned(),
        _ => format!("{{\"kind\":\"work\",\"payload\":{n}}}\n"),
    };
    let input: String = (1..=2500).map(line).collect();
    let ended = place.run_with_input(&["enqueue", "-"], &input);
    ended.assert_refused(
        65,
        &["line 1503: not valid JSON", "line 1777", "`payload` is required", "lines 1 to 1000 are enqueued, nothing after"],
    );
    assert_eq!(queued(&place), 1000);
    let rest: String = (1001..=2500).filter(|n| ![1503, 1777].contains(n)).map(line).collect();
    assert_eq!(place.run_with_input(&["enqueue", "-"], &rest).code, 0);
    assert_eq!(queued(&place), 2498);
}

#[test]
fn ndjson_that_is_not_text_is_refused_with_its_line() {
    let place = Place::new();
    let nul = "{\"kind\":\"work\",\"payload\":\"\0\"}\n";
    place.run_with_input(&["enqueue", "-"], nul).assert_refused(65, &["line 1"]);
}

fn queued(place: &Place) -> u64 {
    place.json(&["queues", "list", "--json"])[0]["jobs"]["queued"].as_u64().unwrap()
}

#[test]
fn a_job_that_does_not_exist_ends_with_65() {
    let place = Place::new();
    assert_eq!(place.run(&["enqueue", "work", PAYLOAD]).code, 0);
    let unknown = "01936b2e-0000-7000-8000-000000000000";
    for command in [&["jobs", "show"][..], &["jobs", "cancel"], &["jobs", "retry"], &["dead", "show"], &["dead", "purge"]] {
        let args: Vec<&str> = command.iter().chain([&unknown]).copied().collect();
        place.run(&args).assert_refused(65, &[unknown, "does not exist"]);
    }
}

#[test]
fn a_store_that_is_not_there_is_not_made_by_looking() {
    let place = Place::new();
    for args in [&["jobs", "list"][..], &["queues", "list"], &["dead", "list"], &["schedules", "list"], &["export"]] {
        place.run(args).assert_refused(69, &["sqlite:windlass.db does not exist"]);
    }
    assert!(!place.path("windlass.db").exists());
}

#[test]
fn a_store_of_another_kind_or_program_is_refused_and_left_alone() {
    let place = Place::new();
    place.run(&["enqueue", "work", PAYLOAD, "--store", "mongodb://x"]).assert_refused(69, &["`mongodb` is no store of this version"]);
    let garbage = place.write("garbage.db", &"this is no database, but somebody needs it. ".repeat(100));
    let before = bytes_of(&garbage);
    place.run(&["enqueue", "work", PAYLOAD, "--store", "sqlite:garbage.db"]).assert_refused(69, &["garbage.db"]);
    place.run(&["run", "--listen", "127.0.0.1:0", "--store", "sqlite:garbage.db"]).assert_refused(69, &["garbage.db"]);
    assert_eq!(bytes_of(&garbage), before);
}

#[test]
fn a_damaged_store_is_said_to_be_damaged() {
    let place = Place::new();
    let input: String = (0..2000).map(|n| format!("{{\"kind\":\"work\",\"payload\":{n}}}\n")).collect();
    assert_eq!(place.run_with_input(&["enqueue", "-"], &input).code, 0);
    let path = place.path("windlass.db");
    let mut bytes = bytes_of(&path);
    let end = bytes.len();
    bytes[4096..end].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let _ = std::fs::remove_file(place.path("windlass.db-wal"));
    place.run(&["jobs", "list"]).assert_refused(69, &["windlass.db"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let place = Place::new();
    place.run(&["enqueue", "work", PAYLOAD, "--store", "sqlite:/proc/windlass.db"]).assert_refused(69, &["/proc/windlass.db"]);
    place.run(&["run", "--listen", "127.0.0.1:0", "--store", "sqlite:/proc/windlass.db"]).assert_refused(69, &["/proc/windlass.db"]);
}

#[test]
fn a_read_only_file_is_refused_and_left_alone() {
    let place = Place::new();
    assert_eq!(place.run(&["enqueue", "work", PAYLOAD]).code, 0);
    let path = place.path("windlass.db");
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&path, permissions).unwrap();
    let ended = place.run(&["enqueue", "work", PAYLOAD]);
    // The superuser may write what is read-only; then there is nothing to refuse.
    if is_writable_all_the_same(&path) {
        assert_eq!(ended.code, 0, "{ended:?}");
    } else {
        ended.assert_refused(69, &["windlass.db"]);
    }
}

fn is_writable_all_the_same(path: &Path) -> bool {
    std::fs::OpenOptions::new().append(true).open(path).is_ok()
}

#[test]
fn a_locked_store_ends_with_75_and_works_again_when_it_is_free() {
    let place = Place::new();
    assert_eq!(place.run(&["enqueue", "work", PAYLOAD]).code, 0);
    let other = rusqlite::Connection::open(place.path("windlass.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let config = place.write("windlass.toml", "[store.sqlite]\nbusy_timeout_ms = 50\n");
    let args = ["--config", config.to_str().unwrap(), "enqueue", "work", PAYLOAD];
    place.run(&args).assert_refused(75, &[]);
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(place.run(&args).code, 0);
}

#[test]
fn a_full_disk_is_said_to_be_full_and_loses_nothing() {
    let place = Place::new();
    assert_eq!(place.run(&["enqueue", "work", PAYLOAD]).code, 0);
    let enqueue = ["enqueue", "work", PAYLOAD];
    place.run_without_space(&enqueue).assert_refused(75, &["the disk is full; free space"]);
    // Somebody else has the store open: what has no room then is the WAL itself.
    let other = rusqlite::Connection::open(place.path("windlass.db")).unwrap();
    other.query_row("SELECT count(*) FROM jobs", [], |_| Ok(())).unwrap();
    place.run_without_space(&enqueue).assert_refused(75, &["the disk is full; free space"]);
    assert_eq!(queued(&place), 1);
    assert_eq!(place.run(&enqueue).code, 0);
    assert_eq!(queued(&place), 2);
}

#[test]
fn a_daemon_whose_disk_takes_no_more_goes_on_when_it_does() {
    let place = Place::new();
    let mut daemon = place.daemon(&[]);
    let enqueue = ["enqueue", "nobody.knows", PAYLOAD];
    assert_eq!(place.run(&enqueue).code, 0);
    daemon.limit_files(Some(1));
    place.run(&enqueue).assert_refused(75, &["ask again with the same id"]);
    daemon.limit_files(None);
    assert_eq!(place.run(&enqueue).code, 0);
    daemon.signal(libc::SIGTERM);
    assert_eq!(daemon.wait().code(), Some(0));
    let jobs = place.json(&["jobs", "list", "--json"]);
    assert_eq!(jobs["items"].as_array().unwrap().len(), 2, "{jobs:#}");
}

#[test]
fn a_port_in_use_ends_with_69_and_names_the_flag_that_helps() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    place.run(&["run", "--listen", &address]).assert_refused(69, &[&address, "is in use", "--listen"]);
    assert!(!place.path("windlass.db").exists(), "a daemon that cannot listen has no business with the store");
}

#[test]
fn an_address_of_another_machine_ends_with_69() {
    let place = Place::new();
    let config = place.write("windlass.toml", "[control]\ntoken = \"0123456789abcdef0123456789abcdef\"\nbehind_proxy = [\"10.0.0.0/8\"]\n");
    let ended = place.run(&["run", "--config", config.to_str().unwrap(), "--listen", "192.0.2.1:7717"]);
    ended.assert_refused(69, &["192.0.2.1:7717 cannot be listened on"]);
}

#[test]
fn a_second_daemon_on_the_same_store_is_refused() {
    let place = Place::new();
    let daemon = place.daemon(&[]);
    place.run(&["run", "--listen", "127.0.0.1:0"]).assert_refused(69, &["another daemon works on", &daemon.address.to_string()]);
}

#[test]
fn a_wrong_configuration_ends_with_78_and_every_problem_on_a_line() {
    let place = Place::new();
    place.write("windlass.toml", "[store]\nurll = \"x\"\n[engine]\nbeat_ms = \"often\"\n[control]\ntoken_file = \"nowhere\"\n");
    for command in [&["run"][..], &["check"], &["jobs", "list"], &["enqueue", "work", PAYLOAD]] {
        let args: Vec<&str> = command.iter().chain(&["--config", "windlass.toml"]).copied().collect();
        place.run(&args).assert_refused(
            78,
            &[
                "windlass.toml:2: unknown key `store.urll`; did you mean `store.url`?",
                "windlass.toml:4: `engine.beat_ms` is string \"often\"",
                "windlass.toml:6: `control.token_file`: cannot read the secret file nowhere",
            ],
        );
    }
}

#[test]
fn a_port_open_to_others_needs_a_token() {
    let place = Place::new();
    place.run(&["run", "--listen", "0.0.0.0:0"]).assert_refused(78, &["--listen", "token"]);
}

#[test]
fn settings_that_contradict_each_other_end_with_78() {
    let place = Place::new();
    place.write("windlass.toml", "[engine]\nbeat_ms = 9000\n[control]\nmax_payload_bytes = 17000000\n");
    place
        .run(&["check", "--config", "windlass.toml"])
        .assert_refused(78, &["windlass.toml:2: ", "at most a third of engine.lease_ms", "windlass.toml:4: ", "max_payload_bytes"]);
}

#[test]
fn a_daemon_that_does_not_answer_where_it_was_named_ends_with_69() {
    let place = Place::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    place.run(&["jobs", "list", "--listen", &free]).assert_refused(69, &["no daemon answers", &free]);
}

#[test]
fn an_import_with_a_bad_line_names_it() {
    let place = Place::new();
    place.write("jobs.ndjson", "{\"job\":1}\n");
    place.run(&["import", "jobs.ndjson"]).assert_refused(65, &["nothing was imported", "line 1 is no exported job"]);
    place.run(&["import", "missing.ndjson"]).assert_refused(69, &["missing.ndjson cannot be read"]);
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_alone() {
    let place = Place::new();
    assert_eq!(place.run(&["enqueue", "work", PAYLOAD]).code, 0);
    let store = rusqlite::Connection::open(place.path("windlass.db")).unwrap();
    let version: i64 = store.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    store.pragma_update(None, "user_version", 999).unwrap();
    for args in [&["jobs", "list"][..], &["enqueue", "work", PAYLOAD], &["run", "--listen", "127.0.0.1:0"]] {
        place.run(args).assert_refused(69, &["has schema 999"]);
    }
    store.pragma_update(None, "user_version", version).unwrap();
    assert_eq!(queued(&place), 1);
}
