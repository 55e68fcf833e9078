//! The stand-in for whoever gets webhooks and calls: `/receive/{name}` keeps what it gets and checks Standard Webhooks
//! signatures when it has a secret; `/count/{name}` only counts, for runs of many thousands. Behind either, the words of
//! `marker.rs` may follow in the path.

mod signature;

use super::{
    Backstage, Call, Fault, Provider, Shelf,
    marker::Marker,
    wire::{self, Scissors},
};
use crate::job::Timestamp;
use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, Path, Query, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::any,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use signature::Key;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

pub(super) fn routes() -> Router<Arc<Backstage>> {
    Router::new()
        .route("/receive/{name}", any(receive))
        .route("/receive/{name}/{*words}", any(receive))
        .route("/count/{name}", any(count))
        .route("/count/{name}/{*words}", any(count))
}

/// What a signature turned out to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signature {
    /// No secret is set for the name; nothing was checked.
    NotAskedFor,
    Valid,
    /// With the reason; the sender was answered 401.
    Invalid(&'static str),
}

/// One request, as it arrived.
#[derive(Clone, Debug, Serialize)]
pub struct Receipt {
    pub at: Timestamp,
    pub name: String,
    pub method: String,
    pub path: String,
    /// Names in lower case; values that are not text are left out.
    pub headers: BTreeMap<String, String>,
    #[serde(serialize_with = "as_text")]
    pub body: Bytes,
    pub signature: Signature,
    /// Seen before under this name with the same id.
    pub duplicate: bool,
    /// What was answered; 0 for nothing.
    pub status: u16,
}

fn as_text<S: serde::Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(body))
}

/// How often a name was called with success, and by how many different ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub calls: u64,
    /// Different ids among them; a call without an id counts as one of its own.
    pub ids: u64,
    /// Calls answered with something else than success.
    pub refused: u64,
}

#[derive(Debug, Default)]
struct Tally {
    counts: Counts,
    seen: HashMap<String, u64>,
}

/// Receipts, counters and the secrets of the names.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    receipts: Shelf<Receipt>,
    tallies: Mutex<HashMap<String, Tally>>,
    counted: watch::Sender<()>,
    keys: Mutex<HashMap<String, Key>>,
}

impl Inbox {
    pub(super) fn new(secrets: &BTreeMap<String, SecretString>) -> Result<Self, String> {
        let keys = secrets.iter().map(|(name, secret)| Ok((name.clone(), Key::read(secret)?))).collect::<Result<_, String>>()?;
        Ok(Self { keys: Mutex::new(keys), ..Self::default() })
    }

    pub(super) const fn receipts(&self) -> &Shelf<Receipt> {
        &self.receipts
    }

    pub(super) fn expect_signatures(&self, name: &str, secret: &str) -> Result<(), String> {
        let key = Key::read(&SecretString::from(secret))?;
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), key);
        Ok(())
    }

    pub(super) fn counts(&self, name: &str) -> Counts {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).get(name).map_or(Counts::default(), |tally| tally.counts)
    }

    pub(super) fn all_counts(&self) -> BTreeMap<String, Counts> {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.iter().map(|(name, tally)| (name.clone(), tally.counts)).collect()
    }

    pub(super) async fn wait_for_counts(&self, name: &str, within: Duration, enough: impl Fn(&Counts) -> bool) -> Result<Counts, Counts> {
        let mut counted = self.counted.subscribe();
        let reached = async {
            loop {
                counted.borrow_and_update();
                let counts = self.counts(name);
                if enough(&counts) {
                    return counts;
                }
                // The sender lives as long as the inbox.
                let _ = counted.changed().await;
            }
        };
        tokio::time::timeout(within, reached).await.map_err(|_| self.counts(name))
    }

    /// Counts a call; true if its id was seen before.
    fn tally(&self, name: &str, id: Option<&str>, success: bool) -> bool {
        let duplicate = {
            let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
            let tally = tallies.entry(name.to_owned()).or_default();
            if success {
                tally.counts.calls += 1;
                let times = id.map_or(1, |id| {
                    let times = tally.seen.entry(id.to_owned()).or_default();
                    *times += 1;
                    *times
                });
                tally.counts.ids += u64::from(times == 1);
                times > 1
            } else {
                tally.counts.refused += 1;
                false
            }
        };
        self.counted.send_replace(());
        duplicate
    }

    fn check(&self, name: &str, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Signature {
        match self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            None => Signature::NotAskedFor,
            Some(key) => key.check(headers, body, now).map_or_else(Signature::Invalid, |()| Signature::Valid),
        }
    }
}

#[derive(Deserialize)]
struct ById {
    id: Option<String>,
}

/// What identifies an event or a call over its retries: `?id=`, or one of the usual headers.
fn id_of(query: &ById, headers: &HeaderMap) -> Option<String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    query.id.clone().or_else(|| ["webhook-id", "svix-id", "idempotency-key", "x-job-id"].into_iter().find_map(header))
}

async fn receive(
    State(backstage): State<Arc<Backstage>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    Path(path): Path<BTreeMap<String, String>>,
    Query(query): Query<ById>,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let name = path.get("name").cloned().unwrap_or_default();
    let now = backstage.clock.now();
    let signature = backstage.inbox.check(&name, &headers, &body, now);
    let arrived = Arrived { path: &path, id: id_of(&query, &headers), signed: !matches!(signature, Signature::Invalid(_)) };
    let answer = arrived.answer(&backstage, now).await;
    backstage.inbox.receipts.put(Receipt {
        at: now,
        name,
        method: method.to_string(),
        path: arrived.full_path(),
        headers: headers.iter().filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect(),
        body,
        signature,
        duplicate: answer.duplicate,
        status: answer.logged_status(),
    });
    answer.play(&scissors, &backstage).await
}

async fn count(
    State(backstage): State<Arc<Backstage>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    Path(path): Path<BTreeMap<String, String>>,
    Query(query): Query<ById>,
    headers: HeaderMap,
) -> Response {
    let arrived = Arrived { path: &path, id: id_of(&query, &headers), signed: true };
    arrived.answer(&backstage, backstage.clock.now()).await.play(&scissors, &backstage).await
}

struct Arrived<'r> {
    path: &'r BTreeMap<String, String>,
    id: Option<String>,
    signed: bool,
}

impl Arrived<'_> {
    fn words(&self) -> &str {
        self.path.get("words").map_or("", String::as_str)
    }

    fn name(&self) -> &str {
        self.path.get("name").map_or("", String::as_str)
    }

    fn full_path(&self) -> String {
        if self.words().is_empty() { self.name().to_owned() } else { format!("{}/{}", self.name(), self.words()) }
    }

    /// Judges, counts and logs the call.
    async fn answer(&self, backstage: &Backstage, now: Timestamp) -> Answer {
        let marker = Marker::in_path(self.words());
        // Each event has its own turns, so that many can pass by one scripted path.
        let subject = format!("{}#{}", self.full_path(), self.id.as_deref().unwrap_or(""));
        let verdict = backstage.switches.judge(Provider::Receiver, &subject, marker.as_ref());
        tokio::time::sleep(verdict.delay).await;
        let (status, retry_after) = match (&verdict.fault, verdict.slow_down, self.signed) {
            (_, true, _) => (StatusCode::TOO_MANY_REQUESTS, Some(1)),
            (_, _, false) => (StatusCode::UNAUTHORIZED, None),
            (Some(Fault::Status { status, retry_after_secs, .. }), ..) => {
                (StatusCode::from_u16(*status).unwrap_or(StatusCode::OK), *retry_after_secs)
            }
            (None | Some(Fault::Hang { .. } | Fault::Reset | Fault::CutBody), ..) => (StatusCode::OK, None),
            (Some(_), ..) => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        let duplicate = backstage.inbox.tally(self.name(), self.id.as_deref(), status.is_success());
        let answer = Answer { status, retry_after, duplicate, fault: verdict.fault.clone() };
        let call = Call::new(now, Provider::Receiver, self.id.as_deref().unwrap_or(""), &self.full_path(), answer.logged_status());
        backstage.calls.add(Call { fault: verdict.name(), ..call });
        answer
    }
}

struct Answer {
    status: StatusCode,
    retry_after: Option<u64>,
    duplicate: bool,
    fault: Option<Fault>,
}

impl Answer {
    fn logged_status(&self) -> u16 {
        let silent = matches!(self.fault, Some(Fault::Hang { .. } | Fault::Reset)) && self.status.is_success();
        if silent { 0 } else { self.status.as_u16() }
    }

    async fn play(self, scissors: &Scissors, backstage: &Backstage) -> Response {
        let ok = self.status.is_success();
        let body = if ok { json!({"ok": true, "duplicate": self.duplicate}) } else { json!({"ok": false, "status": self.status.as_u16()}) };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(secs) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, secs.into());
        }
        let fault = self.fault.filter(|_| ok);
        wire::play(fault.as_ref(), response, scissors, &backstage.closing).await
    }
}
