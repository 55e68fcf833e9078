//! The audit: rows in their order, each with the hash of the one before it in its own.

use super::{
    read::own,
    tx::{Tx, sql},
};
use crate::{
    job::{AuditPlace, Audited, Head, Timestamp},
    store::{Actor, Error, Page, Result},
};
use rusqlite::{Connection, params};
use uuid::Uuid;

impl Tx<'_> {
    /// Records the act, in the transaction that does it. `false`: it was done before.
    pub(super) fn audit(&mut self, actor: &Actor, action: &str, object: &str, detail: Option<&str>, now: Timestamp) -> Result<bool> {
        if self.one(sql!("audit_done"), [actor.op_id.as_bytes()], |_| Ok(()))?.is_some() {
            return Ok(false);
        }
        let head = self.one(sql!("audit_head"), [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        let (last, previous) = head.ok_or_else(|| Error::Corrupt("the head of the audit's chain is missing; restore a backup".into()))?;
        let row = Audited {
            chain: String::new(),
            seq: last + 1,
            op_id: actor.op_id,
            at: now,
            actor: actor.name.clone(),
            action: action.to_owned(),
            object: object.to_owned(),
            detail: detail.map(ToOwned::to_owned),
            hash: None,
        };
        let hash = row.link(&previous);
        self.run(sql!("audit_put"), params![row.op_id.as_bytes(), now.0, row.actor, action, object, detail, row.seq, hash])?;
        self.run(sql!("audit_head_put"), (row.seq, hash))?;
        Ok(true)
    }
}

/// The rows behind `place`, newest first.
pub(super) fn page(connection: &Connection, place: Option<&AuditPlace>, limit: usize) -> Result<Page<Audited>> {
    let mut statement = connection.prepare_cached(sql!("audit_page")).map_err(own)?;
    let rows = statement.query_map(params![place.map_or(i64::MAX, |place| place.seq), limit], |row| {
        Ok(Audited {
            chain: String::new(),
            op_id: Uuid::from_bytes(row.get(0)?),
            at: Timestamp(row.get(1)?),
            actor: row.get(2)?,
            action: row.get(3)?,
            object: row.get(4)?,
            detail: row.get(5)?,
            seq: row.get(6)?,
            hash: row.get(7)?,
        })
    });
    let items = rows.map_err(own)?.collect::<rusqlite::Result<Vec<_>>>().map_err(own)?;
    Ok(Page::of_audit(items, limit))
}

/// The last link, once the chain has begun.
pub(super) fn heads(connection: &Connection) -> Result<Vec<Head>> {
    let mut statement = connection.prepare_cached(sql!("audit_head")).map_err(own)?;
    let rows = statement.query_map([], |row| Ok(Head { chain: String::new(), seq: row.get(0)?, hash: row.get(1)? })).map_err(own)?;
    let heads = rows.collect::<rusqlite::Result<Vec<_>>>().map_err(own)?;
    Ok(heads.into_iter().filter(Head::is_a_link).collect())
}
