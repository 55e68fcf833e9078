//! Where a job stands among others, and when it may start.

use super::{Facts, Gate, GateName};
use crate::job::{Place, Standing, State, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many are served before the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Position {
    /// Jobs before it.
    pub before: u64,
    /// False: there are more than that.
    pub exact: bool,
    /// Of these, in its own line.
    pub line: u64,
    /// Of these, more urgent.
    pub urgent: u64,
    /// Of these, of other tenants, by fairness.
    pub others: u64,
}

impl Position {
    pub(super) fn of(standing: &Standing) -> Option<Self> {
        if standing.place != Place::Line {
            return None;
        }
        let most = Standing::MOST as u64;
        let (line, urgent, others) = (standing.before.line, standing.before.urgent, standing.before.of_others());
        let before = line.saturating_add(urgent).saturating_add(others);
        let exact = before <= most && !standing.before.is_cut;
        Some(Self { before: before.min(most), exact, line: line.min(most), urgent: urgent.min(most), others: others.min(most) })
    }
}

/// Between these instants; a guess from how fast the queue was in the last minute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Estimate {
    pub from: Timestamp,
    /// Missing: nobody knows how late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

/// A queue may be twice as fast in the next minute as in the last, or half.
const SPREAD: f64 = 2.0;
/// A free daemon takes a job that is due within this time.
const AT_ONCE: Duration = Duration::from_secs(1);

impl Estimate {
    /// None: whatever opens the first gate is not known.
    pub(super) fn of(facts: Facts<'_>, gates: &[Gate], position: Option<&Position>) -> Option<Self> {
        if matches!(facts.job.state, State::Running | State::Completed | State::Cancelled | State::Dead) {
            return None;
        }
        let mut from = facts.standing.now;
        let mut waits_in_line = false;
        for gate in gates.iter().filter(|gate| !gate.open) {
            match (gate.opens_at, gate.gate) {
                (Some(opens_at), _) => from = from.max(opens_at),
                (None, GateName::Line | GateName::DaemonSlots | GateName::QueueSlots | GateName::TenantSlots) => waits_in_line = true,
                (None, _) => return None,
            }
        }
        if !waits_in_line {
            return Some(Self { from, to: Some(from.plus(AT_ONCE)) });
        }
        let before = position.map_or(0, |position| position.before);
        let each = seconds_each(facts)?;
        let after = |jobs: u64, times: f64| from.plus(Duration::from_secs_f64((jobs as f64 * each * times).min(1e9)));
        let exact = position.is_none_or(|position| position.exact);
        Some(Self { from: after(before, 1.0 / SPREAD), to: exact.then(|| after(before + 1, SPREAD)) })
    }
}

/// Seconds from one end to the next in this queue, as the daemons tell it; None: nothing ended.
fn seconds_each(facts: Facts<'_>) -> Option<f64> {
    let live = facts.daemons.iter().filter(|seen| seen.is_live(facts.standing.now));
    let ended: u64 = live.filter_map(|seen| seen.daemon.queues.get(&facts.job.queue)).map(|work| work.ended_in_minute).sum();
    (ended > 0).then(|| 60.0 / ended as f64)
}
