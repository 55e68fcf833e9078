//! The commands, on a store without a daemon and through the port of one that runs: both ways answer alike.

use super::program::{PATIENCE, Place, RunningDaemon};
use serde_json::{Value, json};
use std::time::Instant;

fn id_of(answer: &Value) -> String {
    answer["id"].as_str().unwrap_or_else(|| panic!("no id in {answer}")).to_owned()
}

/// Looks at a job until it is `state`.
#[track_caller]
fn until(place: &Place, id: &str, state: &str) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let job = place.json(&["jobs", "show", id, "--json"]);
        if job["state"] == state {
            return job;
        }
        assert!(Instant::now() < deadline, "job {id} is not {state} but {job}");
    }
}

/// Runs `test` on a store by itself, and again with a daemon that knows none of the kinds enqueued and pauses nothing.
fn both_ways(test: impl Fn(&Place)) {
    test(&Place::new());
    let place = Place::new();
    let _daemon: RunningDaemon = place.daemon(&[]);
    test(&place);
}

#[test]
fn every_member_of_the_envelope_has_a_flag() {
    both_ways(|place| {
        let id = "0192d4e0-7b1a-7000-8000-0123456789ab";
        let answer = place.json(&[
            "enqueue",
            "report.build",
            "{\"n\": 1.0}",
            "--id",
            id,
            "--queue",
            "reports",
            "--tenant",
            "org_42",
            "--priority",
            "3",
            "--run-at",
            "2099-12-01T09:00:00Z",
            "--expires-at",
            "2099-12-02T09:00:00Z",
            "--timeout-ms",
            "30000",
            "--max-attempts",
            "7",
            "--unique-key",
            "report:1",
            "--unique-for",
            "PT10M",
            "--on-duplicate",
            "reject",
            "--idempotency-key",
            "key 1",
            "--concurrency-key",
            "org_42",
            "--ordered",
            "--tag",
            "nightly",
            "--tag",
            "paid",
            "--event-time",
            "2026-11-01T00:00:00Z",
            "--on-success",
            "{\"kind\":\"mail\",\"payload\":{}}",
            "--on-failure",
            "{\"kind\":\"alarm\",\"payload\":{}}",
            "--meta",
            "{\"traceparent\":\"00-1\"}",
            "--json",
        ]);
        assert_eq!(answer, json!({"id": id, "status": "scheduled", "duplicate": false}));
        let job = place.json(&["jobs", "show", id, "--json"]);
        for (member, value) in [
            ("kind", json!("report.build")),
            ("queue", json!("reports")),
            ("tenant", json!("org_42")),
            ("priority", json!(3)),
            ("state", json!("scheduled")),
            ("run_at", json!("2099-12-01T09:00:00Z")),
            ("expires_at", json!("2099-12-02T09:00:00Z")),
            ("timeout_ms", json!(30000)),
            ("max_attempts", json!(7)),
            ("unique_key", json!("report:1")),
            ("concurrency_key", json!("org_42")),
            ("ordered", json!(true)),
            ("tags", json!(["nightly", "paid"])),
            ("event_time", json!("2026-11-01T00:00:00Z")),
            ("idempotency_key", json!("key 1")),
            ("meta", json!({"traceparent": "00-1"})),
        ] {
            assert_eq!(job[member], value, "{member} of {job}");
        }
        assert_eq!(job["on_success"]["kind"], "mail");
        assert_eq!(job["on_failure"]["kind"], "alarm");
        assert!(place.run(&["jobs", "show", id, "--json"]).out.contains("\"payload\":{\"n\": 1.0}"), "the payload keeps its bytes");
    });
}

#[test]
fn the_same_id_again_is_the_same_job_and_another_body_a_conflict() {
    both_ways(|place| {
        let id = "0192d4e0-7b1a-7000-8000-0123456789ac";
        let first = place.json(&["enqueue", "work", "1", "--id", id, "--delay-ms", "600000", "--json"]);
        assert_eq!(place.json(&["enqueue", "work", "1", "--id", id, "--delay-ms", "600000", "--json"]), first);
        place.run(&["enqueue", "work", "2", "--id", id]).assert_refused(65, &[id, "another body"]);
    });
}

#[test]
fn a_held_unique_key_is_answered_with_its_holder_or_refused() {
    both_ways(|place| {
        let args = ["enqueue", "work", "1", "--unique-key", "k", "--delay-ms", "600000", "--json"];
        let holder = id_of(&place.json(&args));
        let again = place.json(&args);
        assert_eq!((id_of(&again), &again["duplicate"]), (holder.clone(), &json!(true)));
        let rejecting: Vec<&str> = args.iter().copied().chain(["--on-duplicate", "reject"]).collect();
        place.run(&rejecting).assert_refused(65, &["unique key is held by job", &holder]);
    });
}

#[test]
fn ndjson_is_enqueued_in_order_with_an_answer_for_each_line() {
    both_ways(|place| {
        let input: String = (0..2345).map(|n| format!("{{\"kind\":\"work\",\"payload\":{n},\"delay_ms\":600000}}\n\n")).collect();
        let ended = place.run_with_input(&["enqueue", "-", "--json"], &input);
        assert_eq!(ended.code, 0, "{}", ended.err);
        let ids: Vec<String> = ended.out.lines().map(|line| id_of(&serde_json::from_str(line).unwrap())).collect();
        assert_eq!(ids.len(), 2345);
        assert!(ended.err.contains("enqueued 2345 jobs"), "{}", ended.err);
        let last = place.json(&["jobs", "show", ids.last().unwrap(), "--json"]);
        assert_eq!(last["payload"], 2344);
    });
}

#[test]
fn jobs_are_listed_page_by_page_and_by_filter() {
    both_ways(|place| {
        for n in 0..7 {
            let tenant = if n % 2 == 0 { "even" } else { "odd" };
            place.json(&["enqueue", "work", &n.to_string(), "--delay-ms", "600000", "--tenant", tenant, "--json"]);
        }
        let mut seen = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut args = vec!["jobs", "list", "--limit", "3", "--json"];
            args.extend(cursor.iter().flat_map(|cursor| ["--cursor", cursor.as_str()]));
            let page = place.json(&args);
            seen.extend(page["items"].as_array().unwrap().iter().map(id_of));
            cursor = page["next"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 7);
        assert_eq!(seen.iter().collect::<std::collections::BTreeSet<_>>().len(), 7);
        let odd = place.json(&["jobs", "list", "--tenant", "odd", "--state", "scheduled", "--json"]);
        assert_eq!(odd["items"].as_array().unwrap().len(), 3);
        let table = place.run(&["jobs", "list", "--limit", "2"]).out;
        assert!(table.starts_with("ID "), "{table}");
        assert!(table.contains("more with --cursor "), "{table}");
    });
}

#[test]
fn a_waiting_job_is_cancelled_and_says_why() {
    both_ways(|place| {
        let id = id_of(&place.json(&["enqueue", "work", "{}", "--delay-ms", "600000", "--json"]));
        let answer = place.json(&["jobs", "cancel", &id, "--reason", "no longer wanted", "--json"]);
        assert_eq!(answer, json!([{"id": id, "cancelled": "now"}]));
        let job = place.json(&["jobs", "show", &id, "--json"]);
        assert_eq!((&job["state"], &job["reason"]), (&json!("cancelled"), &json!("no longer wanted")));
        assert_eq!(place.run(&["jobs", "cancel", &id]).out, format!("{id} had ended before\n"));
    });
}

#[test]
fn a_scheduled_job_is_made_due_by_retry() {
    let place = Place::new();
    let id = id_of(&place.json(&["enqueue", "work", "{}", "--delay-ms", "600000", "--json"]));
    assert_eq!(place.json(&["jobs", "retry", &id, "--json"]), json!([{"id": id, "done": "made_due"}]));
    assert_eq!(place.json(&["jobs", "show", &id, "--json"])["state"], "queued");
    place.run(&["jobs", "retry", &id]).assert_refused(65, &[&id]);
}

#[test]
fn dead_letters_are_listed_redriven_and_purged() {
    both_ways(|place| {
        let daemon_runs = place.path("windlass.db").exists();
        let ids: Vec<String> = (0..3).map(|_| die(place, daemon_runs)).collect();
        let listed = place.json(&["dead", "list", "--json"]);
        assert_eq!(listed["items"].as_array().unwrap().len(), 3);
        assert_eq!(place.json(&["dead", "show", &ids[0], "--json"])["state"], "dead");
        place.json(&["queues", "pause", "http", "--json"]);
        let answer = place.json(&["dead", "redrive", &ids[0], "--json"]);
        assert_eq!((&answer["redriven"], &answer["items"][0]["id"]), (&json!(1), &json!(ids[0])));
        place.run(&["dead", "redrive", &ids[0]]).assert_refused(65, &["could not be redriven"]);
        place.run(&["dead", "show", &ids[0]]).assert_refused(65, &["not dead"]);
        assert_eq!(place.json(&["dead", "purge", &ids[1], "--json"]), json!({"purged": [ids[1]]}));
        place.run(&["jobs", "show", &ids[1]]).assert_refused(65, &["does not exist"]);
        assert_eq!(place.json(&["dead", "redrive", "--all", "--json"])["redriven"], 1);
        assert!(place.json(&["dead", "list", "--json"])["items"].as_array().unwrap().is_empty());
        assert_eq!(place.run(&["dead", "list"]).out, "no jobs\n");
    });
}

#[test]
fn one_dead_letter_goes_first_and_the_others_once_it_has_completed() {
    let place = Place::new();
    place.write("windlass.toml", "[outbound]\nallow = [\"127.0.0.0/8\"]\n");
    let daemon = place.daemon(&["--config", "windlass.toml"]);
    for _ in 0..3 {
        die(&place, true);
    }
    let redrive = |url: &str| {
        let patch = json!([{"op": "replace", "path": "", "value": {"url": url, "method": "GET"}}]).to_string();
        place.run(&["dead", "redrive", "--all", "--canary", "--patch", &patch])
    };
    let ended = redrive("still no url");
    assert!(ended.code == 65 && ended.err.contains("went first and is dead; the others stay dead"), "{ended:?}");
    assert_eq!(place.json(&["dead", "list", "--json"])["items"].as_array().unwrap().len(), 3);
    let ended = redrive(&format!("http://{}/livez", daemon.address));
    assert!(ended.code == 0 && ended.out.contains("3 jobs back in the queue") && ended.err.contains("went first"), "{ended:?}");
}

/// A job that dies at once: its payload is none.
fn die(place: &Place, daemon_runs: bool) -> String {
    let id = id_of(&place.json(&["enqueue", "http.call", "{\"url\":\"not a url\"}", "--json"]));
    let daemon = (!daemon_runs).then(|| place.daemon(&[]));
    until(place, &id, "dead");
    if let Some(mut daemon) = daemon {
        daemon.signal(libc::SIGTERM);
        assert!(daemon.wait().success());
    }
    id
}

#[test]
fn a_paused_queue_holds_its_jobs_until_it_is_resumed() {
    let place = Place::new();
    let _daemon = place.daemon(&[]);
    let paused = place.json(&["queues", "pause", "default", "--reason", "migration", "--json"]);
    assert_eq!(paused["paused"]["reason"], "migration");
    let id = id_of(&place.json(&["enqueue", "bench.noop", "{}", "--json"]));
    let queues = place.json(&["queues", "list", "--json"]);
    let default = queues.as_array().unwrap().iter().find(|queue| queue["name"] == "default").unwrap();
    assert_eq!((&default["jobs"]["queued"], &default["paused"]["reason"]), (&json!(1), &json!("migration")));
    assert!(place.run(&["queues", "list"]).out.contains("migration"));
    place.json(&["queues", "resume", "default", "--json"]);
    until(&place, &id, "completed");
}

#[test]
fn limits_of_a_queue_are_set_listed_and_unset() {
    both_ways(|place| {
        place.json(&["enqueue", "work", "1", "--queue", "serp", "--delay-ms", "600000", "--json"]);
        let why = ["--because", "the provider melts"];
        let set = [&["queues", "set", "serp", "--concurrency", "5", "--rate", "10/s:20", "--tenant-weights", "a=3,b=2"][..], &why].concat();
        let answer = place.json(&[&set[..], &["--json"]].concat());
        assert_eq!((&answer["name"], &answer["limits"]["in_force"]["concurrency"]), (&json!("serp"), &json!(5)), "{answer}");
        assert_eq!(answer["limits"]["in_force"]["rate"], json!({"per_second": 10.0, "burst": 20}));
        assert_eq!(answer["limits"]["changed"]["reason"], "the provider melts");
        let ended = place.run(&["queues", "set", "serp", "--rate", "none", "--reason", "it is well"]);
        assert!(ended.out.contains("queue serp: concurrency 5*, rate none*, tenant_weights a=3,b=2* (* by "), "{ended:?}");
        let list = place.run(&["queues", "list"]).out;
        assert!(list.contains("LIMITS") && list.contains("concurrency 5*, rate none*") && list.contains(": it is well)"), "{list}");
        let ended = place.run(&["queues", "unset", "serp"]);
        assert!(ended.out.contains("queue serp is as it is configured: no limit but one job at once of each concurrency key"), "{ended:?}");
        let queues = place.json(&["queues", "list", "--json"]);
        assert_eq!(queues[0]["limits"]["in_force"]["concurrency"], Value::Null, "{queues}");
        place.run(&["queues", "set", "serp", "--concurrency", "0"]).assert_refused(65, &["/concurrency", "to stop a queue, pause it"]);
        place.run(&["queues", "set", "serp"]).assert_refused(64, &["--concurrency"]);
        let unreadable = place.run(&["queues", "set", "serp", "--rate", "fast"]);
        assert!(unreadable.code == 64 && unreadable.err.contains("10/s:20") && unreadable.err.contains("`none`"), "{unreadable:?}");
    });
}

#[test]
fn a_limit_that_was_set_outlives_restarts_and_reloads_of_a_daemon_with_another_configuration() {
    let place = Place::new();
    let file = |concurrency: u32| place.write("windlass.toml", &format!("[queues.serp]\nconcurrency = {concurrency}\n"));
    file(8);
    let mut daemon = place.daemon(&["--config", "windlass.toml"]);
    let serp = || {
        place.json(&["queues", "list", "--json"]).as_array().unwrap().iter().find(|queue| queue["name"] == "serp").unwrap()["limits"]
            .clone()
    };
    place.json(&["queues", "set", "serp", "--concurrency", "1", "--json"]);
    daemon.signal(libc::SIGTERM);
    assert!(daemon.wait().success());
    file(6);
    let daemon = place.daemon(&["--config", "windlass.toml"]);
    assert_eq!((&serp()["in_force"]["concurrency"], &serp()["configured"]["concurrency"]), (&json!(1), &json!(6)));
    file(4);
    daemon.signal(libc::SIGHUP);
    let deadline = Instant::now() + PATIENCE;
    while serp()["configured"]["concurrency"] != 4 {
        assert!(Instant::now() < deadline, "{}", serp());
    }
    assert_eq!(serp()["in_force"]["concurrency"], 1);
    let unset = place.json(&["queues", "unset", "serp", "--json"]);
    assert_eq!(unset["limits"]["in_force"]["concurrency"], 4, "{unset}");
}

#[test]
fn only_a_cluster_has_partitions() {
    let place = Place::new();
    place.json(&["enqueue", "bench.noop", "{}", "--json"]);
    let ended = place.run(&["queues", "repartition", "default", "4"]);
    assert!(ended.code != 0 && ended.err.contains("Redis Cluster"), "{ended:?}");
}

const SCHEDULES: &str = "[schedules.nightly]\ncron = \"15 2 * * *\"\ntz = \"Europe/Berlin\"\njob = { kind = \"bench.noop\", payload = { deep = [1, 2.5, \"x\"] } }\n";

#[test]
fn schedules_of_the_configuration_are_shown_run_and_held_back() {
    let place = Place::new();
    place.write("windlass.toml", SCHEDULES);
    let mut daemon = place.daemon(&["--config", "windlass.toml"]);
    let check = |place: &Place| {
        let listed = place.json(&["schedules", "list", "--json"]);
        assert_eq!(listed[0]["schedule"]["name"], "nightly", "{listed}");
        assert_eq!(listed[0]["schedule"]["job"]["payload"], json!({"deep": [1, 2.5, "x"]}));
        let preview = place.json(&["schedules", "preview", "nightly", "-n", "3", "--json"]);
        assert_eq!(preview["instants"].as_array().unwrap().len(), 3);
        assert_eq!(place.json(&["schedules", "pause", "nightly", "--json"])["paused"], true);
        assert_eq!(place.json(&["schedules", "resume", "nightly", "--json"])["paused"], false);
        assert_eq!(place.json(&["schedules", "history", "nightly", "--json"]), json!([]));
        assert_eq!(place.json(&["schedules", "run", "nightly", "--json"])["duplicate"], false);
        place.run(&["schedules", "preview", "weekly"]).assert_refused(65, &["schedule weekly does not exist"]);
        assert!(place.run(&["schedules", "list"]).out.contains("15 2 * * * Europe/Berlin"));
    };
    check(&place);
    daemon.signal(libc::SIGTERM);
    assert!(daemon.wait().success());
    check(&place);
    assert_eq!(place.run(&["schedules", "delete", "nightly"]).code, 0);
    assert_eq!(place.json(&["schedules", "list", "--json"]), json!([]));
}

#[test]
fn what_is_exported_can_be_imported_elsewhere_once() {
    let place = Place::new();
    let input: String = (0..1500).map(|n| format!("{{\"kind\":\"work\",\"payload\":{{\"n\":{n}}},\"unique_key\":\"u:{n}\"}}\n")).collect();
    assert_eq!(place.run_with_input(&["enqueue", "-"], &input).code, 0);
    assert_eq!(place.run(&["export", "--output", "jobs.ndjson"]).code, 0);
    place.run(&["export", "--output", "jobs.ndjson"]).assert_refused(69, &["jobs.ndjson cannot be written"]);
    let to = ["import", "jobs.ndjson", "--store", "sqlite:other.db"];
    assert!(place.run(&to).err.contains("imported 1500 jobs; 0 were there before"));
    assert!(place.run(&to).err.contains("imported 0 jobs; 1500 were there before"));
    let queues = place.json(&["queues", "list", "--json", "--store", "sqlite:other.db"]);
    assert_eq!(queues[0]["jobs"]["queued"], 1500);
    let again = place.json(&["enqueue", "work", "{}", "--unique-key", "u:7", "--json", "--store", "sqlite:other.db"]);
    assert_eq!(again["duplicate"], true, "the unique keys came along");
}

#[test]
fn check_shows_what_is_in_force_and_no_secret() {
    let place = Place::new();
    place.write("windlass.toml", "[control]\ntoken = \"canary-canary-canary-canary\"\n[engine]\ngrace_ms = 1234\n");
    let ended = place.run(&["check", "--config", "windlass.toml"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains("grace_ms = 1234  # windlass.toml:4\n"), "{}", ended.out);
    assert!(ended.out.contains("token = \"***\""), "{}", ended.out);
    assert!(!format!("{ended:?}").contains("canary"), "{ended:?}");
    assert_eq!(place.json(&["check", "--json"])["valid"], true);
    let again = place.write("again.toml", &ended.out);
    assert_eq!(place.run(&["check", "--config", again.to_str().unwrap()]).code, 0, "what check prints is a configuration");
}

#[test]
fn bench_prints_one_object() {
    let place = Place::new();
    let answer = place.json(&["bench", "drain", "--jobs", "500", "--store", "sqlite:bench.db", "--json"]);
    assert!(answer["jobs"].as_u64().unwrap() >= 500, "{answer}");
    for member in ["seconds", "jobs_per_s"] {
        assert!(answer[member].as_f64().unwrap() > 0.0, "{member} of {answer}");
    }
}

#[test]
fn bench_leaves_a_store_in_use_and_the_folder_as_they_were() {
    let place = Place::new();
    place.json(&["enqueue", "work", "{}", "--json"]);
    place.run(&["bench", "drain", "--store", "sqlite:windlass.db"]).assert_refused(69, &["in use", "bench on a new store"]);
    let files = || std::fs::read_dir(place.path(".")).unwrap().count();
    let before = files();
    let answer = place.json(&["bench", "enqueue", "--jobs", "500", "--json"]);
    assert_eq!(answer["jobs"], 500);
    assert_eq!(files(), before, "the measured store is removed");
}

#[test]
fn a_job_is_shown_with_its_id_as_it_is() {
    let place = Place::new();
    let id = id_of(&place.json(&["enqueue", "work", "{\"n\":1}", "--tenant", "org_42", "--json"]));
    let shown = place.run(&["jobs", "show", &id]).out;
    assert!(shown.starts_with("job "), "{shown}");
    for part in [id.as_str(), "org_42", "queued", "{\"n\":1}"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
}

#[test]
fn a_job_is_shown_with_what_made_it_and_what_it_made() {
    let place = Place::new();
    let _daemon = place.daemon(&[]);
    let next = r#"{"kind": "bench.noop", "payload": 2}"#;
    let id = id_of(&place.json(&["enqueue", "bench.noop", "1", "--on-success", next, "--json"]));
    let child = until(&place, &id, "completed")["children"][0].as_str().expect("a child").to_owned();
    let line = |shown: &str, word: &str, id: &str| shown.lines().any(|line| line.starts_with(word) && line.ends_with(id));
    let shown = [&id, &child].map(|id| place.run(&["jobs", "show", id]).out);
    assert!(line(&shown[0], "made ", &child) && line(&shown[1], "made by ", &id), "{shown:?}");
}

#[test]
fn jobs_are_searched_for_by_ids_times_and_text() {
    both_ways(|place| {
        let put = |text: &str| id_of(&place.json(&["enqueue", "work", &format!("\"{text}\""), "--delay-ms", "600000", "--json"]));
        let (first, second) = (put("one needle"), put("two"));
        let listed = |args: &[&str]| {
            let page = place.json(&[&["jobs", "list", "--json"], args].concat());
            page["items"].as_array().unwrap().iter().map(id_of).collect::<Vec<_>>()
        };
        assert_eq!(listed(&["--id", &first, "--id", &second]), [second.clone(), first.clone()]);
        assert_eq!(listed(&["--text", "needle"]), std::slice::from_ref(&first));
        assert_eq!(listed(&["--since", "1h", "--due-since", "2020-01-01T00:00:00Z"]).len(), 2);
        assert_eq!(listed(&["--until", "1h"]).len() + listed(&["--finished-since", "1h"]).len(), 0);
        let table = place.run(&["jobs", "list", "--limit", "1", "--since", "1h"]).out;
        let next: Vec<&str> = table.lines().last().and_then(|line| line.strip_prefix("more with ")).expect("a hint").split(' ').collect();
        let rest = place.run(&[&["jobs", "list", "--limit", "1"], &next[..]].concat()).out;
        assert!(rest.contains(&first) && !rest.contains(&second), "{rest}");
        let refused = place.run(&["jobs", "list", "--since", "yesterday"]);
        assert!(refused.code == 64 && refused.err.contains("`yesterday` is not") && refused.err.contains("2h"), "{refused:?}");
    });
}
