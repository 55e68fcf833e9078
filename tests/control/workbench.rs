//! Editing what waits, and the dead letters together: what they died of, changing them, one first, then the others at a rate.

use super::*;
use crate::crash::process::until;
use windlass::job::Scope;

/// Three that died of one trouble and one of another, oldest first.
async fn casualties(port: &Port) -> Vec<JobId> {
    let mut ids = Vec::new();
    for (n, message) in
        ["no page at https://a.example/1", "no page at https://b.example/22", "no page at https://c.example/3", "the model refused"]
            .iter()
            .enumerate()
    {
        let envelope = json!({"kind": "k", "payload": {"url": format!("https://{n}.example"), "n": n}});
        let id = port.enqueue(1, &envelope).await[0];
        let leased = port.lease("default", "k", 1).await.remove(0);
        let error = JobError::new(ErrorClass::Permanent, "rejected", *message);
        let end = Settlement::new(leased.lease, Transition::Dead { reason: "rejected", error }, leased.lease.granted_at);
        port.store.settle(vec![end], None).await.expect("it is dead");
        ids.push(id);
    }
    ids
}

async fn fingerprint(port: &Port) -> String {
    let groups = port.get("/v1/dead/groups").await.json();
    groups["groups"][0]["fingerprint"].as_str().expect("a fingerprint").to_owned()
}

#[tokio::test]
async fn dead_letters_are_grouped_by_what_they_died_of() {
    let port = Port::start().await;
    let ids = casualties(&port).await;
    let found = port.get("/v1/dead/groups").await.json();
    assert_eq!((&found["looked"], &found["next"]), (&json!(4), &json!(null)));
    let groups = found["groups"].as_array().expect("groups");
    assert_eq!(groups.iter().map(|group| &group["jobs"]).collect::<Vec<_>>(), [&json!(3), &json!(1)]);
    assert_eq!((&groups[0]["code"], &groups[0]["message"]), (&json!("rejected"), &json!("no page at https://c.example/3")));
    assert_eq!(groups[0]["sample"].as_array().map(Vec::len), Some(3));
    assert!(groups[1]["sample"] == json!([ids[3]]), "{found}");
    assert_eq!(port.get("/v1/dead/groups?kind=other").await.json()["groups"], json!([]));
    port.get("/v1/dead/groups?limit=1").await.problem(400, "bad_query");
    let of_the_first = format!("fingerprint={}", fingerprint(&port).await);
    for path in ["/v1/dead", "/v1/jobs"] {
        let listed = port.get(&format!("{path}?{of_the_first}")).await.json();
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(3), "{path}");
        port.get(&format!("{path}?fingerprint=none")).await.problem(400, "bad_query");
    }
}

#[tokio::test]
async fn group_is_patched_dry_and_then_put_back() {
    let port = Port::start().await;
    let ids = casualties(&port).await;
    let which = fingerprint(&port).await;
    let patch = json!([{"op": "test", "path": "/n", "value": 1}, {"op": "replace", "path": "/url", "value": "https://new.example"}]);
    let mut request = json!({"fingerprint": which, "change": {"patch": patch}, "dry_run": true});
    let dry = port.post("/v1/dead/redrive", &request).await.json();
    let fits = |answer: &Value| answer["items"].as_array().expect("items").iter().filter(|item| item["error"].is_null()).count();
    assert_eq!((&dry["redriven"], dry["items"].as_array().map(Vec::len), fits(&dry)), (&json!(0), Some(3), 1), "{dry}");
    let why = dry["items"].as_array().and_then(|items| items.iter().find(|item| !item["error"].is_null())).expect("one does not fit");
    assert_eq!(why["error"]["code"], "does_not_fit", "{why}");
    assert_eq!(port.job(ids[1]).await["state"], "dead", "nothing happened yet");
    request["dry_run"] = json!(false);
    let done = port.post("/v1/dead/redrive", &request).await.json();
    assert_eq!(done["redriven"], 1, "{done}");
    let job = port.job(ids[1]).await;
    assert_eq!((&job["state"], &job["payload"]), (&json!("queued"), &json!({"url": "https://new.example", "n": 1})));
    for stayed in [ids[0], ids[2], ids[3]] {
        assert_eq!(port.job(stayed).await["state"], "dead");
    }
}

#[tokio::test]
async fn redrive_must_say_which_in_one_way() {
    let port = Port::start().await;
    for unclear in [json!({}), json!({"all": true, "queue": "q"}), json!({"ids": [JobId::mint()], "all": true}), json!({"dry_run": true})] {
        port.post("/v1/dead/redrive", &unclear).await.problem(400, "no_filter");
        port.post("/v1/dead/redrives", &json!({"which": unclear})).await.problem(400, "no_filter");
    }
    for (wrong, pointer) in [
        (json!({"which": {"all": true}, "rate_per_s": 0}), "/rate_per_s"),
        (json!({"which": {"all": true}, "most": 100_001}), "/most"),
        (json!({"which": {"all": true, "dry_run": true}}), "/which/dry_run"),
    ] {
        let problem = port.post("/v1/dead/redrives", &wrong).await.problem(400, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], format!("#{pointer}"));
    }
}

#[tokio::test]
async fn redrive_of_named_jobs_answers_for_each() {
    let port = Port::start().await;
    let ids = casualties(&port).await;
    let nobody = JobId::mint();
    let answer = port.post("/v1/dead/redrive", &json!({"ids": [ids[0], nobody]})).await.json();
    assert_eq!((&answer["redriven"], &answer["items"][1]["error"]["code"]), (&json!(1), &json!("not_found")), "{answer}");
}

impl Port {
    async fn run_ended(&self, id: &Value) -> Value {
        let path = format!("/v1/dead/redrives/{}", id.as_str().expect("an id"));
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let run = self.get(&path).await.json();
            if !run["ended_at"].is_null() {
                return run;
            }
        }
    }

    /// Ends the one job that there is to lease, once there is one.
    async fn end_next(&self, transition: Transition) -> JobId {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
        loop {
            ticks.tick().await;
            if let Some(leased) = self.lease("default", "k", 1).await.pop() {
                let end = Settlement::new(leased.lease, transition, leased.lease.granted_at);
                self.store.settle(vec![end], None).await.expect("it ended");
                return leased.lease.job;
            }
        }
    }
}

#[tokio::test]
async fn run_puts_one_back_and_the_others_once_it_completed() {
    let port = Port::start().await;
    casualties(&port).await;
    let which = json!({"fingerprint": fingerprint(&port).await});
    let begun = port.post("/v1/dead/redrives", &json!({"which": which, "rate_per_s": 1000})).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{begun:?}");
    let id = begun.json()["id"].clone();
    let first = port.end_next(Transition::Complete).await;
    let run = port.run_ended(&id).await;
    assert_eq!((&run["status"], &run["redriven"], &run["canary"]), (&json!("done"), &json!(3), &json!(first)), "{run}");
    assert_eq!(port.get("/v1/dead").await.json()["items"].as_array().map(Vec::len), Some(1), "the other trouble's stays");
    assert_eq!(port.get("/v1/dead/redrives").await.json()[0]["id"], id);
}

#[tokio::test]
async fn run_ends_when_the_first_dies_again() {
    let port = Port::start().await;
    casualties(&port).await;
    let begun = port.post("/v1/dead/redrives", &json!({"which": {"all": true}})).await.json();
    let error = JobError::new(ErrorClass::Permanent, "rejected", "again");
    port.end_next(Transition::Dead { reason: "rejected", error }).await;
    let run = port.run_ended(&begun["id"]).await;
    assert_eq!((&run["status"], &run["redriven"]), (&json!("failed"), &json!(1)), "{run}");
    assert_eq!(port.get("/v1/dead").await.json()["items"].as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn run_can_be_stopped_and_has_a_cap() {
    let port = Port::start().await;
    casualties(&port).await;
    let capped = port.post("/v1/dead/redrives", &json!({"which": {"all": true}, "canary": false, "most": 1})).await.json();
    let run = port.run_ended(&capped["id"]).await;
    assert_eq!((&run["status"], &run["redriven"]), (&json!("done"), &json!(1)), "{run}");
    let waits = port.post("/v1/dead/redrives", &json!({"which": {"all": true}})).await.json();
    let path = format!("/v1/dead/redrives/{}/stop", waits["id"].as_str().expect("an id"));
    let stopped = Answer::of(port.request(Method::POST, &path)).await.json();
    assert_eq!(stopped["status"], "stopped");
    assert_eq!(port.run_ended(&waits["id"]).await["status"], "stopped");
}

#[tokio::test]
async fn one_token_has_so_many_runs_under_way_and_what_is_refused_leaves_no_row() {
    let port = Port::start().await;
    casualties(&port).await;
    let (own, other) = (port.token([Scope::Operate], None).await, port.token([Scope::Operate], None).await);
    // Nobody runs the one that goes first, so it waits.
    let start =
        async |token: &str| port.call(token, Method::POST, "/v1/dead/redrives", &json!({"which": {"kind": "k"}, "canary": true})).await;
    let first = start(&own).await;
    assert_eq!((first.status, start(&own).await.status), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
    start(&own).await.problem(409, "too_many_runs");
    assert_eq!(start(&other).await.status, StatusCode::ACCEPTED, "there is room for others");
    let begun = port.store.audit(None, 100).await.expect("it is read").items.iter().filter(|row| row.action == "begin_redrive").count();
    assert_eq!(begun, 3);
    let stop = format!("/v1/dead/redrives/{}/stop", first.json()["id"].as_str().expect("an id"));
    assert_eq!(port.call(&own, Method::POST, &stop, &json!(null)).await.status, StatusCode::OK);
    until("its place to be free", async || (start(&own).await.status == StatusCode::ACCEPTED).then_some(())).await;
}

#[tokio::test]
async fn waiting_job_is_edited_and_shown_as_it_is_then() {
    let port = Port::start().await;
    let id = port.enqueue(1, &json!({"kind": "k", "payload": {"a": 1}})).await[0];
    let path = format!("/v1/jobs/{id}");
    let edited = port.send(Method::PATCH, &path, "application/json", r#"{"priority":1,"payload":{"b" :2},"max_attempts":7}"#).await;
    assert_eq!(edited.status, StatusCode::OK, "{edited:?}");
    let job = edited.json();
    assert_eq!((&job["priority"], &job["payload"], &job["max_attempts"]), (&json!(1), &json!({"b": 2}), &json!(7)));
    for (wrong, pointer) in [
        (r#"{"priority":10}"#, "#/priority"),
        (r#"{"payload":1,"patch":[]}"#, "#/patch"),
        (r#"{"patch":[{"op":"remove","path":"/nowhere"}]}"#, "#/patch"),
        ("{}", "#"),
    ] {
        let problem = port.send(Method::PATCH, &path, "application/json", wrong).await.problem(400, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{wrong}: {problem}");
    }
    port.lease("default", "k", 1).await;
    let late = port.send(Method::PATCH, &path, "application/json", r#"{"priority":2}"#).await;
    assert_eq!(late.status, StatusCode::CONFLICT, "{late:?}");
}

#[tokio::test]
async fn who_may_not_see_payloads_sees_none_of_them_in_a_group_or_by_a_patch() {
    let port = Port::start().await;
    let ids = casualties(&port).await;
    let token = port.token([Scope::Operate], None).await;
    let groups = port.call(&token, Method::GET, "/v1/dead/groups", &json!(null)).await;
    assert!(!groups.text.contains("no page"), "{groups:?}");
    let guess = json!({"patch": [{"op": "test", "path": "/n", "value": 1}]});
    port.call(&token, Method::PATCH, &format!("/v1/jobs/{}", ids[1]), &guess).await.problem(403, "missing_scope");
    let many = json!({"all": true, "change": guess, "dry_run": true});
    port.call(&token, Method::POST, "/v1/dead/redrive", &many).await.problem(403, "missing_scope");
}

#[tokio::test]
async fn fingerprint_that_is_none_is_refused() {
    let port = Port::start().await;
    for text in ["", "none", "0123456789ABCDEF"] {
        port.post("/v1/dead/redrive", &json!({"fingerprint": text})).await.problem(400, "invalid");
    }
}

#[tokio::test]
async fn run_passes_those_that_cannot_go_back() {
    let port = Port::start().await;
    casualties(&port).await;
    let patch = json!([{"op": "test", "path": "/n", "value": 0}]);
    let which = json!({"fingerprint": fingerprint(&port).await, "change": {"patch": patch}});
    let begun = port.post("/v1/dead/redrives", &json!({"which": which, "canary": false, "rate_per_s": 1})).await.json();
    let run = port.run_ended(&begun["id"]).await;
    assert_eq!((&run["status"], &run["redriven"], &run["stayed"]), (&json!("done"), &json!(1), &json!(2)), "{run}");
}
