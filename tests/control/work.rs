//! Workers over HTTP: the fence that the engine's own have, whom they may work beside, and what they are refused.

use super::*;
use crate::{
    crash::process::until,
    support::{TestStore, on_every_store},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};
use uuid::Uuid;
use windlass::{
    Client,
    control::wire::work::{BeatAsked, LeaseAsked, Settled, SettledAnswer, VerdictSent},
    job::{Applied, Daemon, QueueWork, Scope, State as JobState, Timestamp},
    store::Actor,
};

on_every_store![life_of_a_worker, answer_that_was_lost_is_given_again];

/// A worker process that runs the kind `k` of queue `py`.
struct Worker(HolderId);

impl Worker {
    fn new() -> Self {
        Self(HolderId::mint())
    }

    fn asks(&self, n: usize) -> Value {
        json!({"worker": self.0, "name": "box-7", "queues": {"py": n}, "kinds": ["k"]})
    }

    async fn lease(&self, port: &Port, n: usize) -> Vec<Value> {
        leased(&port.post("/v1/lease", &self.asks(n)).await)
    }

    async fn beat(&self, port: &Port, held: &[&Value]) -> Value {
        let held: Vec<&Value> = held.iter().map(|job| &job["lease"]).collect();
        let answer = port.post("/v1/heartbeat", &json!({"worker": self.0, "held": held})).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    }
}

fn leased(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()["jobs"].as_array().expect("jobs").clone()
}

fn with(mut value: Value, member: &str, is: Value) -> Value {
    value[member] = is;
    value
}

async fn put(port: &Port, n: usize) -> Vec<JobId> {
    port.enqueue(n, &json!({"kind": "k", "queue": "py", "payload": {"n": 1}})).await
}

/// Settles one, and says what was answered.
async fn settle(port: &Port, end: Value) -> Value {
    let answer = port.post("/v1/settle", &json!([end])).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()[0].clone()
}

async fn end(port: &Port, job: &Value, verdict: Value) -> Value {
    settle(port, json!({"lease": job["lease"], "verdict": verdict})).await["outcome"].clone()
}

/// A daemon that runs `kinds` of queue `queue`, as everybody is told of it.
async fn announce(port: &Port, queue: &str, kinds: &[&str]) -> HolderId {
    let holder = HolderId::mint();
    let queues = [(name(queue), QueueWork { slots: 4, ..QueueWork::default() })].into();
    let daemon = Daemon {
        holder,
        node: "box-3".into(),
        pid: 7,
        version: "1.2.3".into(),
        started_at: Timestamp(0),
        draining: false,
        queues,
        kinds: kinds.iter().map(|kind| name(kind)).collect(),
        remote: false,
        token: None,
    };
    port.store.announce(&daemon, Duration::from_secs(3600), None).await.expect("it is heard");
    holder
}

async fn life_of_a_worker(store: &mut TestStore) {
    let port = Port::over(store.shared()).await;
    let ids = put(&port, 4).await;
    let (worker, other) = (Worker::new(), Worker::new());
    let jobs = worker.lease(&port, 3).await;
    assert_eq!(jobs.iter().map(id_of).collect::<BTreeSet<_>>(), ids[..3].iter().copied().collect());
    let rest = other.lease(&port, 3).await;
    assert_eq!((rest.len(), id_of(&rest[0])), (1, ids[3]), "what one has the other cannot get");
    let [first, second, third] = &jobs[..] else { panic!("{jobs:?}") };
    assert_eq!((&first["payload"], &first["attempt"], &first["max_attempts"]), (&json!({"n": 1}), &json!(1), &json!(5)), "{first}");

    assert_eq!(settle(&port, json!({"lease": first["lease"], "verdict": {"complete": {}}, "result": [7]})).await["outcome"], "applied");
    for again in [json!({"complete": {}}), json!({"reject": {"error": {"code": "x", "message": "y"}}})] {
        assert_eq!(end(&port, first, again).await, "already_applied", "a lease is settled once");
    }
    let forged = forged(second);
    assert_eq!(end(&port, &forged, json!({"complete": {}})).await, "lease_lost");
    assert_eq!(end(&port, second, json!({"retry": {"error": {"code": "busy", "message": "later"}, "after_ms": 0}})).await, "applied");

    let now = store.now().await.expect("the clock").plus_ms(20_000);
    store.reap(Some(now)).await.expect("reaped");
    assert_eq!(worker.beat(&port, &[third]).await["lost"], json!([third["lease"]]));
    assert_eq!(end(&port, third, json!({"complete": {}})).await, "lease_lost", "it fell silent for too long");
    let shown = port.job(id_of(first)).await;
    assert_eq!((&shown["state"], &shown["result"]), (&json!("completed"), &json!([7])), "{shown}");
    let shown = port.job(id_of(second)).await;
    assert_eq!((&shown["attempt"], &shown["attempts"][0]["error"]["code"]), (&json!(1), &json!("busy")), "{shown}");
    port.stop().await;
}

/// The same lease with another epoch.
fn forged(job: &Value) -> Value {
    let mut bytes = URL_SAFE_NO_PAD.decode(job["lease"].as_str().expect("a lease")).expect("base64");
    // After the form, the job's id and the nonce come the eight bytes of the epoch.
    bytes[1 + 16 + 16 + 7] ^= 1;
    with(job.clone(), "lease", json!(URL_SAFE_NO_PAD.encode(bytes)))
}

async fn answer_that_was_lost_is_given_again(store: &mut TestStore) {
    let port = Port::over(store.shared()).await;
    put(&port, 3).await;
    let (worker, other) = (Worker::new(), Worker::new());
    let asks = with(worker.asks(2), "nonce", json!(Uuid::now_v7()));
    let lost = leased(&port.post("/v1/lease", &asks).await);
    let texts = |jobs: &[Value]| jobs.iter().map(|job| job["lease"].as_str().expect("a lease").to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(texts(&leased(&port.post("/v1/lease", &asks).await)), texts(&lost), "no others, and none twice");
    assert_eq!(other.lease(&port, 5).await.len(), 1);
    assert_eq!(end(&port, &lost[0], json!({"complete": {}})).await, "applied");
    assert_eq!(texts(&leased(&port.post("/v1/lease", &asks).await)), texts(&lost[1..]), "what is still leased");
    let strays = worker.beat(&port, &[]).await["strays"].clone();
    assert_eq!(strays, json!([lost[1]["lease"]]), "what it does not name it is told of");
    assert_eq!(settle(&port, json!({"lease": strays[0], "verdict": {"release": {}}})).await["outcome"], "applied");
    assert_eq!(leased(&port.post("/v1/lease", &asks).await).len(), 1, "and then it is a call like any other");
    port.stop().await;
}

#[tokio::test]
async fn call_that_waits_is_answered_as_soon_as_there_is_work() {
    let port = Port::start().await;
    let worker = Worker::new();
    let none = port.post("/v1/lease", &with(worker.asks(1), "wait_ms", json!(50))).await;
    assert!(leased(&none).is_empty(), "nothing came in its time");
    let asks = with(Worker::new().asks(1), "wait_ms", json!(30_000));
    let enqueued = async {
        until("the worker to be let in", async || (port.get("/v1/daemons").await.json().as_array()?.len() == 2).then_some(())).await;
        (put(&port, 1).await, Instant::now())
    };
    let (answer, (ids, enqueued_at)) = tokio::join!(port.post("/v1/lease", &asks), enqueued);
    assert_eq!(leased(&answer).iter().map(id_of).collect::<Vec<_>>(), ids);
    assert!(enqueued_at.elapsed() < Duration::from_secs(10), "long before its time was over");
}

#[tokio::test]
async fn workers_that_compete_run_each_job_once() {
    let port = Port::start().await;
    let ids = put(&port, 300).await;
    let work = async || {
        let (worker, mut done) = (Worker::new(), Vec::new());
        loop {
            let jobs = worker.lease(&port, 7).await;
            if jobs.is_empty() {
                return done;
            }
            let ends: Vec<Value> = jobs.iter().map(|job| json!({"lease": job["lease"], "verdict": {"complete": {}}})).collect();
            let answers = port.post("/v1/settle", &Value::Array(ends)).await.json();
            assert!(answers.as_array().expect("answers").iter().all(|answer| answer["outcome"] == "applied"), "{answers}");
            done.extend(jobs.iter().map(id_of));
        }
    };
    let (one, two, three) = tokio::join!(work(), work(), work());
    let mut all = [one, two, three].concat();
    all.sort_unstable();
    let mut wanted = ids;
    wanted.sort_unstable();
    assert_eq!(all, wanted);
}

#[tokio::test]
async fn verdict_means_what_it_means_for_the_daemon_s_own_workers() {
    let port = Port::start().await;
    let error = json!({"code": "http_503", "message": "busy"});
    let in_an_hour = Timestamp::from_millis(port.store.now().await.expect("the clock").millis() + 3_600_000);
    let ends = [
        (json!({"complete": {}}), "completed", 1, json!(null)),
        (json!({"retry": {"error": error}}), "scheduled", 1, json!(null)),
        (json!({"reject": {"error": error}}), "dead", 1, json!("rejected")),
        (json!({"snooze": {"for_ms": 60_000}}), "scheduled", 0, json!(null)),
        (json!({"snooze": {"until": in_an_hour}}), "scheduled", 0, json!(null)),
        (json!({"park": {"reason": "approval", "token": "t-1"}}), "parked", 0, json!("approval")),
        (json!({"cancel": {"reason": "not needed"}}), "cancelled", 0, json!("not needed")),
        (json!({"release": {}}), "queued", 0, json!(null)),
    ];
    for (n, (verdict, state, attempt, reason)) in ends.into_iter().enumerate() {
        // None of them comes in the next one's way.
        let queue = format!("q{n}");
        let ids = port.enqueue(1, &json!({"kind": "k", "queue": queue, "payload": n})).await;
        let jobs = leased(&port.post("/v1/lease", &with(Worker::new().asks(1), "queues", json!({queue: 1}))).await);
        assert_eq!(end(&port, &jobs[0], verdict.clone()).await, "applied");
        let shown = port.job(ids[0]).await;
        assert_eq!((&shown["state"], &shown["attempt"], &shown["reason"]), (&json!(state), &json!(attempt), &reason), "{verdict}: {shown}");
    }
    assert_eq!(port.post("/v1/unpark/t-1", &json!({"yes": true})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn attempts_are_counted_and_the_last_one_is_a_dead_letter() {
    let port = Port::start().await;
    let id = port.enqueue(1, &json!({"kind": "k", "queue": "py", "payload": 1, "max_attempts": 2})).await[0];
    let worker = Worker::new();
    for (attempt, state) in [(1, "queued"), (2, "dead")] {
        let jobs = worker.lease(&port, 1).await;
        assert_eq!(jobs[0]["attempt"], attempt);
        assert_eq!(jobs[0]["checkpoint"], if attempt == 1 { json!(null) } else { json!({"page": 1}) }, "what the last one left");
        let error = json!({"code": "e", "message": "no", "class": "timeout"});
        let ends =
            json!({"lease": jobs[0]["lease"], "verdict": {"retry": {"error": error, "after_ms": 0}}, "checkpoint": {"page": attempt}});
        assert_eq!(settle(&port, ends).await["outcome"], "applied");
        port.store.advance(None).await.expect("time goes on");
        let shown = port.job(id).await;
        assert_eq!((&shown["state"], &shown["attempts"][0]["error"]["class"]), (&json!(state), &json!("timeout")), "{shown}");
    }
    assert_eq!(port.job(id).await["reason"], "attempts_spent");
}

#[tokio::test]
async fn heartbeat_tells_of_requests_to_cancel_and_shows_progress_of_its_own_jobs_alone() {
    let port = Port::start().await;
    let (worker, other) = (Worker::new(), Worker::new());
    put(&port, 2).await;
    let (own, foreign) = (worker.lease(&port, 1).await.remove(0), other.lease(&port, 1).await.remove(0));
    let progress: Vec<Value> = [&own, &foreign].iter().map(|job| json!({"lease": job["lease"], "value": {"done": 3}})).collect();
    let beat = json!({"worker": worker.0, "held": [own["lease"], foreign["lease"]], "progress": progress});
    let told = port.post("/v1/heartbeat", &beat).await.json();
    assert_eq!(told, json!({"lost": [foreign["lease"]], "cancel": [], "strays": []}));
    assert_eq!(port.job(id_of(&own)).await["progress"], json!({"done": 3}));
    assert_eq!(port.job(id_of(&foreign)).await.get("progress"), None);
    port.post(&format!("/v1/jobs/{}/cancel", id_of(&own)), &json!({"reason": "changed my mind"})).await;
    assert_eq!(worker.beat(&port, &[&own]).await["cancel"], json!([own["lease"]]));
    assert_eq!(end(&port, &own, json!({"cancel": {"reason": "asked to"}})).await, "applied");
    let shown = port.job(id_of(&own)).await;
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("cancelled"), &json!("changed my mind")));
}

#[tokio::test]
async fn worker_is_known_as_long_as_it_speaks_and_until_it_says_goodbye() {
    let port = Port::start().await;
    let id = put(&port, 1).await[0];
    assert_eq!(port.get(&format!("/v1/jobs/{id}/explain")).await.json()["held_by"], "daemon");
    let worker = Worker::new();
    let jobs = worker.lease(&port, 3).await;
    let listed = port.get("/v1/daemons").await.json();
    assert_eq!((&listed[0]["holder"], &listed[0]["node"], &listed[0]["remote"]), (&json!(worker.0), &json!("box-7"), &json!(true)));
    assert_eq!((&listed[0]["kinds"], &listed[0]["queues"]["py"]["slots"], &listed[0]["live"]), (&json!(["k"]), &json!(3), &json!(true)));
    let draining = json!({"worker": worker.0, "held": [jobs[0]["lease"]], "draining": true});
    assert_eq!(port.post("/v1/heartbeat", &draining).await.status, StatusCode::OK);
    let listed = port.get("/v1/daemons").await.json();
    assert_eq!((&listed[0]["draining"], &listed[0]["queues"]["py"]["running"]), (&json!(true), &json!(1)), "{listed}");
    assert_eq!(port.post("/v1/goodbye", &json!({"worker": worker.0})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(port.get("/v1/daemons").await.json(), json!([]));
    port.post("/v1/lease", &worker.asks(1)).await;
    let other = Port::over(port.store.clone()).await;
    assert_eq!(other.post("/v1/heartbeat", &json!({"worker": worker.0, "held": [], "draining": true})).await.status, StatusCode::OK);
    assert_eq!(port.get("/v1/daemons").await.json()[0]["draining"], true, "another port knows it from the store");
}

#[tokio::test]
async fn nobody_but_its_own_token_speaks_for_a_worker_until_that_token_has_ended() {
    let port = Port::start().await;
    let admin = port.token([Scope::Admin], None).await;
    let (own, other) = (port.token([Scope::Work], None).await, port.token([Scope::Work], None).await);
    let job = json!({"kind": "k", "queue": "py", "payload": 1});
    assert!(port.call(&admin, Method::POST, "/v1/jobs", &json!([job, job])).await.status.is_success());
    let worker = Worker::new();
    let lease = leased(&port.call(&own, Method::POST, "/v1/lease", &worker.asks(1)).await).remove(0)["lease"].clone();
    let calls = [
        ("/v1/lease", worker.asks(1)),
        ("/v1/heartbeat", json!({"worker": worker.0, "held": []})),
        ("/v1/goodbye", json!({"worker": worker.0})),
    ];
    let elsewhere = Port::over(port.store.clone()).await;
    for (path, body) in &calls {
        for port in [&port, &elsewhere] {
            let refused = port.call(&other, Method::POST, path, body).await;
            assert!(!refused.text.contains(lease.as_str().expect("a lease")), "{path}: {refused:?}");
            refused.problem(409, "not_your_worker");
        }
    }
    let listed = port.call(&admin, Method::GET, "/v1/daemons", &json!(null)).await.json();
    assert!(listed[0]["live"] == true && own.contains(listed[0]["token"].as_str().expect("its token's id")), "{listed}");
    let strays = port.call(&own, Method::POST, "/v1/heartbeat", &calls[1].1).await.json()["strays"].clone();
    assert_eq!(strays, json!([lease]), "its own token is told");
    let ended = own.split('_').nth(1).expect("an id");
    port.call(&admin, Method::DELETE, &format!("/v1/tokens/{ended}"), &json!(null)).await;
    assert_eq!(port.call(&other, Method::POST, "/v1/heartbeat", &calls[1].1).await.json()["strays"], json!([lease]));
}

#[tokio::test]
async fn heartbeat_of_nobody_s_worker_leaves_nothing_and_all_that_it_names_is_lost() {
    let port = Port::start().await;
    put(&port, 1).await;
    let (worker, stranger) = (Worker::new(), Worker::new());
    let job = worker.lease(&port, 1).await.remove(0);
    assert_eq!(stranger.beat(&port, &[&job]).await, json!({"lost": [job["lease"]], "cancel": [], "strays": []}));
    assert_eq!(port.get("/v1/daemons").await.json().as_array().map(Vec::len), Some(1));
    assert_eq!(worker.beat(&port, &[&job]).await["lost"], json!([]), "it is still whose it was");
}

#[tokio::test]
async fn worker_that_asks_for_ever_more_queues_is_known_for_the_last_and_for_those_it_has_jobs_of() {
    let port = Port::start().await;
    put(&port, 1).await;
    let worker = Worker::new();
    let job = worker.lease(&port, 1).await.remove(0);
    let draining = json!({"worker": worker.0, "held": [job["lease"]], "draining": true});
    assert_eq!(port.post("/v1/heartbeat", &draining).await.status, StatusCode::OK);
    for round in 0..3 {
        let queues: BTreeMap<String, usize> = (0..99).map(|n| (format!("q{round}-{n}"), 1)).collect();
        assert_eq!(port.post("/v1/lease", &with(worker.asks(1), "queues", json!(queues))).await.status, StatusCode::OK);
    }
    let queues = port.get("/v1/daemons").await.json()[0]["queues"].as_object().expect("queues").clone();
    assert!(
        queues.len() == 100 && queues.contains_key("py") && queues.contains_key("q2-98") && !queues.contains_key("q1-98"),
        "{queues:?}"
    );
}

#[tokio::test]
async fn workers_that_would_park_each_other_s_jobs_are_kept_apart() {
    let port = Port::start().await;
    let daemon = announce(&port, "served", &["k"]).await;
    let worker = Worker::new();
    let served = with(worker.asks(1), "queues", json!({"py": 1, "served": 1}));
    let refused = port.post("/v1/lease", &served).await.problem(409, "queue_is_served");
    assert!(refused["detail"].as_str().is_some_and(|says| says.contains("`served`") && says.contains("queue of their own")), "{refused}");
    worker.lease(&port, 1).await;
    let other = Worker::new();
    let asks = with(other.asks(1), "kinds", json!(["k", "l"]));
    let refused = port.post("/v1/lease", &asks).await.problem(409, "other_kinds");
    assert!(refused["detail"].as_str().is_some_and(|says| says.contains("box-7")), "{refused}");
    other.lease(&port, 1).await;
    port.post("/v1/heartbeat", &json!({"worker": worker.0, "held": [], "draining": true})).await;
    port.post("/v1/goodbye", &json!({"worker": worker.0})).await;
    assert_eq!(port.post("/v1/lease", &asks).await.status, StatusCode::OK, "nobody else is there any more");
    for (path, body) in [
        ("/v1/lease", Worker(daemon).asks(1)),
        ("/v1/heartbeat", json!({"worker": daemon, "held": []})),
        ("/v1/goodbye", json!({"worker": daemon})),
    ] {
        port.post(path, &body).await.problem(409, "not_a_worker");
    }
    let token = port.token([Scope::Work], None).await;
    port.call(&token, Method::POST, "/v1/lease", &Worker(daemon).asks(1)).await.problem(409, "not_a_worker");
    let seen = port.store.daemons().await.expect("they are read");
    assert!(seen.iter().any(|seen| seen.daemon.holder == daemon), "nobody speaks for a daemon");
}

#[tokio::test]
async fn jobs_that_waited_for_somebody_who_knows_their_kind_go_on_when_he_comes() {
    let port = Port::start().await;
    let id = put(&port, 1).await[0];
    let stranger = with(Worker::new().asks(1), "kinds", json!(["l"]));
    assert!(leased(&port.post("/v1/lease", &stranger).await).is_empty());
    assert_eq!((&port.job(id).await["state"], &port.job(id).await["reason"]), (&json!("parked"), &json!("unknown_kind")));
    port.post("/v1/goodbye", &json!({"worker": stranger["worker"]})).await;
    assert_eq!(Worker::new().lease(&port, 1).await.len(), 1);
}

#[tokio::test]
async fn follow_ups_are_enqueued_with_the_end_and_stay_in_their_tenant() {
    let port = Port::start().await;
    let worker = Worker::new();
    let id = port.enqueue(1, &json!({"kind": "k", "queue": "py", "payload": 1, "tenant": "acme"})).await[0];
    let job = worker.lease(&port, 1).await.remove(0);
    let follow = |member: &str, value: Value| with(json!({"kind": "next", "payload": 2}), member, value);
    let ends = |follow_ups: Value| json!({"lease": job["lease"], "verdict": {"complete": {}}, "follow_ups": follow_ups});
    let refused = settle(&port, ends(json!([follow("queue", json!("q")), follow("tenant", json!("other"))]))).await;
    assert_eq!((&refused["error"]["pointer"], &refused["error"]["code"]), (&json!("#/0/follow_ups/1/tenant"), &json!("conflict")));
    let refused = settle(&port, ends(json!([follow("priority", json!(10))]))).await;
    assert_eq!(refused["error"]["pointer"], "#/0/follow_ups/0/priority", "{refused}");
    assert_eq!(port.job(id).await["state"], "running", "what was refused changed nothing");
    assert_eq!(settle(&port, ends(json!([follow("queue", json!("q"))]))).await["outcome"], "applied");
    let next = port.get("/v1/jobs?kind=next").await.json();
    assert_eq!((next["items"].as_array().map(Vec::len), &next["items"][0]["tenant"]), (Some(1), &json!("acme")), "{next}");
}

#[tokio::test]
async fn one_bad_settlement_stops_no_other() {
    let port = Port::start().await;
    put(&port, 2).await;
    let jobs = Worker::new().lease(&port, 2).await;
    let taken = port.enqueue(1, &json!({"kind": "other", "payload": 1})).await[0];
    let again = json!({"id": taken, "kind": "another", "payload": 2});
    let batch = json!([
        {"lease": "garbage", "verdict": {"complete": {}}},
        {"lease": jobs[0]["lease"], "verdict": {"complete": {}}, "follow_ups": [again]},
        {"lease": jobs[1]["lease"], "verdict": {"complete": {}}},
    ]);
    let answers = port.post("/v1/settle", &batch).await.json();
    assert_eq!((&answers[0]["error"]["code"], &answers[0]["error"]["pointer"]), (&json!("bad_lease"), &json!("#/0/lease")), "{answers}");
    assert_eq!(answers[2]["outcome"], "applied", "{answers}");
}

#[tokio::test]
async fn bad_settlement_is_refused_by_name() {
    let port = Port::start().await;
    put(&port, 1).await;
    let job = Worker::new().lease(&port, 1).await.remove(0);
    let error = json!({"code": "e", "message": "m"});
    for (member, value, pointer, code) in [
        ("effects", json!([]), "/effects", "not_supported"),
        ("surprise", json!(1), "", "wrong_type"),
        ("verdict", json!({"done": {}}), "", "wrong_type"),
        ("verdict", json!({"complete": {"why": 1}}), "", "wrong_type"),
        ("verdict", json!({"retry": {}}), "", "wrong_type"),
        ("verdict", json!({"retry": {"error": {"code": "", "message": "m"}}}), "/verdict/retry/error/code", "out_of_range"),
        ("verdict", json!({"snooze": {}}), "/verdict/snooze", "conflict"),
        ("verdict", json!({"snooze": {"for_ms": 1, "until": "2030-01-01T00:00:00Z"}}), "/verdict/snooze", "conflict"),
        ("verdict", json!({"snooze": {"for_ms": u64::MAX}}), "/verdict/snooze/for_ms", "out_of_range"),
        ("verdict", json!({"park": {"reason": "r", "until": "9000-01-01T00:00:00Z"}}), "/verdict/park/until", "out_of_range"),
        ("verdict", json!({"park": {"reason": "unknown_kind"}}), "/verdict/park/reason", "conflict"),
        ("verdict", json!({"park": {"reason": "r", "token": "t".repeat(201)}}), "/verdict/park/token", "out_of_range"),
        ("verdict", json!({"cancel": {"reason": "a\0b"}}), "/verdict/cancel/reason", "out_of_range"),
        ("verdict", json!({"reject": {"error": with(error, "class", json!("bad"))}}), "", "wrong_type"),
        ("checkpoint", json!("c".repeat(64 << 10)), "/checkpoint", "too_large"),
        ("result", json!("r".repeat(1 << 20)), "/result", "too_large"),
        ("usage", json!([{"provider": "", "model": "m"}]), "/usage/0/provider", "out_of_range"),
        ("follow_ups", json!([{"payload": 1}]), "/follow_ups/0/kind", "wrong_type"),
    ] {
        let refused = settle(&port, with(json!({"lease": job["lease"], "verdict": {"complete": {}}}), member, value.clone())).await;
        let told = &refused["error"];
        assert_eq!((&told["pointer"], &told["code"]), (&json!(format!("#/0{pointer}")), &json!(code)), "{member}: {refused}");
    }
    assert_eq!(port.job(id_of(&job)).await["state"], "running", "what was refused changed nothing");
    let many = Value::Array(vec![json!({}); 1001]);
    for (body, code) in [(json!({}), "not_json"), (json!(7), "not_json"), (many, "too_large")] {
        let answer = port.post("/v1/settle", &body).await;
        assert_eq!(
            (answer.status, &answer.problem(400, "invalid")["errors"][0]["code"]),
            (StatusCode::BAD_REQUEST, &json!(code)),
            "{answer:?}"
        );
    }
    assert_eq!(port.post("/v1/settle", &json!([])).await.json(), json!([]));
    port.send(Method::POST, "/v1/settle", "text/plain", "[]").await.problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn lease_call_and_heartbeat_have_bounds() {
    let port = Port::start().await;
    let asks = Worker::new().asks(1);
    let many = |n: usize| (0..n).map(|n| (format!("q{n}"), json!(1))).collect::<serde_json::Map<_, _>>();
    let kinds: Vec<String> = (0..1001).map(|n| format!("k{n}")).collect();
    for (member, value, pointer) in [
        ("queues", json!({}), "#/queues"),
        ("queues", json!(many(101)), "#/queues"),
        ("queues", json!({"py": 0}), "#/queues/py"),
        ("queues", json!({"py": 1001}), "#/queues"),
        ("queues", json!({"py": u64::MAX, "q": u64::MAX}), "#/queues"),
        ("kinds", json!([]), "#/kinds"),
        ("kinds", json!(kinds), "#/kinds"),
        ("lease_ms", json!(999), "#/lease_ms"),
        ("lease_ms", json!(3_600_001), "#/lease_ms"),
        ("wait_ms", json!(30_001), "#/wait_ms"),
    ] {
        let refused = port.post("/v1/lease", &with(asks.clone(), member, value)).await.problem(400, "invalid");
        assert_eq!(
            (&refused["errors"][0]["pointer"], &refused["errors"][0]["code"]),
            (&json!(pointer), &json!("out_of_range")),
            "{refused}"
        );
    }
    for (member, value) in
        [("worker", json!("x")), ("nonce", json!(7)), ("name", json!("two words")), ("surprise", json!(1)), ("kinds", json!(["a b"]))]
    {
        let code = if member == "surprise" { "unknown_member" } else { "wrong_type" };
        let refused = port.post("/v1/lease", &with(asks.clone(), member, value)).await.problem(400, "invalid");
        assert_eq!(refused["errors"][0]["code"], code, "{refused}");
    }
    assert_eq!(port.get("/v1/daemons").await.json(), json!([]), "who is refused is nobody");
    put(&port, 1).await;
    let worker = Worker::new();
    let job = worker.lease(&port, 1).await.remove(0);
    let beat = json!({"worker": worker.0, "held": [job["lease"]]});
    let large = json!([{"lease": job["lease"], "value": "p".repeat(4 << 10)}]);
    for (member, value, pointer) in [
        ("held", json!(vec!["x"; 10_001]), "#/held"),
        ("held", json!([job["lease"], "garbage"]), "#/held/1"),
        ("progress", json!([{"lease": "garbage", "value": 1}]), "#/progress/0/lease"),
        ("progress", large, "#/progress/0/value"),
        ("lease_ms", json!(0), "#/lease_ms"),
    ] {
        let refused = port.post("/v1/heartbeat", &with(beat.clone(), member, value)).await.problem(400, "invalid");
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
    }
}

#[tokio::test]
async fn daemon_that_ends_grants_no_more_and_takes_what_is_settled() {
    let port = Port::start().await;
    put(&port, 2).await;
    let worker = Worker::new();
    let job = worker.lease(&port, 1).await.remove(0);
    port.state.begin_drain();
    let refused = port.post("/v1/lease", &worker.asks(1)).await;
    refused.problem(503, "draining");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(worker.beat(&port, &[&job]).await["lost"], json!([]));
    assert_eq!(end(&port, &job, json!({"complete": {}})).await, "applied");
}

#[tokio::test]
async fn ends_are_counted_and_names_that_nobody_configured_are_one_label() {
    let port = Port::start().await;
    port.state.know(&settings(), [&name("py")]);
    put(&port, 1).await;
    let job = Worker::new().lease(&port, 1).await.remove(0);
    end(&port, &job, json!({"complete": {}})).await;
    end(&port, &forged(&job), json!({"complete": {}})).await;
    let text = port.get("/metrics").await.text;
    for line in [
        r#"windlass_job_attempts_total{kind="other",outcome="completed",queue="py"} 1"#,
        r#"windlass_leases_lost_total{queue="py"} 1"#,
        r#"windlass_job_duration_seconds_count{kind="other",queue="py"} 1"#,
        r#"windlass_job_wait_seconds_count{queue="py"} 1"#,
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
}

#[tokio::test]
async fn worker_s_life_through_the_client() {
    let port = Port::start().await;
    let client = Client::new(&port.url(""), None).expect("a client");
    let ids = put(&port, 2).await;
    let worker = HolderId::mint();
    let asked = LeaseAsked::new(worker, BTreeMap::from([(name("py"), 2)]), [name("k")].into());
    let leased = client.lease(&asked).await.expect("leased");
    assert_eq!(leased.jobs.iter().map(|job| job.id).collect::<BTreeSet<_>>(), ids.iter().copied().collect());
    port.store.cancel(ids[0], "no longer", &Actor::new("test"), None).await.expect("asked");
    let held: Vec<String> = leased.jobs.iter().map(|job| job.lease.clone()).collect();
    let beat = BeatAsked { worker, lease_ms: 15_000, held: held.clone(), progress: Vec::new(), draining: false };
    let told = client.heartbeat(&beat).await.expect("told");
    assert_eq!((told.cancel.len(), told.lost.len(), told.strays.len()), (1, 0, 0));
    let ends: Vec<Settled> = held.iter().map(|lease| Settled::new(lease, VerdictSent::Complete {})).collect();
    for outcome in [Applied::Applied, Applied::AlreadyApplied] {
        assert_eq!(client.settle(&ends).await.expect("settled"), vec![SettledAnswer::Told { outcome }; 2]);
    }
    client.goodbye(worker).await.expect("gone");
    assert!(client.daemons().await.expect("listed").is_empty());
    assert_eq!(port.store.get(ids[1]).await.expect("read").map(|job| job.state), Some(JobState::Completed));
}
