//! The sentences of an explanation.

use super::{Facts, GateName, Position};
use crate::job::{Changed, Job, Name, Parent, Pause, SeenDaemon, Standing, State};

pub(super) fn counted(n: u64, one: &str, many: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n if n > Standing::MOST as u64 => format!("more than {} {many}", thousands(Standing::MOST as u64)),
        n => format!("{} {many}", thousands(n)),
    }
}

fn thousands(n: u64) -> String {
    if n < 1000 { n.to_string() } else { format!("{},{:03}", n / 1000, n % 1000) }
}

/// No gate is closed.
pub(super) fn open(state: State) -> String {
    match state {
        State::Running => "it runs".into(),
        _ => "nothing holds it: a daemon takes it with its next look".into(),
    }
}

pub(super) fn ended(job: &Job) -> String {
    let at = job.finished_at.map(|at| format!(" at {at}")).unwrap_or_default();
    let why = job.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    match job.state {
        State::Dead => format!("it gave up{at}{why}; it stays until it is redriven or purged"),
        state => format!("it is {state}{at}{why}", state = state.as_str()),
    }
}

pub(super) fn runs(facts: Facts<'_>) -> String {
    let Facts { job, standing, daemons, .. } = facts;
    let since = job.started_at.map(|at| format!(" since {at}")).unwrap_or_default();
    let on = job.holder.map(|holder| {
        let seen = daemons.iter().find(|seen| seen.daemon.holder == holder);
        seen.map_or_else(|| format!(" with holder {holder}"), |seen| format!(" on {} (pid {})", seen.daemon.node, seen.daemon.pid))
    });
    let until = standing.lease.as_ref().map(|lease| format!("; its lease lasts until {} unless it is renewed", lease.until));
    let cancel = standing.lease.as_ref().and_then(|lease| lease.cancel.as_ref()).map(|why| format!("; it was asked to stop: {why}"));
    ["it runs".to_owned(), since, on.unwrap_or_default(), until.unwrap_or_default(), cancel.unwrap_or_default()].concat()
}

pub(super) fn parents(parents: &[Parent]) -> String {
    let all: Vec<String> = parents
        .iter()
        .filter_map(|Parent { id, state }| match state {
            Some(State::Completed) => None,
            Some(State::Dead) => Some(format!("{id} is dead: redrive it, or cancel this one")),
            Some(State::Cancelled) => Some(format!("{id} was cancelled: cancel this one, or run it now")),
            Some(state) => Some(format!("{id} is {}", state.as_str())),
            None => Some(format!("{id} does not exist: enqueue it, or cancel this one")),
        })
        .collect();
    format!("it waits for other jobs: {}", all.join("; "))
}

pub(super) fn unknown_kind(job: &Job, knowing: usize) -> String {
    match knowing {
        0 => format!("no daemon that works on queue {} knows the kind {}; start one that does", job.queue, job.kind),
        _ => format!("the daemon that met it did not know the kind {}; another does and wakes it", job.kind),
    }
}

pub(super) fn paused(queue: &Name, pause: &Pause) -> String {
    let until = pause.until.map_or_else(|| "until it is resumed".to_owned(), |until| format!("until {until}"));
    format!("queue {queue} is paused {until}, by {} since {}: {}", pause.by, pause.at, pause.reason)
}

pub(super) fn changed(setting: &str, changed: &Changed) -> String {
    format!("; {setting} was changed by {} at {}: {}", changed.by, changed.at, changed.reason)
}

pub(super) fn daemons(queue: &Name, working: usize, live: usize, all: &[SeenDaemon]) -> String {
    let works = |n: u64| counted(n, "daemon works", "daemons work");
    match (working, live, all.iter().max_by_key(|seen| seen.seen_at)) {
        (0, 0, None) => "no daemon is alive; start one with `windlass run`".into(),
        (0, 0, Some(last)) => format!("no daemon is alive; the last was {}, heard at {}", last.daemon.node, last.seen_at),
        (0, live, _) => {
            let alive = counted(live as u64, "daemon is alive", "daemons are alive");
            format!("{alive}, and none works on queue {queue}; give it slots in engine.slots, or start a worker over HTTP that asks for it")
        }
        (working, ..) => format!("{} on queue {queue}", works(working as u64)),
    }
}

pub(super) fn workers(job: &Job, able: usize, working: usize) -> String {
    let (kind, queue) = (&job.kind, &job.queue);
    match able {
        0 if working == 1 => format!("the one daemon that works on queue {queue} has no worker for the kind {kind}; start one that has"),
        0 => format!("none of the {working} daemons that work on queue {queue} has a worker for the kind {kind}; start one that has"),
        able => format!("{} for the kind {kind}", counted(able as u64, "daemon has a worker", "daemons have a worker")),
    }
}

pub(super) fn before(position: &Position) -> String {
    if position.before == 0 && position.exact {
        return "nobody is before it".into();
    }
    let shown = if position.exact { position.before } else { Standing::MOST as u64 + 1 };
    let parts = [(position.line, "in its line"), (position.urgent, "more urgent"), (position.others, "of other tenants, by fairness")];
    let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{} {what}", thousands(*n))).collect();
    format!("{} before it: {}", counted(shown, "job is", "jobs are"), parts.join(", "))
}

/// Where the sentence would name what is not one tenant's to know.
pub(super) fn for_tenant(gate: GateName, queue: &Name, kind: &Name) -> Option<String> {
    match gate {
        GateName::Pause => Some(format!("queue {queue} is paused")),
        GateName::Daemon => Some(format!("no daemon works on queue {queue}")),
        GateName::Worker | GateName::UnknownKind => Some(format!("no daemon has a worker for the kind {kind}")),
        GateName::Lease => Some("it runs".into()),
        _ => None,
    }
}

/// The same of one that is open.
pub(super) fn nothing_of(gate: GateName) -> String {
    match gate {
        GateName::Pause => "its queue is not paused".into(),
        GateName::Lease => "it runs".into(),
        _ => "a daemon can run it".into(),
    }
}
