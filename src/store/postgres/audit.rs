//! The audit. The table chains its rows itself (`migrations/postgres/0010_audit.sql`).

use super::{PostgresStore, error::Effect, params::params};
use crate::{
    job::{Audited, Head, Timestamp},
    store::{Actor, Page, Result, words::place_of},
};

impl PostgresStore {
    pub(super) async fn leave_note(&self, actor: &Actor, action: &str, object: &str, detail: Option<&str>) -> Result<bool> {
        let detail = detail.map(ToOwned::to_owned);
        let params = params![actor.op_id, actor.name.clone(), action.to_owned(), object.to_owned(), detail, self.clock_now().map(|t| t.0)];
        let note = "SELECT windlass_v1.audited($1, $2, $3, $4, $5, windlass_v1.clock($6))";
        Ok(self.lanes.other.one(Effect::Writes, note, params).await?.get(0))
    }

    pub(super) async fn audit_page(&self, cursor: Option<&str>, limit: usize) -> Result<Page<Audited>> {
        let below = place_of(cursor)?.map_or(i64::MAX, |place| place.seq);
        let page =
            "SELECT op_id, at, actor, action, object, detail, seq, hash FROM windlass.audit WHERE seq < $1 ORDER BY seq DESC LIMIT $2";
        let rows = self.lanes.other.rows(Effect::Reads, page, params![below, i64::try_from(limit).unwrap_or(i64::MAX)]).await?;
        let items = rows.iter().map(|row| Audited {
            chain: String::new(),
            op_id: row.get(0),
            at: Timestamp(row.get(1)),
            actor: row.get(2),
            action: row.get(3),
            object: row.get(4),
            detail: row.get(5),
            seq: row.get(6),
            hash: row.get(7),
        });
        Ok(Page::of_audit(items.collect(), limit))
    }
    pub(super) async fn last_links(&self) -> Result<Vec<Head>> {
        let rows = self.lanes.other.rows(Effect::Reads, "SELECT seq, hash FROM windlass.audit_head", params![]).await?;
        let heads = rows.iter().map(|row| Head { chain: String::new(), seq: row.get(0), hash: row.get(1) });
        Ok(heads.filter(Head::is_a_link).collect())
    }
}
