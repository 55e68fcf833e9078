//! Each gate: whether it is open, by the facts.

use super::{
    Facts, Gate, GateName,
    words::{self, counted},
};
use crate::job::{Changed, JobId, Place, SeenDaemon, State, Timestamp};

impl Gate {
    fn new(gate: GateName, open: bool, says: impl Into<String>) -> Self {
        Self { gate, open, says: says.into(), opens_at: None, used: None, limit: None, jobs: Vec::new() }
    }

    fn closed(gate: GateName, says: impl Into<String>) -> Self {
        Self::new(gate, false, says)
    }

    fn opening(mut self, at: Option<Timestamp>) -> Self {
        self.opens_at = at;
        self
    }

    fn slots(gate: GateName, used: u64, limit: u64, what: &str) -> Self {
        let open = used < limit;
        let says = if open { format!("{used} of {limit} {what} are taken") } else { format!("all {limit} {what} are taken") };
        Self { used: Some(used), limit: Some(limit), ..Self::new(gate, open, says) }
    }

    /// Whose limit it is, where somebody changed it live.
    pub(super) fn tell_of(&mut self, changed: &Changed) {
        let setting = match self.gate {
            GateName::QueueSlots => "concurrency",
            GateName::TenantSlots => "tenant_concurrency",
            GateName::KeySlots => "key_concurrency",
            GateName::KeyRate => "key_rate",
            GateName::QueueRate => "rate",
            _ => return,
        };
        if changed.limits.says(setting) {
            self.says.push_str(&words::changed(setting, changed));
        }
    }

    fn held_by(mut self, jobs: impl IntoIterator<Item = JobId>) -> Self {
        self.jobs = jobs.into_iter().collect();
        self
    }
}

/// In no order.
pub(super) fn all(facts: Facts<'_>) -> Vec<Gate> {
    match facts.job.state {
        State::Completed | State::Cancelled | State::Dead => ended(facts),
        State::Running => vec![lease(facts)],
        State::Scheduled => [vec![due(facts)], of_queue(facts)].concat(),
        State::Parked => [vec![park(facts)], of_queue(facts)].concat(),
        State::Queued => [of_queue(facts), of_place(facts)].concat(),
    }
}

fn ended(facts: Facts<'_>) -> Vec<Gate> {
    let mut gates = vec![Gate::closed(GateName::Final, words::ended(facts.job))];
    if let Some(holder) = facts.standing.unique_holder {
        let says = format!("job {holder} has the unique key, so this one cannot be redriven until that has ended");
        gates.push(Gate::closed(GateName::UniqueKey, says).held_by([holder]));
    }
    gates
}

fn lease(facts: Facts<'_>) -> Gate {
    Gate::new(GateName::Lease, true, words::runs(facts)).opening(facts.standing.lease.as_ref().map(|lease| lease.until))
}

fn due(facts: Facts<'_>) -> Gate {
    let at = facts.job.run_at;
    let says = match facts.job.attempts.last() {
        Some(last) if last.retry_at.is_some() => format!("attempt {} failed; the next is due at {at}", last.number),
        _ => format!("it is due at {at}"),
    };
    Gate::new(GateName::Due, at <= facts.standing.now, says).opening(Some(at))
}

fn park(facts: Facts<'_>) -> Gate {
    let deadline = facts.job.run_at;
    let reason = facts.job.reason.as_deref().unwrap_or("parked");
    let (gate, says) = match reason {
        "dependency" | "dependency_dead" | "dependency_missing" => (GateName::Dependency, words::parents(&facts.standing.parents)),
        "unknown_kind" => (GateName::UnknownKind, words::unknown_kind(facts.job, knowing(facts).count())),
        other if facts.standing.awaits_answer => (GateName::Answer, format!("it waits for an outside answer ({other})")),
        other => (GateName::Park, format!("its worker parked it: {other}")),
    };
    let open_parents = facts.standing.parents.iter().filter(|parent| parent.state != Some(State::Completed));
    Gate::closed(gate, format!("{says}; at {deadline} it is dead, park_expired")).held_by(open_parents.map(|parent| parent.id))
}

fn live<'f>(facts: Facts<'f>) -> impl Iterator<Item = &'f SeenDaemon> {
    facts.daemons.iter().filter(move |seen| seen.is_live(facts.standing.now))
}

/// Those that would run it.
fn knowing<'f>(facts: Facts<'f>) -> impl Iterator<Item = &'f SeenDaemon> {
    live(facts).filter(move |seen| seen.works_on(&facts.job.queue) && seen.daemon.kinds.contains(&facts.job.kind))
}

/// What holds for all jobs of the queue.
fn of_queue(facts: Facts<'_>) -> Vec<Gate> {
    let (standing, queue) = (facts.standing, &facts.job.queue);
    let mut gates = vec![match &standing.pause {
        None => Gate::new(GateName::Pause, true, format!("queue {queue} is not paused")),
        Some(pause) => Gate::closed(GateName::Pause, words::paused(queue, pause)).opening(pause.until),
    }];
    let working = live(facts).filter(|seen| seen.works_on(queue)).count();
    let says = words::daemons(queue, working, live(facts).count(), facts.daemons);
    gates.push(Gate::new(GateName::Daemon, working > 0, says));
    if working > 0 {
        let able = knowing(facts).count();
        gates.push(Gate::new(GateName::Worker, able > 0, words::workers(facts.job, able, working)));
        if able > 0 {
            let slots: usize = knowing(facts).filter_map(|seen| seen.daemon.queues.get(queue)).map(|work| work.slots).sum();
            gates.push(Gate::slots(GateName::DaemonSlots, standing.queue.running, slots as u64, "slots of the daemons"));
        }
    }
    if let Some(limit) = standing.queue.slots {
        gates.push(Gate::slots(GateName::QueueSlots, standing.queue.running, limit, &format!("slots of queue {queue}")));
    }
    if let Some(opens_at) = standing.queue.rate_opens_at {
        let says = format!("the rate of queue {queue} admits the next start at {opens_at}");
        gates.push(Gate::new(GateName::QueueRate, opens_at <= standing.now, says).opening(Some(opens_at)));
    }
    gates
}

/// What holds for this job where it stands.
fn of_place(facts: Facts<'_>) -> Vec<Gate> {
    let standing = facts.standing;
    let mut gates = Vec::new();
    if let Some(limit) = standing.tenant_full {
        gates.push(Gate::slots(GateName::TenantSlots, limit, limit, "slots of its tenant"));
    }
    if standing.place == Place::Alone {
        let says = "a process died while it ran, so it runs as the only one of its sort; another does now, or it is next";
        gates.push(Gate::closed(GateName::Alone, says));
    }
    gates.extend(of_key(facts));
    let before = super::Position::of(standing);
    if let Some(before) = before {
        gates.push(Gate::new(GateName::Line, before.before == 0, words::before(&before)));
    }
    gates
}

fn of_key(facts: Facts<'_>) -> Vec<Gate> {
    let (Some(key), Some(name)) = (&facts.standing.key, &facts.job.concurrency_key) else { return Vec::new() };
    let mut gates = Vec::new();
    if let Some(head) = key.head.filter(|head| *head != facts.job.id && facts.job.ordered) {
        let says =
            format!("jobs of key {name} run in order, and it is the turn of {head}; {}", counted(key.before, "job stands", "jobs stand"));
        gates.push(Gate::closed(GateName::KeyOrder, format!("{says} between them")).held_by([head]));
    }
    let mut slots = Gate::slots(GateName::KeySlots, key.running, key.slots, &format!("slots of key {name}")).held_by(key.holders.clone());
    let rate_is_open = key.rate_opens_at.is_none_or(|at| at <= facts.standing.now);
    if slots.open && facts.standing.place == Place::Gate && gates.is_empty() && rate_is_open {
        slots.open = false;
        slots.says = format!("the free slots of key {name} are for jobs that stand in line before it");
    }
    gates.push(slots);
    if let Some(opens_at) = key.rate_opens_at {
        let says = format!("the rate of key {name} admits the next start at {opens_at}");
        gates.push(Gate::new(GateName::KeyRate, opens_at <= facts.standing.now, says).opening(Some(opens_at)));
    }
    gates
}
