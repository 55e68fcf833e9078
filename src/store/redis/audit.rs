//! The audit: a chain for each shard, beside what its acts change, and one for what belongs to no queue. They are read as one, by time.

use super::{
    RedisStore,
    connection::{function, reading},
    enqueue::instant,
    error::{Effect, odd},
    reply,
};
use crate::{
    job::{AuditPlace, Audited, Head, Timestamp},
    store::{Actor, Page, Result},
};
use redis::{Cmd, Value};
use serde::Deserialize;
use std::collections::BTreeSet;
use uuid::Uuid;

/// An act, as its row says it.
pub(super) struct Act<'a> {
    pub(super) actor: &'a Actor,
    pub(super) action: &'a str,
    pub(super) object: &'a str,
    pub(super) detail: Option<&'a str>,
}

impl Act<'_> {
    /// At the end of a call's arguments.
    pub(super) fn stand_in(&self, call: &mut Cmd) {
        let detail = self.detail.map(|detail| format!("={detail}")).unwrap_or_default();
        call.arg(self.actor.op_id.as_bytes()).arg(&self.actor.name).arg(self.action).arg(self.object).arg(detail);
    }
}

/// The audit row of an act, at the end of the call that does it.
pub(super) fn audit(call: &mut Cmd, actor: &Actor, action: &str, object: &str, detail: Option<&str>) {
    Act { actor, action, object, detail }.stand_in(call);
}

/// The chain of what belongs to no queue.
const COMMON: &str = "_";

impl RedisStore {
    pub(super) async fn leave_note(&self, act: &Act<'_>) -> Result<bool> {
        let mut call = function("note", &[self.common()]);
        call.arg(instant(self.now_or(None)));
        act.stand_in(&mut call);
        Ok(self.server.ask::<i64>(Effect::Promises, &call).await? == 1)
    }

    /// The rows behind `place`, newest first: of each chain as many as the page can hold, of which the newest stay.
    pub(super) async fn audit_page(&self, place: Option<&AuditPlace>, limit: usize) -> Result<Page<Audited>> {
        let chains = self.chains().await?;
        let call = |chain: &String| {
            let (top, below) = behind(place, chain);
            reading("audited", &[self.base_of(chain)]).arg("").arg(limit).arg(top).arg(below).clone()
        };
        let calls: Vec<Cmd> = chains.iter().map(call).collect();
        let told = self.server.ask_each(Effect::Reads, &calls).await?;
        let mut items = Vec::new();
        let mut is_more = false;
        for (chain, told) in chains.iter().zip(told) {
            let rows = reply::list(told)?;
            is_more |= rows.len() == limit;
            for row in rows {
                items.extend(read(chain, row)?);
            }
        }
        items.sort_by_key(|row| std::cmp::Reverse(row.place()));
        is_more |= items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| is_more).map(|row| row.place().to_string());
        Ok(Page { items, next, ..Page::default() })
    }

    pub(super) async fn last_links(&self) -> Result<Vec<Head>> {
        let chains = self.chains().await?;
        let calls: Vec<Cmd> = chains.iter().map(|chain| reading("audit_head", &[self.base_of(chain)])).collect();
        let mut heads = Vec::new();
        for (chain, told) in chains.into_iter().zip(self.server.ask_each(Effect::Reads, &calls).await?) {
            let [seq, hash] = reply::fixed(told)?;
            if seq != Value::Nil {
                heads.push(Head { chain, seq: reply::number(seq)?, hash: reply::text(hash)? });
            }
        }
        heads.retain(Head::is_a_link);
        Ok(heads)
    }

    async fn chains(&self) -> Result<BTreeSet<String>> {
        Ok(self.all_shards().await?.into_keys().map(|tag| tag.as_str().to_owned()).chain([COMMON.to_owned()]).collect())
    }

    fn base_of(&self, chain: &str) -> String {
        format!("{}:{{{chain}}}", self.prefix)
    }
}

/// From where on a chain goes on behind `place`: the instant, and in the chain that `place` is in the number below which.
fn behind(place: Option<&AuditPlace>, chain: &str) -> (String, i64) {
    match place {
        None => ("+inf".to_owned(), i64::MAX),
        Some(place) if chain == place.chain => (place.at.0.to_string(), place.seq),
        // Of those of the same instant, the chains behind it in their order were shown before.
        Some(place) if chain > place.chain.as_str() => (format!("({}", place.at.0), i64::MAX),
        Some(place) => (place.at.0.to_string(), i64::MAX),
    }
}

/// What a row says of itself.
#[derive(Deserialize)]
struct Row {
    at: Timestamp,
    actor: String,
    action: String,
    object: String,
    #[serde(default)]
    detail: Option<serde_json::Value>,
    #[serde(default)]
    hash: Option<String>,
}

/// None: it cannot be read, and shows as a gap in its chain.
fn read(chain: &str, row: Value) -> Result<Option<Audited>> {
    let [seq, op_id, text] = reply::fixed(row)?;
    let (seq, op_id) = (reply::number(seq)?, Uuid::from_slice(&reply::bytes(op_id)?).or_else(|_| odd("an op_id"))?);
    let Ok(Row { at, actor, action, object, detail, hash }) = serde_json::from_slice(&reply::bytes(text)?) else {
        tracing::error!(chain, seq, "a row of the audit cannot be read");
        return Ok(None);
    };
    let detail = detail.map(|detail| detail.as_str().map_or_else(|| detail.to_string(), ToOwned::to_owned));
    Ok(Some(Audited { chain: chain.to_owned(), seq, op_id, at, actor, action, object, detail, hash }))
}
