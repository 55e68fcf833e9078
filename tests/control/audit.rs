//! The audit through the port: every door that changes something leaves a row with its caller's token, and nothing is changed without one.

use super::{access::operator, *};
use windlass::{
    control::{Door, doors},
    job::{AuditFilter, Scope, Verifier},
    store::Error,
};

/// Everything that a door can change, made anew for it.
struct Things {
    job: JobId,
    scheduled: JobId,
    dead: JobId,
    /// Of a parked job.
    token: String,
    /// The id of a token that may be ended.
    spare: String,
    /// A redrive that puts nothing back.
    run: String,
}

impl Port {
    async fn things(&self, admin: &str) -> Things {
        let put = json!({"every_ms": 3_600_000, "job": {"kind": "work", "payload": 1}});
        assert_eq!(self.call(admin, Method::PUT, "/v1/schedules/tick", &put).await.status, StatusCode::OK);
        let made = self.call(admin, Method::POST, "/v1/tokens", &json!({"name": "spare", "scopes": ["read"]})).await;
        let spare = made.json()["id"].as_str().unwrap_or_default().to_owned();
        let enqueue = async |envelope: Value| id_of(&self.call(admin, Method::POST, "/v1/jobs", &envelope).await.json());
        let dead = enqueue(json!({"kind": "gives_up", "payload": 1, "queue": "dead"})).await;
        let parked = enqueue(json!({"kind": "waits", "payload": 1, "queue": "parked"})).await;
        let error = || JobError::new(ErrorClass::Permanent, "bad", "no");
        let now = self.store.now().await.expect("the clock");
        let park =
            Transition::Park { reason: "answer".into(), until: now.plus_ms(600_000), token: Some(format!("t-{parked}")), error: None };
        for (id, queue, kind, end) in
            [(dead, "dead", "gives_up", Transition::Dead { reason: "rejected", error: error() }), (parked, "parked", "waits", park)]
        {
            for leased in self.lease(queue, kind, 100).await {
                let end = if leased.job.id == id { end.clone() } else { Transition::Complete };
                self.store.settle(vec![Settlement::new(leased.lease, end, now)], None).await.expect("settled");
            }
        }
        let run = self.call(admin, Method::POST, "/v1/dead/redrives", &json!({"which": {"kind": "nothing"}})).await.json();
        Things {
            run: run["id"].as_str().unwrap_or_default().to_owned(),
            job: enqueue(json!({"kind": "work", "payload": 1})).await,
            scheduled: enqueue(json!({"kind": "work", "payload": 1, "delay_ms": 600_000})).await,
            dead,
            token: format!("t-{parked}"),
            spare,
        }
    }

    async fn audit(&self) -> Vec<windlass::job::Audited> {
        self.store.audit(None, 1000).await.expect("it is read").items
    }
}

impl Things {
    /// What a call of this door looks like, and how its act is called.
    fn call(&self, method: &Method, path: &str) -> Option<(String, Value, &'static str)> {
        let with = |text: &str| path.replacen("{id}", text, 1).replace("{queue}", "q").replace("{name}", "tick");
        Some(match (method.as_str(), path) {
            ("PATCH", "/v1/jobs/{id}") => (with(&self.job.to_string()), json!({"priority": 1}), "edit"),
            ("POST", "/v1/jobs/{id}/cancel") => (with(&self.job.to_string()), json!({"reason": "why"}), "cancel"),
            ("POST", "/v1/jobs/{id}/retry") => (with(&self.scheduled.to_string()), json!({}), "run_now"),
            ("POST", "/v1/unpark/{token}") => (path.replace("{token}", &self.token), json!({"yes": true}), "unpark"),
            ("POST", "/v1/dead/redrive") => (path.into(), json!({"queue": "dead"}), "redrive"),
            ("POST", "/v1/dead/redrives") => (path.into(), json!({"which": {"kind": "nothing"}}), "begin_redrive"),
            ("POST", "/v1/dead/redrives/{id}/stop") => (with(&self.run), json!(null), "stop_redrive"),
            ("DELETE", "/v1/dead/{id}") => (with(&self.dead.to_string()), json!(null), "purge"),
            ("POST", "/v1/dead/{id}/redrive") => (with(&self.dead.to_string()), json!({}), "redrive"),
            ("PATCH", "/v1/queues/{queue}/limits") => (with(""), json!({"concurrency": 3, "reason": "it melts"}), "set_limits"),
            ("DELETE", "/v1/queues/{queue}/limits") => (with(""), json!({"reason": "it is well"}), "unset_limits"),
            ("POST", "/v1/queues/{queue}/pause") => (with(""), json!({"reason": "full"}), "pause"),
            ("POST", "/v1/queues/{queue}/resume") => (with(""), json!({}), "resume"),
            ("PUT", "/v1/schedules/{name}") => {
                (with(""), json!({"every_ms": 60_000, "job": {"kind": "work", "payload": 1}}), "put_schedule")
            }
            ("DELETE", "/v1/schedules/{name}") => (with(""), json!(null), "delete_schedule"),
            ("POST", "/v1/schedules/{name}/pause") => (with(""), json!({}), "pause_schedule"),
            ("POST", "/v1/schedules/{name}/resume") => (with(""), json!({}), "resume_schedule"),
            ("POST", "/v1/schedules/{name}/run") => (with(""), json!({}), "run_schedule"),
            ("POST", "/v1/tokens") => (path.into(), json!({"name": "ci", "scopes": ["read"]}), "create_token"),
            ("DELETE", "/v1/tokens/{id}") => (with(&self.spare), json!(null), "end_token"),
            _ => return None,
        })
    }
}

#[tokio::test]
async fn every_door_that_changes_something_leaves_a_row_with_its_callers_token() {
    let port = Port::start().await;
    let admin = port.token([Scope::Admin], None).await;
    let actor = format!("token:{}", admin.split('_').nth(1).expect("an id"));
    let mut tried = 0;
    // Work is told of by the jobs themselves: bringing them, and what a worker does.
    let is_work = |door: &Door| (&door.method, door.path) == (&Method::POST, "/v1/jobs") || door.access.scope == Scope::Work;
    for door in doors().into_iter().filter(|door| door.method != Method::GET && !is_work(door)) {
        let things = port.things(&admin).await;
        let what = format!("{} {}", door.method, door.path);
        let (path, body, action) =
            things.call(&door.method, door.path).unwrap_or_else(|| panic!("{what} is new; say here what its act is called"));
        let before = port.audit().await;
        let answer = port.call(&admin, door.method.clone(), &path, &body).await;
        assert!(answer.status.is_success(), "{what}: {answer:?}");
        let new: Vec<_> = port.audit().await.into_iter().filter(|row| before.iter().all(|old| old.op_id != row.op_id)).collect();
        assert!(!new.is_empty() && new.iter().all(|row| (row.action.as_str(), &row.actor) == (action, &actor)), "{what}: {new:?}");
        tried += 1;
    }
    assert!(tried >= 15, "only {tried} doors were tried");
    let mut verifier = Verifier::default();
    port.audit().await.into_iter().for_each(|row| verifier.look_at(row));
    assert_eq!(verifier.end().breaks_at, None);
}

#[tokio::test]
async fn nothing_is_changed_whose_row_cannot_be_written() {
    let port = Port::start().await;
    let admin = port.token([Scope::Admin], None).await;
    let things = port.things(&admin).await;
    let tokens = port.store.tokens().await.expect("they are read");
    let file = port.folder().join("windlass.db");
    let full = rusqlite::Connection::open(file).expect("it opens");
    full.execute_batch("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no room'); END").expect("made");
    let before = port.everything().await;
    for (method, path) in [
        (Method::POST, format!("/v1/jobs/{}/cancel", things.job)),
        (Method::DELETE, format!("/v1/dead/{}", things.dead)),
        (Method::POST, format!("/v1/dead/{}/redrive", things.dead)),
        (Method::POST, "/v1/queues/q/pause".into()),
        (Method::POST, "/v1/schedules/tick/run".into()),
        (Method::DELETE, "/v1/schedules/tick".into()),
        (Method::POST, format!("/v1/unpark/{}", things.token)),
    ] {
        let answer = port.call(&admin, method, &path, &json!({})).await;
        assert!(answer.status.is_server_error(), "{path}: {answer:?}");
    }
    assert_eq!(port.everything().await, before);
    assert!(port.store.put_token(&super::access::any_token(), &operator()).await.is_err());
    assert_eq!(port.store.tokens().await.expect("they are read"), tokens);
    assert!(port.store.queues(None).await.expect("queues").iter().all(|queue| queue.paused.is_none()));
    assert_eq!(port.store.schedules().await.expect("schedules").len(), 1);
}

#[tokio::test]
async fn rows_are_read_in_pages_and_by_what_they_name() {
    let port = Port::start().await;
    let admin = port.token([Scope::Admin], None).await;
    for n in 0..5 {
        port.call(&admin, Method::POST, &format!("/v1/queues/q{}/pause", n % 2), &json!({"reason": n.to_string()})).await;
    }
    let get = async |query: &str| port.call(&admin, Method::GET, &format!("/v1/audit{query}"), &json!(null)).await;
    let all = get("").await.json();
    assert_eq!((all["items"].as_array().map(Vec::len), &all["next"]), (Some(6), &Value::Null));
    assert_eq!((&all["items"][0]["detail"], &all["items"][5]["action"]), (&json!("4"), &json!("create_token")));
    assert!(all["items"][0]["hash"].as_str().is_some_and(|hash| hash.len() == 64), "{all}");
    let first = get("?limit=4").await.json();
    let rest = get(&format!("?limit=4&cursor={}", first["next"].as_str().expect("a cursor"))).await.json();
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(get("?action=pause&object=q1").await.json()["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(get("?actor=nobody").await.json()["items"], json!([]));
    get("?cursor=x").await.problem(400, "invalid");
    get("?limit=0").await.problem(400, "out_of_range");
    let filter = AuditFilter { action: Some("pause".into()), ..AuditFilter::default() };
    let client = windlass::Client::new(&port.url(""), Some(&admin.into())).expect("a client");
    assert_eq!(client.audit(&filter, None, 3).await.expect("a page").items.len(), 3);
    let refused = port.store.audit(Some("x"), 1).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })));
}
