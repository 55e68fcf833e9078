//! Who works over HTTP, and beside whom. A lease call parks kinds that it does not know, so that workers of other kinds must not meet on one
//! queue. What is known here is only what was said last: the store knows who lives.

use super::super::{Problem, State, caller::Caller};
use crate::{
    job::{Daemon, HolderId, Name, SeenDaemon, Timestamp},
    store::Store,
};
use axum::http::StatusCode;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Three of the daemon's own beats. A worker that leases for longer is taken for alive as long.
const LEAST: Duration = Duration::from_secs(15);
/// Workers that live at once, on one port. Each is a row that the others read.
const MOST_WORKERS: usize = 10_000;
/// Of one token, so that none takes all places.
const MOST_OF_ONE: usize = 2_500;
/// Queues of one worker, however often it asks for others: its row is read by everybody.
pub(super) const MOST_QUEUES: usize = 100;
/// Calls that wake what nobody could run before the worker came; each wakes some hundreds.
const WAKES: usize = 100;

#[derive(Default)]
pub(in crate::control) struct Roster(Mutex<HashMap<HolderId, Known>>);

#[derive(Clone)]
struct Known {
    worker: Daemon,
    told: Instant,
    lasts: Duration,
}

impl Known {
    fn is_live(&self) -> bool {
        self.told.elapsed() < known_for(self.lasts)
    }

    /// Nobody has to be told again yet of one that leases for so long.
    fn is_fresh(&self, lease: Duration) -> bool {
        self.told.elapsed() < self.lasts / 3 && lasting(lease) <= self.lasts
    }
}

/// How long a worker is taken for alive that leases for so long.
fn lasting(lease: Duration) -> Duration {
    lease.max(LEAST)
}

/// It is told of again only after a third of that, and what it kept until then outlasts it by as much.
fn known_for(lasts: Duration) -> Duration {
    lasts + lasts / 3
}

impl Roster {
    fn all(&self) -> MutexGuard<'_, HashMap<HolderId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that fell silent is known from the store, if at all.
    fn get(&self, holder: HolderId) -> Option<Known> {
        self.all().get(&holder).filter(|known| known.is_live()).cloned()
    }

    fn put(&self, worker: Daemon, lasts: Duration) {
        self.all().insert(worker.holder, Known { worker, told: Instant::now(), lasts });
    }

    fn has_room_for(&self, worker: &Daemon) -> bool {
        let mut all = self.all();
        let own = |all: &HashMap<HolderId, Known>| all.values().filter(|known| known.worker.token == worker.token).count();
        let is_full = |all: &HashMap<_, _>| all.len() >= MOST_WORKERS || worker.token.is_some() && own(all) >= MOST_OF_ONE;
        if all.contains_key(&worker.holder) || !is_full(&all) {
            return true;
        }
        all.retain(|_, known| known.is_live());
        !is_full(&all)
    }

    fn forget(&self, holder: HolderId) {
        self.all().remove(&holder);
    }
}

/// Lets a worker in that asks for jobs, and tells everybody of it.
///
/// # Errors
/// When it may not work on one of its queues, or is another token's.
pub(super) async fn enlist(state: &State, caller: &Caller, asks: &Daemon, lease: Duration) -> Result<(), Problem> {
    let (roster, store) = (&state.roster, caller.everything(state)?);
    let known = roster.get(asks.holder);
    if known.as_ref().is_some_and(|known| known.is_fresh(lease) && covers(&known.worker, asks)) {
        return Ok(());
    }
    if !roster.has_room_for(asks) {
        let sentence = format!("at most {MOST_WORKERS} workers, and {MOST_OF_ONE} of one token, are at work here at once; try again");
        return Err(Problem::unavailable("too_many_workers", sentence));
    }
    let (now, seen) = (store.now().await?, store.daemons().await?);
    is_no_daemon(&seen, asks.holder)?;
    let before = known.map(|known| known.worker).or_else(|| own(&seen, asks.holder, now));
    if let Some(before) = &before {
        speaks_for(state, caller, before).await?;
    }
    let is_new = before.as_ref().is_none_or(|before| before.kinds != asks.kinds);
    let worker = together(before, asks, now);
    if let Err(problem) = may_work(&worker, &seen, now) {
        roster.forget(worker.holder);
        return Err(problem);
    }
    let kinds: Vec<Name> = worker.kinds.iter().cloned().collect();
    announce(state, store, worker, lease).await?;
    if is_new { wake(store, &kinds).await } else { Ok(()) }
}

/// What was parked because nobody knew its kind waits for just this worker.
async fn wake(store: &dyn Store, kinds: &[Name]) -> Result<(), Problem> {
    for _ in 0..WAKES {
        if store.unpark_kinds(kinds, None).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Tells everybody that a worker is still there, what it holds by queue, and whether it takes more. `false`: nobody knows it, so nothing is
/// its own.
///
/// # Errors
/// When it is no worker over HTTP, or another token's.
pub(super) async fn keep(
    state: &State,
    caller: &Caller,
    holder: HolderId,
    running: &BTreeMap<Name, usize>,
    draining: bool,
    lease: Duration,
) -> Result<bool, Problem> {
    let store = caller.everything(state)?;
    let known = state.roster.get(holder);
    let is_fresh = known.as_ref().is_some_and(|known| known.is_fresh(lease) && known.worker.draining == draining);
    let known = match known {
        Some(known) => Some(known.worker),
        None => find(store, holder).await?,
    };
    // Nobody but a lease call knows what it works on.
    let Some(mut worker) = known else { return Ok(false) };
    speaks_for(state, caller, &worker).await?;
    if is_fresh || !state.roster.has_room_for(&worker) {
        return Ok(true);
    }
    worker.draining = draining;
    for (queue, work) in &mut worker.queues {
        work.running = running.get(queue).copied().unwrap_or(0);
    }
    announce(state, store, worker, lease).await.map(|()| true)
}

/// Tells everybody that a worker is gone.
///
/// # Errors
/// When it is no worker over HTTP, or another token's.
pub(super) async fn dismiss(state: &State, caller: &Caller, holder: HolderId) -> Result<(), Problem> {
    let store = caller.everything(state)?;
    let known = match state.roster.get(holder) {
        Some(known) => Some(known.worker),
        None => find(store, holder).await?,
    };
    if let Some(worker) = known {
        speaks_for(state, caller, &worker).await?;
    }
    state.roster.forget(holder);
    Ok(store.goodbye(holder).await?)
}

async fn announce(state: &State, store: &dyn Store, worker: Daemon, lease: Duration) -> Result<(), Problem> {
    let lasts = lasting(lease);
    store.announce(&worker, known_for(lasts), None).await?;
    state.roster.put(worker, lasts);
    Ok(())
}

/// What it said to another port, or before this one was started.
async fn find(store: &dyn Store, holder: HolderId) -> Result<Option<Daemon>, Problem> {
    let (now, seen) = (store.now().await?, store.daemons().await?);
    is_no_daemon(&seen, holder)?;
    Ok(own(&seen, holder, now))
}

/// One that fell silent has nothing any more, and its name is nobody's.
fn own(seen: &[SeenDaemon], holder: HolderId, now: Timestamp) -> Option<Daemon> {
    seen.iter().find(|seen| seen.daemon.holder == holder && seen.is_live(now)).map(|seen| seen.daemon.clone())
}

/// Whoever may read sees a worker's name, so the name alone proves nothing. The operator speaks for everybody, and a token that has ended leaves
/// its workers to the one that took its place.
async fn speaks_for(state: &State, caller: &Caller, worker: &Daemon) -> Result<(), Problem> {
    let Some(own) = caller.token() else { return Ok(()) };
    let has_ended = match &worker.token {
        Some(first) if *first == own.id => return Ok(()),
        Some(first) => {
            let patience = state.in_force().config.health_deadline();
            state.keyring().live(first, state.store(), patience, &state.clock).await?.is_none()
        }
        None => false,
    };
    if has_ended {
        return Ok(());
    }
    let sentence = "another token's worker has this name; mint a UUID for each worker process";
    Err(Problem::new(StatusCode::CONFLICT, "not_your_worker", sentence))
}

/// What it asks for is no more than what it was let in with. It asks for its free slots, which change.
fn covers(known: &Daemon, asks: &Daemon) -> bool {
    let has_slots = |(queue, work): (&Name, &crate::job::QueueWork)| known.queues.get(queue).is_some_and(|own| own.slots >= work.slots);
    let is_same = asks.token.is_none() || known.token == asks.token;
    is_same && !known.draining && known.kinds == asks.kinds && asks.queues.iter().all(has_slots)
}

/// As it is from now on: its slots are the most that it ever asked for at once. Of too many queues those go that it neither asks for now nor
/// has jobs of.
fn together(before: Option<Daemon>, asks: &Daemon, now: Timestamp) -> Daemon {
    let mut worker = Daemon { started_at: now, ..asks.clone() };
    if let Some(before) = before {
        worker.started_at = before.started_at;
        worker.token = worker.token.or(before.token);
        let (asked, mut earlier): (Vec<_>, Vec<_>) = before.queues.into_iter().partition(|(queue, _)| asks.queues.contains_key(queue));
        earlier.sort_by_key(|(_, was)| std::cmp::Reverse(was.running));
        let room = MOST_QUEUES.saturating_sub(worker.queues.len());
        for (queue, was) in asked.into_iter().chain(earlier.into_iter().take(room)) {
            let work = worker.queues.entry(queue).or_default();
            work.slots = work.slots.max(was.slots);
            work.running = was.running;
        }
    }
    worker
}

fn may_work(worker: &Daemon, seen: &[SeenDaemon], now: Timestamp) -> Result<(), Problem> {
    let conflict = |code, sentence: String| Err(Problem::new(StatusCode::CONFLICT, code, sentence));
    for other in seen.iter().filter(|other| other.is_live(now) && other.daemon.holder != worker.holder) {
        let Some(queue) = worker.queues.keys().find(|queue| other.works_on(queue)) else { continue };
        let (node, is_alike) = (&other.daemon.node, other.daemon.kinds == worker.kinds);
        match (other.daemon.remote, is_alike) {
            (true, true) => {}
            (true, false) => {
                let sentence = format!(
                    "`{node}` works on queue `{queue}` with other kinds, and each would park the other's jobs; announce the same kinds, or give \
                     these a queue of their own"
                );
                return conflict("other_kinds", sentence);
            }
            (false, _) => {
                let sentence = format!(
                    "the daemon on `{node}` works on queue `{queue}` itself, and each would park the other's jobs; give these kinds a queue of \
                     their own, without slots in engine.slots"
                );
                return conflict("queue_is_served", sentence);
            }
        }
    }
    Ok(())
}

/// Who knows a daemon's name must not speak for it.
fn is_no_daemon(seen: &[SeenDaemon], holder: HolderId) -> Result<(), Problem> {
    if seen.iter().any(|seen| seen.daemon.holder == holder && !seen.daemon.remote) {
        return Err(Problem::new(StatusCode::CONFLICT, "not_a_worker", "this is a daemon's own name; mint a UUID for each worker process"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(token: Option<&str>) -> Daemon {
        Daemon {
            holder: HolderId::mint(),
            node: "box".into(),
            pid: 0,
            version: String::new(),
            started_at: Timestamp(0),
            draining: false,
            queues: BTreeMap::new(),
            kinds: std::collections::BTreeSet::new(),
            remote: true,
            token: token.map(|id| id.repeat(16).parse().expect("an id")),
        }
    }

    #[test]
    fn workers_of_one_token_leave_places_to_others() {
        let roster = Roster::default();
        let own: Vec<Daemon> = (0..MOST_OF_ONE).map(|_| worker(Some("a"))).collect();
        own.iter().cloned().for_each(|worker| roster.put(worker, LEAST));
        assert!(!roster.has_room_for(&worker(Some("a"))));
        assert!(roster.has_room_for(&own[0]), "it has its place");
        assert!(roster.has_room_for(&worker(Some("b"))) && roster.has_room_for(&worker(None)));
        roster.put(own[0].clone(), Duration::ZERO);
        assert!(roster.has_room_for(&worker(Some("a"))), "one that fell silent leaves its place");
    }

    #[test]
    fn name_of_a_worker_that_fell_silent_is_nobody_s() {
        let (roster, silent, now) = (Roster::default(), worker(Some("a")), Timestamp(1_000));
        roster.put(silent.clone(), Duration::ZERO);
        assert!(roster.get(silent.holder).is_none());
        let seen = |until| [SeenDaemon { daemon: silent.clone(), seen_at: Timestamp(0), until }];
        assert!(own(&seen(Timestamp(999)), silent.holder, now).is_none());
        assert!(own(&seen(Timestamp(1_001)), silent.holder, now).is_some());
    }
}
