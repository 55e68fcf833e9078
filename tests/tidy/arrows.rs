//! The arrows of the house: which room may call which. Read from the `crate::` paths of every file in src.

use super::source::files;

struct Room {
    name: &'static str,
    /// Rooms, or single files of rooms, that it may name.
    may_call: &'static [&'static str],
    why: &'static str,
}

/// Anyone but job may use these; they call nobody but each other and job's words.
const LEAVES: [&str; 3] = ["clock", "secret", "telemetry"];

const ROOMS: [Room; 16] = [
    Room { name: "main", may_call: &["cli"], why: "main only hands over to the command line" },
    Room {
        name: "cli",
        may_call: &[
            "client",
            "clients",
            "config",
            "control",
            "daemon",
            "engine",
            "job",
            "machine",
            "sandbox",
            "signatures",
            "store",
            "workers",
        ],
        why: "the command line stands above all others",
    },
    Room {
        name: "daemon",
        may_call: &["clients", "config", "control", "engine", "intake", "job", "machine", "signatures", "store", "workers"],
        why: "the daemon is the one place where rooms meet",
    },
    Room {
        name: "config",
        may_call: &["clients", "control", "engine", "intake", "job", "sandbox", "signatures", "store", "workers"],
        why: "config layers the rooms' own Config structs and hands them out",
    },
    Room {
        name: "control",
        may_call: &["job", "signatures", "store"],
        why: "the control port is a thin door onto the Store trait: no engine internals, no worker, no config.rs",
    },
    Room { name: "intake", may_call: &["job", "store"], why: "what takes entries in is another thin door onto the Store trait" },
    Room {
        name: "client",
        may_call: &["control::wire", "job", "store"],
        why: "the client speaks the words of the wire and knows nothing behind it",
    },
    Room {
        name: "workers",
        may_call: &["clients", "engine::worker", "job", "signatures"],
        why: "a worker returns an Outcome; it cannot reach the store, and of the engine it knows the Worker trait only",
    },
    Room { name: "engine", may_call: &["job", "store"], why: "the engine knows no worker by name and no door" },
    Room { name: "store", may_call: &["job"], why: "the store is below everybody but the words of job" },
    Room {
        name: "machine",
        may_call: &["job", "store::examine"],
        why: "the machine is looked at in the words of an examination, whatever runs on it",
    },
    Room { name: "clients", may_call: &["job"], why: "a client is one provider; who calls it is not its affair" },
    Room { name: "signatures", may_call: &[], why: "signing and verifying is plain computation over bytes" },
    Room { name: "sandbox", may_call: &["job", "signatures"], why: "the stand-in providers must not know those they stand in for" },
    Room { name: "job", may_call: &[], why: "job is the words and the rules: no I/O, no clock, no other room" },
    Room { name: "telemetry", may_call: &["job"], why: "telemetry is a leaf" },
];

#[test]
fn rooms_call_only_those_they_may() {
    let mut strays = Vec::new();
    for source in files("src", ".rs") {
        for path in crate_paths(&source.code()) {
            if let Some(stray) = stray(&source.path, &path) {
                strays.push(stray);
            }
        }
    }
    assert!(strays.is_empty(), "\n{}\n", strays.join("\n"));
}

#[test]
fn every_room_has_its_rule() {
    for source in files("src", ".rs") {
        let room = room_of(&source.path);
        let known = room == "lib" || LEAVES.contains(&room) || ROOMS.iter().any(|rule| rule.name == room);
        assert!(known, "{}: `{room}` is a new room; say in tests/tidy/arrows.rs whom it may call, and why", source.path);
    }
}

fn stray(file: &str, path: &str) -> Option<String> {
    let room = room_of(file);
    let called = path.split("::").next().unwrap_or(path);
    let Some(rule) = ROOMS.iter().find(|rule| rule.name == room) else {
        // lib.rs shows everybody; a leaf may know job and other leaves.
        let fine = room == "lib" || called == "job" || LEAVES.contains(&called);
        return (!fine).then(|| format!("{file} names crate::{path}, but {room} is a leaf and may only know job"));
    };
    let leaf = LEAVES.contains(&called) && room != "job";
    let begins = |allowed: &str| path == allowed || path.strip_prefix(allowed).is_some_and(|rest| rest.starts_with("::"));
    if called == room || leaf || rule.may_call.iter().any(|allowed| begins(allowed)) {
        return None;
    }
    let whom = if rule.may_call.is_empty() { "no other room".to_owned() } else { rule.may_call.join(", ") };
    Some(format!("{file} names crate::{path}, but {room} may call {whom}: {}", rule.why))
}

/// `src/store/sqlite/mod.rs` and `src/store.rs` are in room `store`.
fn room_of(file: &str) -> &str {
    let below = file.strip_prefix("src/").unwrap_or(file);
    below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
}

/// Every path that begins with `crate::`, two segments deep, groups taken apart: `crate::{job::Json, store}` names two.
fn crate_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let is_part_of_a_name = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        if !is_part_of_a_name {
            paths.extend(expand(&code[at + "crate::".len()..]));
        }
    }
    paths
}

fn expand(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else { return vec![two_segments(rest)] };
    let (mut paths, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let item = group[start..at].trim();
                if !item.is_empty() {
                    paths.push(two_segments(item));
                }
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    paths
}

fn two_segments(path: &str) -> String {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let first = name(path);
    match path[first.len()..].strip_prefix("::").map(name) {
        Some(second) if !second.is_empty() => format!("{first}::{second}"),
        _ => first,
    }
}

#[test]
fn paths_are_found_in_groups_lines_and_expressions() {
    let code = "use crate::job::Json;\nuse crate::{\n  clock::Clock,\n  store::{self, Error},\n  engine,\n};\nlet x = crate::workers::all();\nuse other_crate::not;";
    assert_eq!(crate_paths(code), ["job::Json", "clock::Clock", "store", "engine", "workers::all"]);
}

#[test]
fn strays_are_named_with_their_rule() {
    let told = stray("src/workers/http/mod.rs", "store::Store").expect("a worker must not reach the store");
    assert!(told.contains("src/workers/http/mod.rs") && told.contains("Outcome"), "{told}");
    for (file, path) in [
        ("src/job/mod.rs", "clock::Clock"),
        ("src/store/sqlite/mod.rs", "engine::worker"),
        ("src/workers/mod.rs", "engine::poller"),
        ("src/control/jobs.rs", "config::Config"),
        ("src/client.rs", "control::jobs"),
        ("src/clock.rs", "store::Store"),
    ] {
        assert!(stray(file, path).is_some(), "{file} -> {path}");
    }
    for (file, path) in [
        ("src/workers/mod.rs", "engine::worker"),
        ("src/control/jobs.rs", "control::wire"),
        ("src/store/mod.rs", "telemetry::metrics"),
        ("src/client.rs", "control::wire"),
        ("src/lib.rs", "workers"),
        ("src/daemon.rs", "config::Config"),
    ] {
        assert_eq!(stray(file, path), None, "{file} -> {path}");
    }
}
