//! The queues as people see them: what a driver counts, with the limits in force beside it.

use super::{QueueStatus, Result, Store};
use crate::job::{LimitsInForce, Name, State};

/// Per queue the number of jobs in each state, zeros included, and its limits; also of queues that have nothing but changed limits.
///
/// # Errors
/// As those of [`Store::queues`].
pub async fn queues(store: &dyn Store) -> Result<Vec<QueueStatus>> {
    let (mut queues, settings) = (store.queues(None).await?, store.settings().await?);
    for changed in settings.live.keys() {
        if !queues.iter().any(|queue| queue.name == changed.as_str()) {
            queues.push(QueueStatus { name: changed.to_string(), ..QueueStatus::default() });
        }
    }
    queues.sort_by(|one, other| one.name.cmp(&other.name));
    for queue in &mut queues {
        for state in State::ALL {
            queue.jobs.entry(state).or_insert(0);
        }
        queue.limits = Some(settings.limits(&queue.name));
    }
    Ok(queues)
}

/// The limits of one queue; of one that nobody knows, those that it would have.
///
/// # Errors
/// As those of [`Store::settings`].
pub async fn limits(store: &dyn Store, queue: &Name) -> Result<LimitsInForce> {
    Ok(store.settings().await?.limits(queue))
}
