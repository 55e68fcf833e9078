//! What a token lets its holder do: every route with every sort of token, two tenants that must not learn of each other, and what becomes of
//! tokens that are made, end and are taken away.

use super::*;
use crate::cli::program::Place;
use std::collections::BTreeSet;
use windlass::{
    control::{Door, doors},
    job::{Limits, NewJob, Scope, State as JobState, Timestamp, Token, TokenRequest},
    store::{Actor, Filter},
};

pub(super) fn operator() -> Actor {
    Actor::new("test")
}

pub(super) fn any_token() -> Token {
    let request = TokenRequest { name: name("any"), scopes: [Scope::Read].into(), tenant: None, expires_at: None };
    Token::make(request, [9; 40], Timestamp(0), "test").1
}

impl Port {
    /// A token, as its holder shows it.
    pub(super) async fn token(&self, scopes: impl IntoIterator<Item = Scope>, tenant: Option<&str>) -> String {
        self.token_until(scopes, tenant, None).await
    }

    async fn token_until(&self, scopes: impl IntoIterator<Item = Scope>, tenant: Option<&str>, expires_at: Option<Timestamp>) -> String {
        kept_token(&*self.store, scopes, tenant, expires_at).await
    }

    /// A job that no call brought.
    async fn store_job(&self, envelope: &Value) -> JobId {
        let job = NewJob::check(envelope.to_string().as_bytes(), Limits::default()).expect("an envelope");
        self.store.enqueue(vec![job], None).await.expect("it is kept")[0].id
    }

    pub(super) async fn call(&self, token: &str, method: Method, path: &str, body: &Value) -> Answer {
        let request = self.request(method, path).header("content-type", "application/json").bearer_auth(token);
        Answer::of(request.body(body.to_string())).await
    }
}

/// A token that the store knows, as its holder shows it.
async fn kept_token(
    store: &dyn Store,
    scopes: impl IntoIterator<Item = Scope>,
    tenant: Option<&str>,
    expires_at: Option<Timestamp>,
) -> String {
    let request = TokenRequest { name: name("test"), scopes: scopes.into_iter().collect(), tenant: tenant.map(name), expires_at };
    let mut chance = [0; 40];
    chance[..16].copy_from_slice(uuid::Uuid::now_v7().as_bytes());
    chance.rotate_left(8);
    let (text, token) = Token::make(request, chance, Timestamp(0), "test");
    store.put_token(&token, &operator()).await.expect("it is kept");
    text
}

/// A path of this route that names `job`, and otherwise things which are nowhere, so that nothing happens.
fn path_of(path: &str, job: JobId) -> String {
    path.replace("/v1/tokens/{id}", "/v1/tokens/0123456789abcdef").replace("{id}", &job.to_string()).replace(['{', '}'], "")
}

/// What each scope lets one do, written down a second time: whoever changes the one must mean it.
fn covered_by(scope: Scope) -> BTreeSet<Scope> {
    use Scope::{Admin, Enqueue, Metrics, Operate, Read, ReadPayload, Work};
    match scope {
        Enqueue => [Enqueue].into(),
        Read => [Read].into(),
        ReadPayload => [Read, ReadPayload].into(),
        Operate => [Read, Operate].into(),
        Admin => Scope::ALL.into(),
        Metrics => [Metrics].into(),
        Work => [Work].into(),
    }
}

/// Somebody who calls, and what they may do at a route's door.
struct Holder {
    what: String,
    shown: Option<String>,
    /// None: nobody is let in with this.
    rights: Option<(Scope, Option<&'static str>)>,
}

/// Nobody, who has nothing good to show, and whoever has one scope: bound to no tenant, to the one whose job it is, or to another.
async fn holders(store: &dyn Store) -> Vec<Holder> {
    let live = kept_token(store, Scope::ALL, None, None).await;
    let forged = format!("{}{}", &live[..live.len() - 1], if live.ends_with('0') { '1' } else { '0' });
    let revoked = kept_token(store, Scope::ALL, None, None).await;
    let id = revoked.split('_').nth(1).expect("an id").parse().expect("an id");
    store.end_token(&id, Timestamp(2), &operator()).await.expect("it ends");
    let nobodys = [
        ("none", None),
        ("garbage", Some("garbage".to_owned())),
        ("no token's form", Some("windlass_0_0".to_owned())),
        ("expired", Some(kept_token(store, Scope::ALL, None, Some(Timestamp(1))).await)),
        ("forged", Some(forged)),
        ("revoked", Some(revoked)),
    ];
    let mut all: Vec<Holder> = nobodys.into_iter().map(|(what, shown)| Holder { what: what.into(), shown, rights: None }).collect();
    for scope in Scope::ALL {
        for tenant in [None, Some("acme"), Some("other")] {
            let shown = Some(kept_token(store, [scope], tenant, None).await);
            all.push(Holder { what: format!("{scope} of {tenant:?}"), shown, rights: Some((scope, tenant)) });
        }
    }
    all
}

/// What the table in the code says of this cell: the status and the code of a refusal, or nothing.
fn refusal(door: Option<&Door>, rights: Option<(Scope, Option<&str>)>) -> Option<(u16, &'static str)> {
    let Some(Door { access, path, .. }) = door else { return Some((405, "wrong_method")) };
    let Some((scope, tenant)) = rights else { return Some((401, "unauthorized")) };
    if !covered_by(scope).contains(&access.scope) {
        return Some((403, "missing_scope"));
    }
    match tenant {
        Some(_) if !access.within_tenant => Some((403, "bound_to_tenant")),
        // Of somebody else's job nothing is known, not even that it is there.
        Some("other") if path.contains("{id}") => Some((404, "not_found")),
        _ => None,
    }
}

#[tokio::test]
async fn binary_admits_at_each_route_and_method_whom_its_door_says_and_nobody_else() {
    let place = Place::new();
    place.write("windlass.toml", "[control]\ncalls_per_token = 0\ncalls_per_address = 0\nfailures_per_address = 0\n");
    let file = place.path("windlass.db");
    let store = SqliteStore::open(&file, Role::Client, sqlite::Config::default(), Clock::System).expect("a store");
    let holders = holders(&store).await;
    let envelope = json!({"kind": "work", "payload": 1, "tenant": "acme", "delay_ms": 86_400_000}).to_string();
    let job = NewJob::check(envelope.as_bytes(), Limits::default()).expect("an envelope");
    let jobs_id = job.id;
    store.enqueue(vec![job], None).await.expect("it is kept");
    store.close().await;
    drop(store);
    let daemon = place.daemon(&["--config", "windlass.toml", "--store", &format!("sqlite:{}", file.display())]);
    let http = http();
    let doors = doors();
    let paths: BTreeSet<&str> = doors.iter().map(|door| door.path).collect();
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let mut cells = 0;
    for path in &paths {
        for method in &methods {
            let door = doors.iter().find(|door| door.path == *path && door.method == *method);
            for holder in &holders {
                let url = format!("http://{}{}", daemon.address, path_of(path, jobs_id));
                let asked = http.request(method.clone(), url).timeout(PATIENCE).header("content-type", "application/json").body("{}");
                let asked = if let Some(shown) = &holder.shown { asked.bearer_auth(shown) } else { asked };
                let answer = Answer::of(asked).await;
                let what = format!("{method} {path}, {}: {answer:?}", holder.what);
                match refusal(door, holder.rights) {
                    Some((status, code)) => {
                        let told = (answer.status.as_u16(), answer.json()["code"].clone());
                        assert_eq!(told, (status, json!(code)), "{what}");
                    }
                    None => assert!(!matches!(answer.status.as_u16(), 401 | 403 | 405 | 500..), "{what}"),
                }
                cells += 1;
            }
        }
    }
    assert_eq!(cells, paths.len() * methods.len() * (6 + 3 * Scope::ALL.len()));
}

#[tokio::test]
async fn port_is_closed_from_the_first_token_on_whatever_becomes_of_it() {
    let port = Port::start().await;
    let first = json!({"name": "ops", "scopes": ["admin"]});
    // Whoever is on this machine is not whoever has the store.
    port.post("/v1/tokens", &first).await.problem(403, "first_token");
    let token = port.token([Scope::Admin], None).await;
    assert_eq!(port.call(&token, Method::GET, "/v1/jobs", &json!(null)).await.status, StatusCode::OK);
    port.get("/v1/jobs").await.problem(401, "unauthorized");
    let id = token.split('_').nth(1).expect("an id").to_owned();
    assert_eq!(port.call(&token, Method::DELETE, &format!("/v1/tokens/{id}"), &json!(null)).await.status, StatusCode::NO_CONTENT);
    port.call(&token, Method::GET, "/v1/jobs", &json!(null)).await.problem(401, "unauthorized");
    port.get("/v1/jobs").await.problem(401, "unauthorized");
    port.post("/v1/tokens", &first).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn tokens_are_made_listed_and_ended_by_who_has_one() {
    let port = Port::start().await;
    let token = port.token([Scope::Admin], None).await;
    let made = port.call(&token, Method::POST, "/v1/tokens", &json!({"name": "reader", "scopes": ["read"], "tenant": "acme"})).await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    let made = made.json();
    let reader = made["token"].as_str().expect("the token");
    assert!(made.get("digest").is_none() && made["is_live"] == true, "{made}");
    assert_eq!(port.call(reader, Method::GET, "/v1/jobs", &json!(null)).await.status, StatusCode::OK);
    let list = port.call(&token, Method::GET, "/v1/tokens", &json!(null)).await;
    assert_eq!((list.json().as_array().expect("a list").len(), list.text.contains(reader)), (2, false));
    let path = format!("/v1/tokens/{}", made["id"].as_str().expect("an id"));
    assert_eq!(port.call(&token, Method::DELETE, &format!("{path}?after_ms=60000"), &json!(null)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(port.call(reader, Method::GET, "/v1/jobs", &json!(null)).await.status, StatusCode::OK, "for a while");
    assert_eq!(port.call(&token, Method::DELETE, &path, &json!(null)).await.status, StatusCode::NO_CONTENT);
    port.call(reader, Method::GET, "/v1/jobs", &json!(null)).await.problem(401, "unauthorized");
    port.call(&token, Method::DELETE, "/v1/tokens/0123456789abcdef", &json!(null)).await.problem(404, "not_found");
    for (body, pointer) in [
        (json!({"name": "x", "scopes": []}), "#/scopes"),
        (json!({"name": "x", "scopes": ["read"], "expires_at": "2001-01-01T00:00:00Z"}), "#/expires_at"),
    ] {
        let problem = port.call(&token, Method::POST, "/v1/tokens", &body).await.problem(400, "invalid");
        assert_eq!(problem["errors"][0]["pointer"], pointer);
    }
}

#[tokio::test]
async fn stream_ends_with_its_token() {
    let port = Port::start().await;
    let token = port.token([Scope::Enqueue], None).await;
    let id = token.split('_').nth(1).expect("an id").parse().expect("an id");
    let (lines, body) = tokio::sync::mpsc::channel::<Result<String, std::io::Error>>(1);
    let line = || Ok(json!({"kind": "work", "payload": 1}).to_string() + "\n");
    let body = reqwest::Body::wrap_stream(futures_util::stream::unfold(body, async |mut body| Some((body.recv().await?, body))));
    let request = port.request(Method::POST, "/v1/jobs?partial=true").header("content-type", "application/x-ndjson").bearer_auth(&token);
    lines.send(line()).await.expect("it is read");
    let mut answer = request.body(body).send().await.expect("it answers the first line");
    assert!(String::from_utf8_lossy(&answer.chunk().await.expect("a line").expect("one")).contains("queued"));
    port.store.end_token(&id, Timestamp(0), &operator()).await.expect("it ends");
    let mut last = String::new();
    while !last.contains("stopped_at") {
        // Somebody else's call makes the port look again.
        let _ = port.get("/v1/jobs").await;
        let _ = lines.send(line()).await;
        last = answer.chunk().await.expect("it goes on").map(|line| String::from_utf8_lossy(&line).into_owned()).expect("a last line");
    }
    assert!(last.contains("unauthorized"), "{last}");
}

#[tokio::test]
async fn call_that_waits_ends_unanswered_when_its_token_does() {
    let port = Port::start().await;
    let (worker, reader) = (port.token([Scope::Work], None).await, port.token([Scope::Read], None).await);
    let id = port.store_job(&json!({"kind": "work", "payload": 1, "delay_ms": 86_400_000})).await;
    let asked = json!({"worker": HolderId::mint(), "queues": {"default": 1}, "kinds": ["work"], "wait_ms": 20_000});
    let path = format!("/v1/jobs/{id}?wait_ms=20000");
    let revoked = async {
        for token in [&worker, &reader] {
            let id = token.split('_').nth(1).expect("an id").parse().expect("an id");
            port.store.end_token(&id, Timestamp(0), &operator()).await.expect("it ends");
        }
        for token in [&worker, &reader] {
            while port.call(token, Method::GET, "/v1/jobs", &json!(null)).await.status != StatusCode::UNAUTHORIZED {}
        }
        port.store.run_now(id, &operator(), None).await.expect("it is due");
        let leased = port.lease("default", "work", 1).await;
        let now = leased[0].lease.granted_at;
        port.store.settle(vec![Settlement::new(leased[0].lease, Transition::Complete, now)], None).await.expect("settled");
    };
    let nothing = json!(null);
    let (leased, shown, ()) =
        tokio::join!(port.call(&worker, Method::POST, "/v1/lease", &asked), port.call(&reader, Method::GET, &path, &nothing), revoked);
    leased.problem(401, "unauthorized");
    shown.problem(401, "unauthorized");
}

#[tokio::test]
async fn reason_with_a_nul_is_refused_at_the_door() {
    let port = Port::start().await;
    for path in [format!("/v1/jobs/{}/cancel", JobId::mint()), "/v1/queues/mail/pause".to_owned()] {
        port.post(&path, &json!({"reason": "a\0b"})).await.problem(400, "invalid");
    }
}

#[tokio::test]
async fn who_may_not_see_payloads_sees_none() {
    let port = Port::start().await;
    let secret = "tell-nobody";
    let next = json!({"kind": "next", "payload": {"s": secret}});
    let envelope = json!({"kind": "work", "payload": {"s": secret}, "meta": {"s": secret}, "on_success": next, "on_failure": next});
    let id = port.enqueue(1, &envelope).await[0];
    let (blind, seeing) = (port.token([Scope::Operate], None).await, port.token([Scope::ReadPayload], None).await);
    for path in [format!("/v1/jobs/{id}"), "/v1/jobs".to_owned()] {
        let answer = port.call(&blind, Method::GET, &path, &json!(null)).await;
        assert_eq!((answer.status, answer.text.contains(secret)), (StatusCode::OK, false), "{answer:?}");
    }
    let leased = port.lease("default", "work", 1).await;
    let error = JobError::new(ErrorClass::Permanent, "bad", format!("cannot read {secret}"));
    let end = Settlement::new(leased[0].lease, Transition::Dead { reason: "rejected", error }, leased[0].lease.granted_at);
    port.store.settle(vec![end], None).await.expect("it is dead");
    let schedule = json!({"cron": "30 2 * * *", "job": envelope});
    let put = port.call(&port.token([Scope::Admin], None).await, Method::PUT, "/v1/schedules/nightly", &schedule).await;
    assert_eq!(put.status, StatusCode::OK, "{put:?}");
    let patch = json!([{"op": "add", "path": "/t", "value": secret}]);
    let order = json!({"which": {"kind": "nothing", "change": {"patch": patch}}});
    let run = port.call(&port.token([Scope::Admin], None).await, Method::POST, "/v1/dead/redrives", &order).await.json();
    let run = run["id"].as_str().expect("an id");
    for door in doors().into_iter().filter(|door| door.method == Method::GET && [Scope::Read, Scope::Operate].contains(&door.access.scope))
    {
        let path = door
            .path
            .replace("redrives/{id}", &format!("redrives/{run}"))
            .replace("{id}", &id.to_string())
            .replace("{name}", "nightly")
            .replace("{queue}", "default");
        let answer = port.call(&blind, Method::GET, &path, &json!(null)).await;
        assert_eq!((answer.status, answer.text.contains(secret)), (StatusCode::OK, false), "{path}: {answer:?}");
    }
    let paused = port.call(&blind, Method::POST, "/v1/schedules/nightly/pause", &json!({})).await;
    assert_eq!((paused.status, paused.text.contains(secret)), (StatusCode::OK, false));
    let shown = port.call(&blind, Method::GET, &format!("/v1/jobs/{id}"), &json!(null)).await.json();
    assert!(shown["hidden"].as_array().is_some_and(|hidden| hidden.contains(&json!("payload"))), "{shown}");
    let shown = port.call(&seeing, Method::GET, &format!("/v1/jobs/{id}"), &json!(null)).await.json();
    assert_eq!((&shown["payload"]["s"], shown.get("hidden")), (&json!(secret), None));
}

/// Answers without what is new in each: ids, instants.
fn plain(answer: &Answer, ids: &[JobId]) -> (u16, String) {
    let mut text = answer.text.clone();
    for id in ids {
        text = text.replace(&id.to_string(), "ID");
    }
    let instance = text.find("urn:uuid:").map(|at| text[at..at + 45].to_owned());
    (answer.status.as_u16(), instance.map_or(text.clone(), |instance| text.replace(&instance, "URN")))
}

#[tokio::test]
async fn one_tenant_learns_and_changes_nothing_of_another() {
    let port = Port::start().await;
    let everything = [Scope::Admin];
    let (a, b) = (port.token(everything, Some("a")).await, port.token(everything, Some("b")).await);
    let job =
        |state: &str| json!({"kind": "work", "payload": state, "tags": ["t"], "delay_ms": if state == "scheduled" { 600_000 } else { 0 }});
    let mut of_b = Vec::new();
    for state in ["queued", "scheduled", "dead"] {
        let queue = format!("of_{state}");
        let mut envelope = job(state);
        envelope["queue"] = json!(queue);
        let made = port.call(&b, Method::POST, "/v1/jobs", &envelope).await;
        assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
        of_b.push(id_of(&made.json()));
    }
    for leased in port.lease("of_dead", "work", 1).await {
        let error = JobError::new(ErrorClass::Permanent, "bad", "no");
        let end = Settlement::new(leased.lease, Transition::Dead { reason: "rejected", error }, leased.lease.granted_at);
        port.store.settle(vec![end], None).await.expect("it is dead");
    }
    let before = port.everything().await;
    for id in &of_b {
        let nobodys = JobId::mint();
        for Door { method, path, access, .. } in doors() {
            if !access.within_tenant || !path.contains("{id}") {
                continue;
            }
            let foreign = port.call(&a, method.clone(), &path.replace("{id}", &id.to_string()), &json!({})).await;
            let missing = port.call(&a, method.clone(), &path.replace("{id}", &nobodys.to_string()), &json!({})).await;
            assert_eq!(plain(&foreign, &[*id]), plain(&missing, &[nobodys]), "{method} {path}");
            foreign.problem(404, "not_found");
        }
    }
    for query in ["", "?tenant=b", "?tag=t", "?kind=work", "?state=queued", "?queue=of_queued"] {
        for list in ["/v1/jobs", "/v1/dead"].iter().filter(|list| **list == "/v1/jobs" || !query.contains("state")) {
            let answer = port.call(&a, Method::GET, &format!("{list}{query}"), &json!(null)).await;
            assert_eq!(answer.json(), json!({"items": [], "next": null, "looked": 0}), "{list}{query}");
        }
    }
    let all = port.call(&a, Method::POST, "/v1/dead/redrive", &json!({"all": true})).await.json();
    let theirs = port.call(&a, Method::POST, "/v1/dead/redrive", &json!({"tenant": "b"})).await.json();
    assert_eq!((&all["redriven"], &theirs["redriven"]), (&json!(0), &json!(0)));
    // What names another tenant is refused whole, wherever it stands.
    let foreign = json!({"kind": "work", "payload": 1, "tenant": "b"});
    let own = json!({"kind": "work", "payload": 1});
    port.call(&a, Method::POST, "/v1/jobs", &foreign).await.problem(403, "invalid");
    port.call(&a, Method::POST, "/v1/jobs", &json!([own, foreign])).await.problem(403, "invalid");
    let lines = format!("{own}\n{foreign}\n");
    let sent = port.request(Method::POST, "/v1/jobs").header("content-type", "application/x-ndjson").bearer_auth(&a).body(lines);
    Answer::of(sent).await.problem(403, "invalid");
    let each = port.call(&a, Method::POST, "/v1/jobs?partial=true", &json!([foreign])).await.json();
    assert_eq!(each[0]["error"]["code"], "other_tenant");
    assert_eq!(port.everything().await, before, "nothing changed and nothing came in");
    // A parent of another tenant's reads as one that is missing.
    let child = json!({"kind": "work", "payload": 1, "after": [of_b[0]]});
    let orphan = json!({"kind": "work", "payload": 1, "after": [JobId::mint()]});
    let answers = [port.call(&a, Method::POST, "/v1/jobs", &child).await, port.call(&a, Method::POST, "/v1/jobs", &orphan).await];
    let states = answers.each_ref().map(|answer| (answer.status, answer.json()["status"].clone()));
    assert_eq!(states[0], states[1]);
}

impl Port {
    /// Every job as the operator sees it.
    pub(super) async fn everything(&self) -> Vec<(JobId, JobState, Option<Name>)> {
        let page = self.store.list(&Filter::default(), None, 1000).await.expect("a page");
        page.items.into_iter().map(|job| (job.id, job.state, job.tenant)).collect()
    }
}

#[tokio::test]
async fn what_a_bound_caller_brings_is_its_tenants_with_all_that_follows() {
    let port = Port::start().await;
    let token = port.token([Scope::Enqueue, Scope::ReadPayload], Some("acme")).await;
    let next = json!({"kind": "next", "payload": 1, "on_success": {"kind": "last", "payload": 1}});
    let made = port.call(&token, Method::POST, "/v1/jobs", &json!({"kind": "work", "payload": 1, "on_success": next})).await;
    let id = id_of(&made.json());
    let job = port.call(&token, Method::GET, &format!("/v1/jobs/{id}"), &json!(null)).await.json();
    let tenants = ["/tenant", "/on_success/tenant", "/on_success/extra/on_success/tenant"].map(|at| job.pointer(at).cloned());
    assert_eq!(tenants, [(); 3].map(|()| Some(json!("acme"))), "{job}");
    let named = port.call(&token, Method::POST, "/v1/jobs", &json!({"kind": "work", "payload": 1, "tenant": "acme"})).await;
    assert_eq!(named.status, StatusCode::CREATED, "its own name may be said");
}

#[tokio::test]
async fn tokens_that_are_known_outlast_the_store() {
    let port = Port::start().await;
    let token = port.token([Scope::Enqueue], None).await;
    assert_eq!(port.call(&token, Method::POST, "/v1/jobs", &json!([])).await.status, StatusCode::OK);
    port.store.close().await;
    port.call(&token, Method::POST, "/v1/jobs", &json!({"kind": "work", "payload": 1})).await.problem(503, "store_unavailable");
    port.call(&token, Method::GET, "/v1/jobs", &json!(null)).await.problem(403, "missing_scope");
    port.get("/v1/jobs").await.problem(401, "unauthorized");
    port.get("/metrics").await.problem(401, "unauthorized");
}

#[tokio::test]
async fn strangers_hold_up_nobody_while_the_store_is_away() {
    let port = Port::with(Config { failures_per_address: 0, ..Config::default() }).await;
    let token = port.token([Scope::Metrics], None).await;
    assert_eq!(port.call(&token, Method::GET, "/readyz", &json!(null)).await.status, StatusCode::OK);
    port.store.close().await;
    let stranger = format!("windlass_{}_{}", "0".repeat(16), "0".repeat(64));
    let strangers = (0..50).map(|_| port.call(&stranger, Method::GET, "/v1/jobs", &Value::Null));
    let (refused, known) = tokio::join!(futures_util::future::join_all(strangers), port.call(&token, Method::GET, "/readyz", &Value::Null));
    assert!(refused.iter().all(|answer| answer.status == StatusCode::UNAUTHORIZED));
    assert_eq!(known.json()["failed"], json!(["store"]));
}

#[test]
fn token_that_was_made_is_no_token_of_the_daemons() {
    let request = TokenRequest { name: name("ci"), scopes: [Scope::Enqueue].into(), tenant: None, expires_at: None };
    let (text, _) = Token::make(request, [7; 40], Timestamp(0), "test");
    let config = Config { token: Some(text.into()), ..Config::default() };
    let folder = tempfile::tempdir().expect("a folder");
    let role = Role::Daemon { control: None };
    let store = SqliteStore::open(&folder.path().join("windlass.db"), role, sqlite::Config::default(), Clock::System).expect("a store");
    let made = State::new(&config, &signatures::Config::default(), Arc::new(store), Metrics::new(), Clock::System, Vec::new);
    assert!(made.is_err_and(|why| why.contains("would lose its bounds")));
}

#[tokio::test]
async fn token_that_calls_too_often_is_told_to_wait_and_others_go_on() {
    let port = Port::hooked(
        Config { calls_per_token: 3, ..Config::default() },
        &signatures::Config::default(),
        Clock::manual(Timestamp::from_secs(1_900_000_000)),
    )
    .await;
    let (busy, other) = (port.token([Scope::Read], None).await, port.token([Scope::Read], None).await);
    for left in ["2", "1", "0"] {
        let answer = port.call(&busy, Method::GET, "/v1/jobs", &json!(null)).await;
        assert_eq!((answer.status, answer.header("x-rate-limit-remaining")), (StatusCode::OK, left));
        assert_eq!(answer.header("ratelimit-policy"), "\"token\";q=3;w=1");
    }
    let refused = port.call(&busy, Method::GET, "/v1/jobs", &json!(null)).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (429, "1"));
    let problem = refused.json();
    assert_eq!((&problem["code"], &problem["violated-policies"]), (&json!("too_many_calls"), &json!(["token"])));
    assert!(problem["type"].as_str().is_some_and(|text| text.ends_with("#quota-exceeded")), "{problem}");
    assert_eq!(port.call(&other, Method::GET, "/v1/jobs", &json!(null)).await.status, StatusCode::OK);
    port.state.clock.advance(Duration::from_secs(1));
    assert_eq!(port.call(&busy, Method::GET, "/v1/jobs", &json!(null)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn address_that_shows_nothing_good_is_told_to_wait_and_good_tokens_are_let_in() {
    let port = Port::hooked(
        Config { failures_per_address: 5, ..Config::default() },
        &signatures::Config::default(),
        Clock::manual(Timestamp::from_secs(1_900_000_000)),
    )
    .await;
    let good = port.token([Scope::Read], None).await;
    for _ in 0..5 {
        port.call("garbage", Method::GET, "/v1/jobs", &json!(null)).await.problem(401, "unauthorized");
    }
    for shown in ["garbage", &format!("{}f", &good[..good.len() - 1]), &format!("{}0", &good[..good.len() - 1])]
        .iter()
        .filter(|shown| **shown != good)
    {
        let refused = port.call(shown, Method::GET, "/v1/jobs", &json!(null)).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["violated-policies"]), (429, &json!(["failures"])));
    }
    assert_eq!(port.call(&good, Method::GET, "/v1/jobs", &json!(null)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn calls_that_are_not_let_in_are_counted_by_reason() {
    let port = Port::with(Config { failures_per_address: 6, ..Config::default() }).await;
    let machine = port.request(Method::GET, "/v1/jobs").header("x-forwarded-for", "192.0.2.1");
    Answer::of(machine).await.problem(403, "proxied");
    let bound = port.token([Scope::Read], Some("acme")).await;
    let ended = port.token([Scope::Read], None).await;
    port.call(&ended, Method::GET, "/v1/jobs", &json!(null)).await;
    let id = ended.split('_').nth(1).expect("an id").parse().expect("an id");
    port.store.end_token(&id, Token::REVOKED, &operator()).await.expect("it ends");
    let stranger = format!("windlass_{}_{}", "0".repeat(16), "0".repeat(64));
    port.call(&stranger, Method::GET, "/v1/jobs", &json!(null)).await.problem(401, "unauthorized");
    port.call(&ended, Method::GET, "/v1/jobs", &json!(null)).await.problem(401, "unauthorized");
    port.call("garbage", Method::GET, "/v1/jobs", &json!(null)).await.problem(401, "unauthorized");
    port.get("/v1/jobs").await.problem(401, "unauthorized");
    port.call(&bound, Method::POST, "/v1/jobs", &json!([])).await.problem(403, "missing_scope");
    port.call(&bound, Method::GET, "/v1/queues", &json!(null)).await.problem(403, "bound_to_tenant");
    for reason in ["not_this_machine", "unknown_token", "ended_token", "malformed_token", "no_token", "missing_scope", "bound_to_tenant"] {
        assert_eq!(port.state.metrics.control_refused.with_label_values(&[reason]).get(), 1, "{reason}");
    }
    while port.get("/v1/jobs").await.status != StatusCode::TOO_MANY_REQUESTS {}
    assert_eq!(port.state.metrics.control_refused.with_label_values(&["too_many_calls"]).get(), 1);
}

#[tokio::test]
async fn payloads_are_searched_by_those_who_may_read_them_and_within_their_tenant() {
    let port = Port::with(Config { failures_per_address: 0, calls_per_token: 0, ..Config::default() }).await;
    for tenant in ["acme", "other"] {
        let enqueuer = port.token([Scope::Enqueue], Some(tenant)).await;
        port.call(&enqueuer, Method::POST, "/v1/jobs", &json!({"kind": "k", "payload": "a secret word"})).await;
    }
    let reader = port.token([Scope::Read], Some("acme")).await;
    for path in ["/v1/jobs?text=secret", "/v1/dead?text=secret"] {
        port.call(&reader, Method::GET, path, &json!({})).await.problem(403, "missing_scope");
    }
    let may_read = port.token([Scope::ReadPayload], Some("acme")).await;
    let page = port.call(&may_read, Method::GET, "/v1/jobs?text=secret", &json!({})).await.json();
    assert_eq!(
        (page["items"].as_array().map(Vec::len), &page["items"][0]["tenant"], &page["looked"]),
        (Some(1), &json!("acme"), &json!(1))
    );
}
