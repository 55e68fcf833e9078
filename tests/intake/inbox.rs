//! `LPUSH <prefix>:inbox`.

use crate::{
    crash::process::until,
    support::{TestStore, note, on_every_store, redis_cluster, redis_server},
};
use ::redis::{Cmd, FromRedisValue, aio::MultiplexedConnection, cluster_async::ClusterConnection, cmd};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use windlass::{
    clock::Clock,
    intake::inbox::Inbox,
    job::{JobId, Limits},
    telemetry::Metrics,
};

/// The Redis that producers push onto, with keys that nobody else uses, and the daemons that take from it.
struct Post {
    prefix: String,
    url: String,
    server: Link,
    metrics: Metrics,
    stop: CancellationToken,
    serving: Vec<JoinHandle<()>>,
}

/// One server; or a cluster, where the store is one.
enum Link {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Post {
    /// None: the run leaves Redis out.
    async fn open(store: &TestStore) -> Option<Self> {
        let (metrics, stop) = (Metrics::new(), CancellationToken::new());
        if store.name() == "cluster" {
            let cluster = redis_cluster().await;
            let server = Link::Cluster(cluster.connect().await);
            return Some(Self { prefix: cluster.fresh(), url: cluster.url(), server, metrics, stop, serving: Vec::new() });
        }
        if !TestStore::is_wanted("redis") {
            note("inbox tests left out, by WINDLASS_TEST_STORES", 1);
            return None;
        }
        let server = redis_server().await;
        let link = Link::Server(server.connect().await);
        Some(Self { prefix: server.fresh(), url: server.url(), server: link, metrics, stop, serving: Vec::new() })
    }

    async fn ask<T: FromRedisValue>(&self, call: Cmd) -> T {
        let answer = match &self.server {
            Link::Server(server) => call.query_async(&mut server.clone()).await,
            Link::Cluster(cluster) => call.query_async(&mut cluster.clone()).await,
        };
        answer.expect("the server answers")
    }

    fn serve(&mut self, store: &TestStore) {
        let limits = watch::Sender::new(Limits::default()).subscribe();
        let inbox =
            Inbox::new(&self.url, &self.prefix, store.shared(), limits, self.metrics.clone(), Clock::System).expect("the URL is one");
        self.serving.push(tokio::spawn(inbox.run(self.stop.clone())));
    }

    async fn push(&self, entries: &[impl AsRef<[u8]>]) {
        let mut call = cmd("LPUSH");
        call.arg(format!("{}:inbox", self.prefix));
        for entry in entries {
            call.arg(entry.as_ref());
        }
        self.ask::<()>(call).await;
    }

    fn key(&self, name: &str) -> String {
        format!("{{{}:inbox}}:{name}", self.prefix)
    }

    /// Until nothing waits and nothing moves.
    async fn until_empty(&self) {
        until("an empty inbox", async || {
            // In the order in which an entry moves.
            let mut left = self.ask::<u64>(cmd("LLEN").arg(format!("{}:inbox", self.prefix)).clone()).await;
            left += self.ask::<u64>(cmd("LLEN").arg(self.key("next")).clone()).await;
            left += self.ask::<u64>(cmd("HLEN").arg(self.key("moving")).clone()).await;
            (left == 0).then_some(())
        })
        .await;
    }

    /// What was put aside, in its order.
    async fn put_aside(&self) -> Vec<HashMap<String, Vec<u8>>> {
        let call = cmd("XRANGE").arg(self.key("quarantined")).arg("-").arg("+").clone();
        let rows: Vec<(String, HashMap<String, Vec<u8>>)> = self.ask(call).await;
        rows.into_iter().map(|(_, fields)| fields).collect()
    }

    fn taken(&self, result: &str) -> u64 {
        self.metrics.inbox_taken.with_label_values(&[result]).get()
    }

    async fn close(self) {
        self.stop.cancel();
        for serving in self.serving {
            serving.await.expect("it ends in order");
        }
    }
}

fn entry(n: usize) -> String {
    json!({"kind": "work", "payload": n}).to_string()
}

async fn payloads(store: &TestStore) -> Vec<usize> {
    let mut payloads: Vec<usize> = store.all().await.iter().map(|job| job.payload.as_str().parse().expect("a number")).collect();
    payloads.sort_unstable();
    payloads
}

async fn what_was_pushed_while_no_daemon_ran_is_taken_in_when_one_starts_and_so_is_what_comes(store: &mut TestStore) {
    let Some(mut post) = Post::open(store).await else { return };
    let entries: Vec<String> = (0..1200).map(entry).collect();
    post.push(&entries).await;
    post.serve(store);
    post.until_empty().await;
    assert_eq!(payloads(store).await, (0..1200).collect::<Vec<_>>());
    assert_eq!(post.taken("new"), 1200);
    // It waits for them now.
    post.push(&[entry(1200)]).await;
    until("one more", async || (payloads(store).await.len() == 1201).then_some(())).await;
    post.close().await;
}

async fn entry_that_a_dead_daemon_was_moving_becomes_one_job_whether_or_not_it_had_enqueued_it(store: &mut TestStore) {
    let Some(mut post) = Post::open(store).await else { return };
    let (done, open) = (JobId::mint(), JobId::mint());
    for (id, n) in [(done, 1), (open, 2)] {
        let call = cmd("HSET").arg(post.key("moving")).arg(id.to_string()).arg(entry(n)).clone();
        post.ask::<()>(call).await;
    }
    let mut job = windlass::job::NewJob::check(entry(1).as_bytes(), Limits::default()).expect("a good one");
    job.id = done;
    store.put(vec![job], None).await;
    // And one that was off the list and had no id yet.
    let call = cmd("LPUSH").arg(post.key("next")).arg(entry(3)).clone();
    post.ask::<()>(call).await;
    post.serve(store);
    post.until_empty().await;
    assert_eq!(payloads(store).await, [1, 2, 3]);
    let ids: BTreeSet<JobId> = store.all().await.iter().map(|job| job.id).collect();
    assert!(ids.contains(&done) && ids.contains(&open));
    post.close().await;
}

async fn what_can_be_no_job_is_put_aside_with_its_reason_and_keeps_out_nobody(store: &mut TestStore) {
    let Some(mut post) = Post::open(store).await else { return };
    let id = JobId::mint();
    let with_id = |payload: usize| json!({"kind": "work", "payload": payload, "id": id}).to_string();
    let reject = |payload: usize| json!({"kind": "work", "payload": payload, "unique_key": "u", "on_duplicate": "reject"}).to_string();
    let join = |payload: usize| json!({"kind": "work", "payload": payload, "unique_key": "u"}).to_string();
    let bad: [&[u8]; 3] = [b"\xff\xfe", b"{\"kind\":\"work\"}", b"hello"];
    post.push(&[entry(0)]).await;
    post.push(&bad).await;
    for entry in [with_id(1), with_id(2), with_id(1), reject(3), reject(4), join(5), entry(6)] {
        post.push(&[entry]).await;
    }
    post.serve(store);
    post.until_empty().await;
    assert_eq!(payloads(store).await, [0, 1, 3, 6]);
    let aside = post.put_aside().await;
    let mut told: Vec<(String, String)> = aside
        .iter()
        .map(|row| {
            let text = |field: &str| String::from_utf8_lossy(&row[field]).into_owned();
            (text("code"), text("reason"))
        })
        .collect();
    told.sort();
    assert_eq!(told.len(), 5, "{told:?}");
    assert_eq!(
        told.iter().map(|(code, _)| code.as_str()).collect::<Vec<_>>(),
        ["conflict", "duplicate", "not_json", "not_json", "wrong_type"]
    );
    assert_eq!(told[0].1, format!("job {id} exists with another body; use a fresh id or idempotency key"));
    assert_eq!(told[4].1, "/payload: `payload` is required");
    let kept: BTreeSet<&[u8]> = aside.iter().map(|row| row["entry"].as_slice()).collect();
    let (two, four) = (with_id(2), reject(4));
    assert_eq!(kept, bad.into_iter().chain([two.as_bytes(), four.as_bytes()]).collect());
    assert_eq!((post.taken("quarantined"), post.taken("duplicate")), (5, 1));
    post.close().await;
}

async fn entry_beyond_every_limit_is_put_aside_unread(store: &mut TestStore) {
    let Some(mut post) = Post::open(store).await else { return };
    let large = vec![b'x'; (17 << 20) + 1];
    post.push(&[large.as_slice(), entry(1).as_bytes()]).await;
    post.serve(store);
    until("the good one", async || (payloads(store).await == [1]).then_some(())).await;
    let aside = post.put_aside().await;
    assert_eq!((aside.len(), aside[0]["entry"].len()), (1, large.len()));
    assert_eq!(aside[0]["reason"], format!("is {} bytes; store the data elsewhere and send a reference", large.len()).into_bytes());
    post.close().await;
}

async fn two_daemons_take_each_entry_once(store: &mut TestStore) {
    let Some(mut post) = Post::open(store).await else { return };
    post.serve(store);
    post.serve(store);
    for chunk in (0..2000).map(entry).collect::<Vec<_>>().chunks(97) {
        post.push(chunk).await;
    }
    post.until_empty().await;
    assert_eq!(payloads(store).await, (0..2000).collect::<Vec<_>>());
    post.close().await;
}

on_every_store! {
    what_was_pushed_while_no_daemon_ran_is_taken_in_when_one_starts_and_so_is_what_comes,
    entry_that_a_dead_daemon_was_moving_becomes_one_job_whether_or_not_it_had_enqueued_it,
    what_can_be_no_job_is_put_aside_with_its_reason_and_keeps_out_nobody,
    entry_beyond_every_limit_is_put_aside_unread,
    two_daemons_take_each_entry_once,
}
