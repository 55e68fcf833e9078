//! Who has jobs in lines or running.

use super::{read::own, tx::sql};
use crate::{
    job::Name,
    store::{Result, TenantLoad},
};
use rusqlite::{Connection, params};

pub(super) fn loads(connection: &Connection, after: Option<&str>, limit: usize) -> Result<Vec<TenantLoad>> {
    let mut statement = connection.prepare_cached(sql!("tenant_loads")).map_err(own)?;
    let load = |row: &rusqlite::Row<'_>| {
        let count = |column| row.get::<_, i64>(column).map(|jobs| u64::try_from(jobs).unwrap_or(0));
        Ok(TenantLoad { tenant: Name::new(row.get_ref(0)?.as_str()?).ok(), waiting: count(1)?, running: count(2)? })
    };
    let loads = statement.query_map(params![after, limit], load).map_err(own)?;
    loads.collect::<rusqlite::Result<_>>().map_err(own)
}
