//! What an examination says: a line a check, which is ok, a warning or a failure, and then what to do about it. The drivers ask their
//! servers and measure; the judgements that several of them share, and the bounds that keep an examination short, are here.

use super::{Error, Result};
use crate::job::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, ffi::CString, mem::MaybeUninit, os::unix::ffi::OsStrExt as _, path::Path, time::Duration};

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// What a daemon must know before it starts: whether the store would lose what it acknowledges. Measures nothing.
    DataLoss,
    Everything,
}

/// From good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It works, and somebody should look at it.
    Warn,
    /// It does not work, or not for long.
    Fail,
}

impl Level {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line of an examination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// A name that scripts can rely on.
    pub check: Cow<'static, str>,
    pub level: Level,
    /// One sentence, with its figures.
    pub says: String,
    /// What to do. Always there unless all is well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// What was measured, in `unit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Cow<'static, str>>,
    /// A failure of which a daemon loses what it acknowledged; it does not start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub loses_data: bool,
}

/// The check of whether the store answers at all; nothing else is known of one that does not.
pub const CONNECTION: &str = "connection";

/// A check that has no answer by then has none.
pub(super) const PATIENCE: Duration = Duration::from_millis(1500);
/// All checks of a store together.
pub(super) const WHOLE: Duration = Duration::from_secs(4);

impl Finding {
    pub fn ok(check: &'static str, says: impl Into<String>) -> Self {
        let says = says.into();
        Self { check: check.into(), level: Level::Ok, says, remedy: None, value: None, unit: None, loses_data: false }
    }

    pub fn warn(check: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Warn, remedy: Some(remedy.into()), ..Self::ok(check, says) }
    }

    pub fn fail(check: &'static str, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Fail, remedy: Some(remedy.into()), ..Self::ok(check, says) }
    }

    /// A check that could not be made: of what it looks for, nothing is known.
    pub fn unknown(check: &'static str, why: impl std::fmt::Display, remedy: impl Into<String>) -> Self {
        Self::warn(check, format!("could not be looked at: {why}"), remedy)
    }

    /// The store does not answer, or is none.
    #[must_use]
    pub fn unreachable(error: &Error) -> Self {
        let remedy = "see that the server runs, and that `store.url` names it and a user whom it lets in";
        Self::fail(CONNECTION, error.to_string(), remedy)
    }

    #[must_use]
    pub fn measured(self, value: f64, unit: &'static str) -> Self {
        Self { value: Some(value), unit: Some(unit.into()), ..self }
    }

    /// Of a failure.
    #[must_use]
    pub fn losing_data(self) -> Self {
        Self { loses_data: self.level == Level::Fail, ..self }
    }

    #[must_use]
    pub fn is_of(&self, check: &str) -> bool {
        self.check == check
    }
}

/// `ok` with what is said, or else a warning with the remedy.
pub(super) fn warn_if(is_bad: bool, check: &'static str, says: String, remedy: impl Into<String>) -> Finding {
    if is_bad { Finding::warn(check, says, remedy) } else { Finding::ok(check, says) }
}

/// What the checks under the name `check` say, or a warning if they cannot be made in time.
pub(super) async fn within<F: IntoFindings>(check: &'static str, asked: impl Future<Output = Result<F>>) -> Vec<Finding> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(findings)) => findings.into_findings(),
        Ok(Err(error)) => vec![Finding::unknown(check, error, "mend what the message names, and examine again")],
        Err(_) => vec![too_late(check)],
    }
}

pub(super) fn too_late(check: &'static str) -> Finding {
    let why = format!("no answer within {}", shown(PATIENCE));
    Finding::unknown(check, why, "the store is overloaded, or something holds a lock; examine again when it is quieter")
}

/// A check says one thing or several.
pub(super) trait IntoFindings {
    fn into_findings(self) -> Vec<Finding>;
}

impl IntoFindings for Finding {
    fn into_findings(self) -> Vec<Finding> {
        vec![self]
    }
}

impl IntoFindings for Vec<Finding> {
    fn into_findings(self) -> Vec<Finding> {
        self
    }
}

// ------------------------------------------------------------------------------------------------ what several drivers judge

/// Leases and run times go by the store's clock; what the machine's own is off only shows in logs, in the ends of tokens and in the
/// times of webhooks' signatures, of which the strictest allow five minutes.
const SKEW_TO_WARN: Duration = Duration::from_secs(1);
const SKEW_TO_FAIL: Duration = Duration::from_secs(60);

/// The store said `store` at some time between `before` and `after` of this machine's clock.
pub(super) fn clock_skew(store: Timestamp, before: Timestamp, after: Timestamp) -> Finding {
    const CHECK: &str = "clock_skew";
    let (ahead, behind) = (store.since(after), before.since(store));
    let skew = ahead.max(behind);
    let remedy = "let an NTP client (chrony, systemd-timesyncd) set the clocks of both machines";
    let where_to = if ahead > behind { "ahead of" } else { "behind" };
    let says = format!("the store's clock is {} {where_to} this machine's", shown(skew));
    let found = if skew >= SKEW_TO_FAIL {
        Finding::fail(CHECK, says, remedy)
    } else if skew >= SKEW_TO_WARN {
        Finding::warn(CHECK, says, remedy)
    } else if skew.is_zero() {
        Finding::ok(CHECK, format!("the clocks of the store and of this machine agree within {}", shown(after.since(before))))
    } else {
        Finding::ok(CHECK, says)
    };
    found.measured(skew.as_secs_f64() * 1000.0, "ms")
}

/// A commit waits for one; with 20 ms a daemon of few jobs settles fifty of them a second one by one.
const SYNC_TO_WARN: Duration = Duration::from_millis(20);

/// The times of some writes until they were on the disk; `what` names one of them.
pub(super) fn sync_latency(times: &[Duration], what: &str, remedy: &str) -> Finding {
    let (median, worst) = (median(times), times.iter().max().copied().unwrap_or_default());
    let says = format!("{what} takes {} (median of {}; longest {})", shown(median), times.len(), shown(worst));
    warn_if(median > SYNC_TO_WARN, "fsync_latency", says, remedy).measured(median.as_secs_f64() * 1000.0, "ms")
}

/// Each job is a few calls, and each waits for one.
const TRIP_TO_WARN: Duration = Duration::from_millis(20);

/// The times of some calls that ask for nothing.
pub(super) fn round_trip(times: &[Duration]) -> Finding {
    let median = median(times);
    let remedy = "run the daemon nearer to the store; each step of a job is a call";
    warn_if(median > TRIP_TO_WARN, CONNECTION, format!("the store answers within {} (median of {})", shown(median), times.len()), remedy)
        .measured(median.as_secs_f64() * 1000.0, "ms")
}

/// `used` of `most` connections.
pub(super) fn connections(used: u64, most: u64, remedy: &str) -> Finding {
    const CHECK: &str = "connections";
    let percent = percent(used, most);
    let says = format!("{used} of {most} connections are taken");
    let found = match percent {
        95.. => Finding::fail(CHECK, says, remedy),
        80.. => Finding::warn(CHECK, says, remedy),
        _ => Finding::ok(CHECK, says),
    };
    found.measured(most.saturating_sub(used) as f64, "free")
}

/// Below this a store stops within minutes of a busy day.
const SPACE_TO_FAIL: u64 = 100 << 20;
const SPACE_TO_WARN: u64 = 1 << 30;

/// `free` bytes of `total` on the disk that `place` is on. Of a small disk a tenth is enough.
#[must_use]
pub fn disk_space(place: &str, free: u64, total: u64) -> Finding {
    const CHECK: &str = "disk_space";
    let says = format!("{} of {} are free on the disk of {place}", bytes(free), bytes(total));
    let remedy = "free space, or move to a larger disk; on a full one nothing is acknowledged any more";
    let found = if free < SPACE_TO_FAIL {
        Finding::fail(CHECK, says, remedy)
    } else if free < SPACE_TO_WARN || free < total / 10 {
        Finding::warn(CHECK, says, remedy)
    } else {
        Finding::ok(CHECK, says)
    };
    found.measured(free as f64, "bytes")
}

/// Bytes that are left for us, and all, on the disk of `folder`.
#[must_use]
pub fn space_below(folder: &Path) -> Option<(u64, u64)> {
    let name = CString::new(folder.as_os_str().as_bytes()).ok()?;
    let mut stat = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `name` ends in NUL and `stat` is large enough; it is read only if the call says it was filled.
    let filled = unsafe { libc::statvfs(name.as_ptr(), stat.as_mut_ptr()) } == 0;
    // SAFETY: as above.
    let stat = filled.then(|| unsafe { stat.assume_init() })?;
    Some((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}

// ------------------------------------------------------------------------------------------------------------------- figures

pub(super) fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

pub(super) fn percent(part: u64, whole: u64) -> u64 {
    part.saturating_mul(100) / whole.max(1)
}

/// `0.4 ms`, `12 s`, `3 h`: in the unit in which a person would say it.
#[must_use]
pub fn shown(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time < Duration::from_millis(10) => format!("{:.2} ms", time.as_secs_f64() * 1000.0),
        0..=9 => format!("{:.0} ms", time.as_secs_f64() * 1000.0),
        10..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `512 KiB`, `3.2 GiB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut figure = count as f64 / 1024.0;
    let mut unit = 0;
    while figure >= 1024.0 && unit + 1 < UNITS.len() {
        figure /= 1024.0;
        unit += 1;
    }
    format!("{figure:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skew(store_ms: i64, before_ms: i64, after_ms: i64) -> Finding {
        clock_skew(Timestamp(store_ms * 1000), Timestamp(before_ms * 1000), Timestamp(after_ms * 1000))
    }

    #[test]
    fn clocks_differ_by_no_more_than_the_call_leaves_open() {
        assert_eq!((skew(1000, 900, 1100).level, skew(1000, 900, 1100).value), (Level::Ok, Some(0.0)));
        assert_eq!((skew(2000, 900, 1100).level, skew(2000, 900, 1100).value), (Level::Ok, Some(900.0)));
        let (ahead, behind, far) = (skew(5000, 900, 1100), skew(0, 9000, 9100), skew(0, 90_000, 90_100));
        assert!(ahead.level == Level::Warn && ahead.says.contains("3900 ms ahead of"), "{ahead:?}");
        assert!(behind.level == Level::Warn && behind.says.contains("9000 ms behind"), "{behind:?}");
        assert_eq!(far.level, Level::Fail);
        assert!(ahead.remedy.is_some() && far.remedy.is_some());
    }

    #[test]
    fn disk_is_judged_by_what_is_left_of_it() {
        let level = |free: u64, total: u64| disk_space("a", free, total).level;
        assert_eq!(level(99 << 20, 100 << 30), Level::Fail);
        assert_eq!(level(101 << 20, 100 << 30), Level::Warn);
        assert_eq!(level(2 << 30, 100 << 30), Level::Warn, "less than a tenth");
        assert_eq!(level(2 << 30, 10 << 30), Level::Ok);
        assert!(disk_space("a", 0, 1).says.contains("0.0 KiB of 0.0 KiB"));
    }

    #[test]
    fn connections_are_judged_by_their_share() {
        let level = |used| connections(used, 100, "fewer").level;
        assert_eq!([level(79), level(80), level(94), level(95)], [Level::Ok, Level::Warn, Level::Warn, Level::Fail]);
        assert_eq!(connections(3, 0, "fewer").level, Level::Fail, "none are allowed");
    }

    #[test]
    fn slow_disk_and_slow_line_are_told_by_the_median() {
        let times = |slow: usize| [vec![Duration::from_millis(1); 9 - slow], vec![Duration::from_millis(500); slow]].concat();
        assert_eq!((sync_latency(&times(4), "a", "b").level, sync_latency(&times(5), "a", "b").level), (Level::Ok, Level::Warn));
        assert_eq!((round_trip(&times(4)).level, round_trip(&times(5)).level), (Level::Ok, Level::Warn));
    }

    #[test]
    fn figures_are_said_as_a_person_would() {
        let said =
            [400, 15_000, 9_500_000, 90_000_000, 600_000_000, 10_000_000_000, 400_000_000_000].map(|us| shown(Duration::from_micros(us)));
        assert_eq!(said, ["0.40 ms", "15 ms", "9500 ms", "90 s", "10 min", "2 h", "4 days"]);
        assert_eq!([bytes(512), bytes(3 << 20), bytes(5 << 40)], ["0.5 KiB", "3.0 MiB", "5.0 TiB"]);
    }

    #[tokio::test]
    async fn check_that_hangs_or_fails_is_a_warning_that_says_why() {
        let hangs = within::<Finding>("a", std::future::pending()).await;
        let fails = within::<Finding>("b", async { Err(Error::Unavailable("no right".into())) }).await;
        for (findings, why) in [(hangs, "no answer within"), (fails, "no right")] {
            assert!(findings.len() == 1 && findings[0].level == Level::Warn && findings[0].remedy.is_some(), "{findings:?}");
            assert!(findings[0].says.contains(why), "{findings:?}");
        }
    }
}
