//! Who was killed when, and how long its jobs took to come back.

use super::{LEASE, process::Daemon};
use std::{collections::HashMap, time::Duration};
use windlass::{clock::Clock, job::Timestamp};

/// When each daemon was killed, by its holder, and when the server was away.
#[derive(Default)]
pub(super) struct Deaths {
    pub(super) holders: HashMap<String, Timestamp>,
    pub(super) outages: Vec<(Timestamp, Timestamp)>,
}

impl Deaths {
    /// `holders`: those that the store knows at the daemon's address.
    pub(super) async fn kill(&mut self, daemon: &mut Daemon, holders: impl AsyncFn() -> Vec<String>) {
        let mut found = holders().await;
        daemon.kill();
        let now = Clock::System.now();
        // One whose first lease was granted meanwhile.
        found.extend(holders().await);
        self.holders.extend(found.into_iter().map(|holder| (holder, now)));
    }

    /// How long after its holder's death, or after the server was back, each job was taken back.
    fn rescues(&self, lost: &[(String, Timestamp)]) -> Vec<Duration> {
        let mut rescues = Vec::new();
        for (holder, taken_back) in lost {
            let mut since = *self.holders.get(holder).unwrap_or_else(|| panic!("{holder} lost a job and was not killed"));
            for (down, up) in &self.outages {
                if down.since(since) <= LEASE + Duration::from_secs(1) && *up > since && *down < *taken_back {
                    since = *up;
                }
            }
            rescues.push(taken_back.since(since));
        }
        rescues.sort();
        rescues
    }

    /// Says how long it took, and fails when that was longer than promised (contract P4).
    pub(super) fn assert_rescued_in_time(&self, lost: &[(String, Timestamp)], jobs: u64) {
        let rescues = self.rescues(lost);
        assert!(!rescues.is_empty(), "somebody held jobs when it died");
        let p99 = rescues[(rescues.len() - 1) * 99 / 100];
        let (jobs_back, kills, restarts) = (rescues.len(), self.holders.len(), self.outages.len());
        let told = format!("ms until 99 % of {jobs_back} jobs were back, after {kills} kills and {restarts} restarts");
        crate::support::note(&told, u64::try_from(p99.as_millis()).expect("not that long"));
        // A suite that shares its machine with everything is no clock.
        let room = if jobs >= 100_000 { 1 } else { 20 };
        assert!(p99 < LEASE + Duration::from_secs(room), "rescued in {p99:?}");
    }
}
