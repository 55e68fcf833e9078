//! The audit as people read it: the rows that a filter takes, and whether the chain of all of them holds.

use super::{Page, Result, Store};
use crate::job::{AuditFilter, Audited};

/// Rows that one call looks at: a page may be short, and has a next one all the same.
const LOOK: usize = 10_000;
const PAGE: usize = 1000;

/// As [`Store::audit`], of the rows that `filter` takes.
///
/// # Errors
/// The store's.
pub async fn list(store: &dyn Store, filter: &AuditFilter, cursor: Option<&str>, limit: usize) -> Result<Page<Audited>> {
    let step = if *filter == AuditFilter::default() { limit } else { PAGE };
    let (mut items, mut next) = (Vec::new(), cursor.map(ToOwned::to_owned));
    for _ in 0..LOOK.div_ceil(PAGE) {
        let page = store.audit(next.as_deref(), step).await?;
        next = page.next;
        for row in page.items.into_iter().filter(|row| filter.takes(row)) {
            if items.len() == limit {
                next = items.last().map(|row: &Audited| row.place().to_string());
                return Ok(Page { items, next, ..Page::default() });
            }
            items.push(row);
        }
        if next.is_none() || items.len() == limit {
            break;
        }
    }
    Ok(Page { items, next, ..Page::default() })
}
