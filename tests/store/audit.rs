//! The audit: every act leaves a row, rows come newest first, each is bound to the one before it, and only their age takes them away.

use crate::support::{Build as _, Daemon, TestStore, at, json, name, now, on_every_store, operator, work};
use futures_util::future::join_all;
use std::collections::BTreeSet;
use windlass::{
    clock::Clock,
    job::{
        AuditFilter, Audited, ErrorClass, JobError, JobId, Scope, Token, TokenRequest, Transition, Verified, Verifier, schedule::Schedule,
    },
    store::{
        Actor, Error, Retention, Role, Store,
        sqlite::{Config as Sqlite, SqliteStore},
        trail,
    },
};

on_every_store![
    every_act_leaves_a_row_that_says_who_did_what,
    rows_are_chained_whatever_stands_in_them,
    same_act_leaves_one_row,
    act_that_is_refused_leaves_no_row,
    acts_at_once_are_chained_one_behind_the_other,
    pages_show_every_row_once,
    rows_go_with_their_age_and_the_first_that_stays_anchors_the_rest,
    schedule_that_is_put_as_it_is_leaves_no_row,
    heads_are_the_last_links_of_their_chains,
    cursor_that_is_none_is_refused,
    filter_takes_what_it_names,
];

async fn rows(store: &dyn Store) -> Vec<Audited> {
    store.audit(None, 1000).await.expect("it is read").items
}

fn verdict(rows: Vec<Audited>) -> Verified {
    let mut verifier = Verifier::default();
    rows.into_iter().for_each(|row| verifier.look_at(row));
    verifier.end()
}

fn schedule(every_ms: u64) -> Schedule {
    serde_json::from_value(serde_json::json!({"name": "tick", "every_ms": every_ms, "job": {"kind": "work", "payload": "secret"}}))
        .expect("a schedule")
}

/// A job whose first attempt ended so.
async fn ended(store: &TestStore, end: Transition) -> JobId {
    store.put_one(work(), now(0)).await;
    let leased = Daemon::new().lease_one(&**store, now(1)).await;
    store.end(&leased, end, now(2)).await;
    leased.job.id
}

fn token() -> Token {
    let request = TokenRequest { name: name("ci"), scopes: [Scope::Read].into(), tenant: None, expires_at: None };
    Token::make(request, [3; 40], at(0), "cli:test").1
}

async fn every_act_leaves_a_row_that_says_who_did_what(store: &mut TestStore) {
    let parked = ended(store, Transition::Park { reason: "answer".into(), until: at(900), token: Some("t".into()), error: None }).await;
    let error = JobError::new(ErrorClass::Permanent, "bad", "no");
    let dead = ended(store, Transition::Dead { reason: "rejected", error }).await;
    let (cancelled, due) = (store.put_one(work(), now(2)).await, store.put_one(work().delay_ms(900_000), now(2)).await);
    let by = |n: u64| Actor { op_id: uuid::Uuid::from_u128(u128::from(n) + (1 << 64)), name: format!("cli:{n}") };
    let (queue, token) = (name("default"), token());
    store.cancel(cancelled, "why not", &by(1), now(3)).await.expect("cancelled");
    store.run_now(due, &by(2), now(4)).await.expect("due");
    store.unpark("t", Some(json("1")), &by(3), now(5)).await.expect("awake");
    store.redrive(dead, &by(4), now(6)).await.expect("back");
    store.pause(&queue, "full", None, &by(5), now(7)).await.expect("paused");
    store.resume(&queue, &by(6), now(8)).await.expect("it goes on");
    store.put_schedule(&schedule(60_000), &by(7), now(9)).await.expect("put");
    store.put_schedule(&schedule(90_000), &by(8), now(10)).await.expect("put");
    store.put_token(&token, &by(9)).await.expect("kept");
    let told = rows(&**store).await;
    let said = |n: u64| {
        let row = told.iter().find(|row| row.actor == format!("cli:{n}")).unwrap_or_else(|| panic!("no row of act {n} in {told:?}"));
        assert_eq!(row.op_id, by(n).op_id);
        (row.action.as_str(), row.object.clone(), row.detail.clone().unwrap_or_default())
    };
    assert_eq!(said(1), ("cancel", cancelled.to_string(), "why not".into()));
    assert_eq!(said(2), ("run_now", due.to_string(), String::new()));
    assert_eq!(said(3), ("unpark", parked.to_string(), String::new()));
    assert_eq!(said(4), ("redrive", dead.to_string(), String::new()));
    assert_eq!(said(5), ("pause", "default".into(), "full".into()));
    assert_eq!(said(6), ("resume", "default".into(), String::new()));
    assert_eq!(said(7), ("put_schedule", "tick".into(), "made: every 60000 ms".into()));
    assert_eq!(said(8), ("put_schedule", "tick".into(), "rule: every 60000 ms -> every 90000 ms".into()));
    assert_eq!(said(9), ("create_token", token.id.to_string(), "ci: read".into()));
    assert!(told.iter().any(|row| row.at == at(3)), "the instant is the act's: {told:?}");
    assert_eq!((told.len(), verdict(told).breaks_at), (9, None));
}

async fn rows_are_chained_whatever_stands_in_them(store: &mut TestStore) {
    let long = "x".repeat(3000);
    for (n, detail) in ["plain", "", "größe 🚜", "a\"b\\c/d\n\u{1}\u{7f}", "-", "5:a,b,", &long].into_iter().enumerate() {
        let actor = Actor::new(format!("cli:{detail}"));
        assert!(store.note(&actor, "try", &n.to_string(), Some(detail)).await.expect("it is left"));
    }
    for length in 0..130 {
        store.note(&operator(), "try", &"y".repeat(length), None).await.expect("it is left");
    }
    let found = rows(&**store).await;
    assert_eq!(found[0].hash.as_ref().map(String::len), Some(64));
    assert_eq!((found.len(), verdict(found).breaks_at), (137, None));
}

async fn same_act_leaves_one_row(store: &mut TestStore) {
    let actor = operator();
    for first in [true, false] {
        assert_eq!(store.note(&actor, "try", "x", None).await.expect("it is answered"), first);
        store.pause(&name("other"), "once", None, &actor, now(1)).await.expect("it is answered");
    }
    let found = rows(&**store).await;
    assert_eq!(found.iter().filter(|row| row.action == "try").count(), 1);
    assert_eq!(verdict(found).breaks_at, None);
}

async fn act_that_is_refused_leaves_no_row(store: &mut TestStore) {
    let job = store.put_one(work(), now(0)).await;
    assert!(matches!(store.purge(job, &operator(), now(1)).await, Err(Error::NotAllowed(_))));
    assert!(matches!(store.run_now(job, &operator(), now(1)).await, Err(Error::NotAllowed(_))));
    assert!(matches!(store.unpark("none", None, &operator(), now(1)).await, Err(Error::NotFound { .. })));
    assert_eq!(rows(&**store).await, []);
    store.note(&operator(), "try", "x", None).await.expect("it is left");
    assert_eq!(verdict(rows(&**store).await).breaks_at, None, "no link was spent on what was not done");
}

async fn acts_at_once_are_chained_one_behind_the_other(store: &mut TestStore) {
    let queues = [name("a"), name("b")];
    join_all((0..40).map(|n| {
        let (store, queue) = (&**store, &queues[n % 2]);
        async move {
            store.pause(queue, "at once", None, &operator(), now(1)).await.expect("paused");
        }
    }))
    .await;
    let found = rows(&**store).await;
    assert_eq!((found.len(), verdict(found).breaks_at), (40, None));
}

async fn pages_show_every_row_once(store: &mut TestStore) {
    // Several at one instant, in several queues.
    for n in 0..20_i64 {
        store.pause(&name(["a", "b", "c"][(n % 3) as usize]), "page", None, &operator(), now(n / 7)).await.expect("paused");
    }
    for limit in [1, 3, 7, 20, 100] {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.audit(cursor.as_deref(), limit).await.expect("it is read");
            assert!(page.items.len() <= limit);
            seen.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert!(seen.is_sorted_by(|one, next| one.place() > next.place()), "pages of {limit}");
        assert_eq!((seen.len(), verdict(seen).breaks_at), (20, None), "pages of {limit}");
    }
}

async fn rows_go_with_their_age_and_the_first_that_stays_anchors_the_rest(store: &mut TestStore) {
    const DAY: i64 = 86_400;
    for day in 0..6 {
        store.pause(&name("a"), &day.to_string(), None, &operator(), now(day * DAY)).await.expect("paused");
    }
    let keep = |audit_days| Retention { audit_days, ..Retention::default() };
    store.prune(keep(0), 100, now(5000 * DAY)).await.expect("pruned");
    assert_eq!(rows(&**store).await.len(), 6, "for ever");
    assert!(store.prune(keep(3), 1, now(5 * DAY + 1)).await.expect("pruned").more, "one of three");
    while store.prune(keep(3), 1, now(5 * DAY + 1)).await.expect("pruned").more {}
    let kept = rows(&**store).await;
    assert_eq!(kept.iter().map(|row| row.detail.clone().unwrap_or_default()).collect::<Vec<_>>(), ["5", "4", "3"]);
    assert_eq!(verdict(kept).breaks_at, None);
    store.prune(keep(1), 100, now(500 * DAY)).await.expect("pruned");
    let kept = rows(&**store).await;
    assert_eq!(kept.iter().map(|row| row.seq).collect::<Vec<_>>(), [6], "the newest stays");
    let mut verifier = Verifier::against(store.audit_heads().await.expect("they are read"));
    kept.into_iter().for_each(|row| verifier.look_at(row));
    let verdict = verifier.end();
    assert_eq!((verdict.breaks_at, verdict.cut_at), (None, None));
    store.pause(&name("a"), "after", None, &operator(), now(500 * DAY)).await.expect("paused");
    assert_eq!(rows(&**store).await[0].seq, 7, "the chain goes on where it was");
}

async fn schedule_that_is_put_as_it_is_leaves_no_row(store: &mut TestStore) {
    for _ in 0..3 {
        store.put_schedule(&schedule(60_000), &operator(), now(0)).await.expect("put");
    }
    assert_eq!(rows(&**store).await.len(), 1);
    let mut other = schedule(60_000);
    other.job.payload = json("\"hidden\"");
    store.put_schedule(&other, &operator(), now(1)).await.expect("put");
    let found = rows(&**store).await;
    assert_eq!(found[0].detail.as_deref(), Some("its rule stays, its job or options changed"));
    assert!(!format!("{found:?}").contains("secret") && !format!("{found:?}").contains("hidden"));
}

async fn heads_are_the_last_links_of_their_chains(store: &mut TestStore) {
    assert_eq!(store.audit_heads().await.expect("they are read"), [], "no chain has begun");
    for n in 0..5 {
        store.pause(&name(["a", "b"][n % 2]), "h", None, &operator(), now(1)).await.expect("paused");
        store.note(&operator(), "try", "x", None).await.expect("it is left");
    }
    let (heads, rows) = (store.audit_heads().await.expect("they are read"), rows(&**store).await);
    let chains: BTreeSet<&str> = rows.iter().map(|row| row.chain.as_str()).collect();
    assert_eq!(heads.len(), chains.len());
    for head in heads {
        let last = rows.iter().filter(|row| row.chain == head.chain).max_by_key(|row| row.seq).expect("a row");
        assert_eq!((head.seq, Some(head.hash)), (last.seq, last.hash.clone()));
    }
}

async fn cursor_that_is_none_is_refused(store: &mut TestStore) {
    for cursor in ["x", "1", "1.2", "0192d4e0-7b1a-7000-8000-0123456789ab"] {
        assert!(matches!(store.audit(Some(cursor), 10).await, Err(Error::Invalid { .. })), "{cursor}");
    }
}

async fn filter_takes_what_it_names(store: &mut TestStore) {
    for n in 0..30_i64 {
        let actor = Actor::new(["cli:a", "cli:b"][(n % 2) as usize]);
        store.pause(&name(["x", "y", "z"][(n % 3) as usize]), "f", None, &actor, now(n)).await.expect("paused");
    }
    let filter = AuditFilter { actor: Some("cli:a".into()), object: Some("y".into()), action: None };
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = trail::list(&**store, &filter, cursor.as_deref(), 2).await.expect("it is read");
        seen.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.iter().map(|row| row.seq).collect::<BTreeSet<_>>().len(), 5);
    assert!(seen.iter().all(|row| filter.takes(row)));
}

const OLD: [(u128, i64, &str); 3] = [(11, 20, "first"), (12, 30, "second"), (10, 30, "third by its id")];

/// Those that a store of a former release left, and one act since.
async fn assert_old_rows_stand_before_the_chain(store: &dyn Store) {
    store.pause(&name("default"), "since", None, &operator(), now(40)).await.expect("paused");
    let found = rows(store).await;
    let seen: Vec<_> = found.iter().map(|row| (row.seq, row.at, row.hash.is_some())).collect();
    assert_eq!(seen, [(4, at(40), true), (3, at(30), false), (2, at(30), false), (1, at(20), false)]);
    assert_eq!(found.iter().map(|row| row.op_id.as_u128()).skip(1).collect::<Vec<_>>(), [12, 10, 11]);
    assert_eq!(verdict(found).breaks_at, None);
}

#[tokio::test]
async fn rows_of_a_former_release_stand_before_the_chain_on_sqlite() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("windlass.db");
    let file = rusqlite::Connection::open(&path).expect("a file");
    for script in [
        include_str!("../../migrations/sqlite/0001_jobs.sql"),
        include_str!("../../migrations/sqlite/0002_tokens.sql"),
        include_str!("../../migrations/sqlite/0003_operate.sql"),
    ] {
        file.execute_batch(script).expect("made");
    }
    file.execute_batch("PRAGMA user_version = 3; PRAGMA application_id = 1464747084").expect("ours");
    for (id, seconds, detail) in OLD {
        let row = (*uuid::Uuid::from_u128(id).as_bytes(), at(seconds).0, detail);
        file.execute("INSERT INTO audit VALUES (?1, ?2, 'cli:old', 'pause', 'default', ?3)", row).expect("a row");
    }
    drop(file);
    let opened = SqliteStore::open(&path, Role::Client, Sqlite::default(), Clock::manual(at(40)));
    assert_old_rows_stand_before_the_chain(&opened.expect("it is brought to this version")).await;
}

#[tokio::test]
async fn rows_of_a_former_release_stand_before_the_chain_on_redis() {
    let Some(store) = TestStore::open_for_test("redis").await else { return };
    let mut connection = store.redis_connection().await;
    for (id, seconds, detail) in OLD {
        let row = serde_json::json!({"at": at(seconds), "actor": "cli:old", "action": "pause", "object": "default", "detail": detail});
        ::redis::cmd("HSET")
            .arg(format!("{}:{{default}}:audit", store.prefix()))
            .arg(uuid::Uuid::from_u128(id).as_bytes())
            .arg(row.to_string())
            .query_async::<i64>(&mut connection)
            .await
            .expect("a row");
    }
    assert_old_rows_stand_before_the_chain(&*store).await;
}
