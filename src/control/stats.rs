//! `/v1/stats` and `/v1/tenants`: how it all stands, from counters alone.

use super::{
    Problem, State,
    caller::Caller,
    extract::{Asked, rows},
    health,
    wire::{DaemonTotals, PageOf, QuarantineTotal, StatsAnswer},
};
use crate::{
    job::{Name, SeenDaemon, State as JobState, Timestamp},
    store::{QueueStatus, TenantLoad},
};
use axum::{Json, extract};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Quarantined rows are counted up to here: they are read to be counted, and there should be none.
const MOST_QUARANTINED: usize = 100;

/// `GET /v1/stats`.
pub(super) async fn stats(extract::State(state): extract::State<State>, caller: Caller) -> Result<Json<StatsAnswer>, Problem> {
    let store = caller.everything(&state)?;
    let at = store.now().await?;
    let queues = store.queues(None).await?;
    let quarantined = store.quarantined(MOST_QUARANTINED + 1).await?.len();
    Ok(Json(StatsAnswer {
        at,
        jobs: totals(&queues),
        queues,
        daemons: of_daemons(&store.daemons().await?, at),
        quarantined: QuarantineTotal { rows: quarantined.min(MOST_QUARANTINED), more: quarantined > MOST_QUARANTINED },
        store: health::ask_store(&state).await.0,
    }))
}

fn totals(queues: &[QueueStatus]) -> BTreeMap<JobState, u64> {
    JobState::ALL.into_iter().map(|state| (state, queues.iter().filter_map(|queue| queue.jobs.get(&state)).sum())).collect()
}

fn of_daemons(daemons: &[SeenDaemon], now: Timestamp) -> DaemonTotals {
    let mut totals = DaemonTotals::default();
    for seen in daemons.iter().filter(|seen| seen.is_live(now)) {
        totals.live += 1;
        for work in seen.daemon.queues.values() {
            totals.slots += work.slots;
            totals.running += work.running;
            totals.ended_in_minute += work.ended_in_minute;
        }
    }
    totals
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Listing {
    /// The last tenant of the page before; nothing for those that come after no tenant.
    cursor: Option<String>,
    /// How many at most.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
}

/// `GET /v1/tenants`, by name; first the jobs of no tenant.
pub(super) async fn tenants(
    extract::State(state): extract::State<State>,
    caller: Caller,
    Asked(asked): Asked<Listing>,
) -> Result<Json<PageOf<TenantLoad>>, Problem> {
    let limit = rows(asked.limit)?;
    let after = asked.cursor.as_deref();
    if after.is_some_and(|after| !after.is_empty() && Name::new(after).is_err()) {
        return Err(Problem::bad_request("bad_cursor", "the cursor is none of ours; begin again without it"));
    }
    let mut items = caller.everything(&state)?.tenants(after, limit + 1).await?;
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| has_more).map(|last| last.tenant.as_ref().map(ToString::to_string).unwrap_or_default());
    Ok(Json(PageOf { items, next }))
}
