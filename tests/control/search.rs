//! Searching over HTTP: the forms of a query, what is refused, and what is told of how far was looked; stats and tenants.

use super::*;
use windlass::{
    client::Client,
    job::Timestamp,
    store::{Filter, Span},
};

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

impl Port {
    async fn listed(&self, query: &str) -> Vec<String> {
        let page = self.get(&format!("/v1/jobs?{query}")).await.json();
        let items = page["items"].as_array().unwrap_or_else(|| panic!("{query}: {page}"));
        items.iter().map(|job| job["id"].as_str().expect("an id").to_owned()).collect()
    }
}

#[tokio::test]
async fn jobs_are_found_by_ids_times_and_text() {
    let port = Port::start().await;
    let mut ids = Vec::new();
    for n in 0..3 {
        let job = json!({"kind": "k", "payload": {"note": format!("no {n}")}, "delay_ms": 60_000 * n});
        ids.push(port.post("/v1/jobs", &job).await.json()["id"].as_str().expect("an id").to_owned());
    }
    assert_eq!(port.listed(&format!("id={},{}", ids[0], ids[2])).await, [ids[2].clone(), ids[0].clone()]);
    assert_eq!(port.listed("text=no%201").await, [ids[1].clone()]);
    assert_eq!(port.listed("text=no+1&state=queued").await, [] as [String; 0]);
    let shown = port.get(&format!("/v1/jobs/{}", ids[1])).await.json();
    let (created, due) = (shown["created_at"].as_str().expect("a time"), shown["run_at"].as_str().expect("a time"));
    let from = |what: &str, at: &str| format!("{what}_from={}", at.replace(':', "%3A").replace('+', "%2B"));
    assert_eq!(port.listed(&from("created", created)).await, [ids[2].clone(), ids[1].clone()]);
    assert_eq!(port.listed(&from("due", due)).await, [ids[2].clone(), ids[1].clone()]);
    assert_eq!(port.listed(&from("finished", created)).await, [] as [String; 0]);
    assert_eq!(port.listed("created_to=2020-01-01T00:00:00Z").await, [] as [String; 0]);
}

#[tokio::test]
async fn a_page_says_how_far_it_looked_and_its_cursor_is_its_filter_s_own() {
    let port = Port::start().await;
    for _ in 0..5 {
        port.post("/v1/jobs", &json!({"kind": "k", "payload": 1})).await;
    }
    let page = port.get("/v1/jobs?kind=k&limit=2").await.json();
    let cursor = page["next"].as_str().expect("there are more");
    assert_eq!(page["looked"], 2);
    Timestamp::parse(page["until"].as_str().expect("a time")).expect("a time");
    let rest = port.get(&format!("/v1/jobs?kind=k&limit=9&cursor={cursor}")).await.json();
    assert_eq!((rest["items"].as_array().map(Vec::len), &rest["next"], rest.get("until")), (Some(3), &Value::Null, None));
    let other = port.get(&format!("/v1/jobs?kind=other&limit=9&cursor={cursor}")).await;
    assert!(other.json()["detail"].as_str().expect("a sentence").contains("another list"));
    other.problem(400, "bad_cursor");
}

#[tokio::test]
async fn a_search_that_cannot_be_is_refused_with_what_to_do() {
    let port = Port::start().await;
    let many = vec![JobId::mint().to_string(); 101].join(",");
    for (query, code) in [
        ("id=nonsense".to_owned(), "bad_id"),
        (format!("id={},", JobId::mint()), "bad_id"),
        (format!("id={many}"), "too_many"),
        ("text=".to_owned(), "out_of_range"),
        (format!("text={}", "x".repeat(257)), "out_of_range"),
        ("created_from=yesterday".to_owned(), "bad_query"),
        ("created_from=2026-01-02T00:00:00Z&created_to=2026-01-02T00:00:00Z".to_owned(), "out_of_range"),
        ("finished_from=2026-01-02T00:00:00Z&finished_to=2026-01-01T00:00:00Z".to_owned(), "out_of_range"),
        ("created=2026-01-02T00:00:00Z".to_owned(), "bad_query"),
        ("cursor=AAAA".to_owned(), "bad_cursor"),
    ] {
        for path in ["/v1/jobs", "/v1/dead"] {
            port.get(&format!("{path}?{query}")).await.problem(400, code);
        }
    }
    let unknown = port.get("/v1/jobs?colour=red").await;
    assert!(unknown.json()["detail"].as_str().expect("a sentence").contains("colour"), "it is refused by its name");
}

#[tokio::test]
async fn the_client_asks_for_all_that_a_filter_can_say() {
    let port = Port::start().await;
    let client = Client::new(&port.url(""), None).expect("a client");
    let id = port.post("/v1/jobs", &json!({"kind": "k", "payload": {"a": "b&c=d e"}, "tenant": "t"})).await.json()["id"].clone();
    let id: JobId = id.as_str().expect("an id").parse().expect("an id");
    let open = Span { from: Some(Timestamp(0)), to: Some(Timestamp::MAX) };
    let filter = Filter {
        ids: vec![id, JobId::mint()],
        tenant: Some(name("t")),
        text: Some("b&c=d e".into()),
        created: open,
        due: open,
        ..Filter::default()
    };
    let page = client.list(&filter, None, 10).await.expect("listed");
    assert_eq!((page.items.iter().map(|job| job.id).collect::<Vec<_>>(), page.looked), (vec![id], 2));
    let ended = client.list(&Filter { finished: open, ..filter }, None, 10).await.expect("listed");
    assert!(ended.items.is_empty());
}

#[tokio::test]
async fn stats_add_up_what_the_queues_count() {
    let port = Port::start().await;
    let client = Client::new(&port.url(""), None).expect("a client");
    for (queue, jobs) in [("a", 2), ("b", 3)] {
        for _ in 0..jobs {
            port.post("/v1/jobs", &json!({"kind": "k", "payload": 1, "queue": queue})).await;
        }
    }
    port.post("/v1/jobs", &json!({"kind": "k", "payload": 1, "delay_ms": 60_000})).await;
    let stats = client.stats().await.expect("answered");
    let count = |state| stats.jobs[&state];
    use windlass::job::State::{Queued, Running, Scheduled};
    assert_eq!((count(Queued), count(Scheduled), count(Running)), (5, 1, 0));
    assert_eq!(stats.queues.iter().map(|queue| queue.name.as_str()).collect::<Vec<_>>(), ["a", "b", "default"]);
    assert_eq!((stats.daemons.live, stats.quarantined.rows, stats.quarantined.more, stats.store.ok), (0, 0, false, true));
}

#[tokio::test]
async fn tenants_are_listed_in_pages() {
    let port = Port::start().await;
    let client = Client::new(&port.url(""), None).expect("a client");
    for tenant in [Value::Null, json!("b"), json!("a"), json!("b"), json!("c")] {
        port.post("/v1/jobs", &json!({"kind": "k", "payload": 1, "tenant": tenant})).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let page = client.tenants(cursor.as_deref(), 1).await.expect("answered");
        seen.extend(page.items.into_iter().map(|load| (load.tenant.map(|name| name.to_string()), load.waiting)));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(seen, [(None, 1), (some("a"), 1), (some("b"), 2), (some("c"), 1)]);
    port.get("/v1/tenants?cursor=has%20space").await.problem(400, "bad_cursor");
    port.get("/v1/tenants?limit=0").await.problem(400, "out_of_range");
}
