//! `/v1/doctor`: what is well with the store and the machine, and what is not. An examination costs some syncs of the disk and some
//! connections, so calls within a few seconds share one.

use super::{Problem, State, caller::Caller, wire::DoctorAnswer};
use crate::{
    clock::Clock,
    store::{
        Store,
        examine::{Extent, Finding},
    },
};
use axum::{Json, extract};
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

const SHARED_FOR: Duration = Duration::from_secs(10);

/// Looks at the machine that the daemon runs on.
type Machine = Arc<dyn Fn() -> Vec<Finding> + Send + Sync>;

pub(super) struct Examiner {
    machine: RwLock<Machine>,
    last: Mutex<Option<(Instant, DoctorAnswer)>>,
}

impl Default for Examiner {
    fn default() -> Self {
        Self { machine: RwLock::new(Arc::new(Vec::new)), last: Mutex::default() }
    }
}

impl Examiner {
    pub fn look_at(&self, machine: impl Fn() -> Vec<Finding> + Send + Sync + 'static) {
        *self.machine.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(machine);
    }

    /// The last one, or one that is made now; whoever calls meanwhile waits for it.
    async fn examine(&self, store: &dyn Store, clock: &Clock) -> DoctorAnswer {
        let mut last = self.last.lock().await;
        if let Some((_, answer)) = last.as_ref().filter(|(at, _)| at.elapsed() < SHARED_FOR) {
            return answer.clone();
        }
        let machine = Arc::clone(&self.machine.read().unwrap_or_else(PoisonError::into_inner));
        // The kernel and the disk may be slow to answer.
        let machine = tokio::task::spawn_blocking(move || machine());
        let found = store.examine(Extent::Everything).await.unwrap_or_else(|error| vec![Finding::unreachable(&error)]);
        let findings = [found, machine.await.unwrap_or_default()].concat();
        let answer = DoctorAnswer::of(clock.now(), findings);
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}

pub(super) async fn show(extract::State(state): extract::State<State>, caller: Caller) -> Result<Json<DoctorAnswer>, Problem> {
    let store = caller.everything(&state)?;
    Ok(Json(state.examiner.examine(store, &state.clock).await))
}
