//! Which grants are right. Fairness leaves a store some freedom, so a reply is not compared with one right answer: it is
//! walked through job by job, and each grant must be one that the promises allow at that moment (contract 4).

use super::reference::{RefJob, Reference};
use std::collections::{BTreeMap, BTreeSet};
use windlass::{
    job::{JobId, Name, OnHead, Rate, State, Timestamp},
    store::{LeaseReply, LeaseRequest},
};

/// A line of a fair queue: queue, priority, tenant.
type Line = (Name, u8, Option<Name>);

/// Grants of one line against another, counted while both had jobs to give, in shares of their weights.
#[derive(Clone, Debug, Default)]
pub struct Fairness(BTreeMap<(Line, Line), f64>);

type Verdict = Result<(), String>;

impl Reference {
    /// Checks `reply` and takes it over. `parked` are the queued jobs that the call parked as `unknown_kind`.
    pub fn take_grants(
        &mut self,
        request: &LeaseRequest,
        reply: &LeaseReply,
        parked: &BTreeSet<JobId>,
        fairness: &mut Fairness,
    ) -> Verdict {
        self.begin();
        for id in parked {
            self.check_parked(request, *id)?;
        }
        let mut granted: BTreeMap<Name, usize> = BTreeMap::new();
        for leased in &reply.jobs {
            let id = leased.job.id;
            let job = self.find(id).ok_or_else(|| format!("granted {id}, which does not exist"))?.clone();
            self.check_grant(request, &job, parked).map_err(|e| format!("granted {id} ({}): {e}", brief(&job)))?;
            self.check_told(&job, leased)?;
            self.follow_fairness(&job, fairness)?;
            *granted.entry(job.queue.clone()).or_default() += 1;
            self.grant(id, leased.lease, request.holder, request.lease);
        }
        for id in parked {
            self.park_unknown(*id);
        }
        for (queue, most) in &request.queues {
            let got = granted.get(queue).copied().unwrap_or(0);
            if got > *most {
                return Err(format!("{got} jobs of {queue} were granted, {most} were asked for"));
            }
            if got < *most && !reply.more {
                self.check_nothing_left(queue)?;
            }
        }
        self.forget_idle_lines(fairness);
        Ok(())
    }

    fn check_parked(&self, request: &LeaseRequest, id: JobId) -> Verdict {
        let job = self.find(id).ok_or_else(|| format!("{id} does not exist"))?;
        let known = request.kinds.contains(&job.kind);
        let named = request.queues.iter().any(|(queue, most)| *queue == job.queue && *most > 0);
        if known || !named || self.paused.contains(&job.queue) || job.is_expired(self.now) {
            return Err(format!("parked {id} ({}) without need", brief(job)));
        }
        Ok(())
    }

    fn check_grant(&self, request: &LeaseRequest, job: &RefJob, parked: &BTreeSet<JobId>) -> Verdict {
        let must = |holds: bool, otherwise: &str| if holds { Ok(()) } else { Err(otherwise.to_owned()) };
        must(job.state == State::Queued, "it is not queued")?;
        must(request.queues.iter().any(|(queue, _)| *queue == job.queue), "its queue was not asked for")?;
        must(!self.paused.contains(&job.queue), "its queue is paused")?;
        must(!job.is_expired(self.now), "it is expired")?;
        must(request.kinds.contains(&job.kind), "its kind is not known")?;
        must(self.queue_has_room(&job.queue), "its queue runs or starts too many")?;
        must(self.tenant_has_room(job), "its tenant runs too many")?;
        must(self.key_has_room(job), "its key runs or starts too many")?;
        must(self.is_its_turn(job), "an ordered job of its key stands before it")?;
        if job.suspect {
            let other =
                self.jobs.iter().find(|other| other.lease.as_ref().is_some_and(|own| own.as_suspect && own.holder == request.holder));
            return must(other.is_none(), "its holder runs a suspect already");
        }
        let passed_over = self.jobs.iter().find(|other| !parked.contains(&other.id) && self.stands_before(other, job));
        match passed_over {
            Some(other) => Err(format!("{} ({}) stands before it", other.id, brief(other))),
            None => Ok(()),
        }
    }

    fn check_told(&self, job: &RefJob, leased: &windlass::job::Leased) -> Verdict {
        let told = &leased.job;
        let right = told.attempt == job.attempt + 1
            && told.max_attempts == job.max_attempts
            && told.payload == job.payload
            && told.checkpoint == job.checkpoint
            && (&told.kind, &told.queue, &told.tenant) == (&job.kind, &job.queue, &job.tenant)
            && told.concurrency_key == job.key
            && told.due_at == job.run_at
            && leased.lease.granted_at == self.now
            && leased.lease.job == job.id;
        if right { Ok(()) } else { Err(format!("{leased:?} is not what {job:?} says")) }
    }

    /// `other` could start now, and by priority or by position in the same line it comes first.
    fn stands_before(&self, other: &RefJob, job: &RefJob) -> bool {
        if other.queue != job.queue || other.id == job.id || other.state != State::Queued {
            return false;
        }
        let same_line = || other.priority == job.priority && self.line(other) == self.line(job);
        (other.priority < job.priority || earlier(other, job) && same_line()) && self.could_start(other)
    }

    /// It waits in its line, and every gate is open to it. A suspect has no line; of a key only the first counts.
    fn could_start(&self, job: &RefJob) -> bool {
        job.state == State::Queued
            && !job.suspect
            && !self.paused.contains(&job.queue)
            && !job.is_expired(self.now)
            && self.queue_has_room(&job.queue)
            && self.tenant_has_room(job)
            && self.key_has_room(job)
            && self.is_its_turn(job)
            && self.is_first_of_its_key(job)
    }

    fn check_nothing_left(&self, queue: &Name) -> Verdict {
        match self.jobs.iter().find(|job| job.queue == *queue && self.could_start(job)) {
            Some(job) => Err(format!("{} ({}) could have been granted", job.id, brief(job))),
            None => Ok(()),
        }
    }

    // ------------------------------------------------------------------ gates

    fn running(&self, which: impl Fn(&RefJob) -> bool) -> usize {
        self.jobs.iter().filter(|job| job.state == State::Running && which(job)).count()
    }

    fn queue_has_room(&self, queue: &Name) -> bool {
        let settings = self.settings.queue(queue);
        let starts = || self.starts.iter().filter(|(q, _, _)| q == queue).map(|(_, _, at)| *at);
        settings.concurrency.is_none_or(|most| self.running(|job| job.queue == *queue) < most as usize)
            && settings.rate.is_none_or(|rate| one_more(rate, starts().collect(), self.now))
    }

    fn tenant_has_room(&self, job: &RefJob) -> bool {
        let most = self.settings.queue(&job.queue).tenant_concurrency;
        match (most, &job.tenant) {
            (Some(most), Some(_)) => self.running(|other| other.queue == job.queue && other.tenant == job.tenant) < most as usize,
            _ => true,
        }
    }

    fn key_has_room(&self, job: &RefJob) -> bool {
        let Some(key) = job.key_of_its_tenant() else { return true };
        let settings = self.settings.queue(&job.queue);
        let starts = || self.starts.iter().filter(|(q, k, _)| *q == job.queue && k.as_ref() == Some(&key)).map(|(_, _, at)| *at);
        self.running(|other| self.share_a_key(other, job)) < settings.key_concurrency as usize
            && settings.key_rate.is_none_or(|rate| one_more(rate, starts().collect(), self.now))
    }

    fn share_a_key(&self, one: &RefJob, other: &RefJob) -> bool {
        one.key.is_some() && one.key == other.key && one.queue == other.queue && one.tenant == other.tenant
    }

    /// Nobody of the same ordered sequence runs, holds the turn, or came before.
    fn is_its_turn(&self, job: &RefJob) -> bool {
        if !job.ordered {
            return true;
        }
        let skips = self.settings.queue(&job.queue).on_head == OnHead::Skip;
        self.jobs.iter().filter(|other| other.ordered && other.id != job.id && self.share_a_key(other, job)).all(|other| {
            let holds_the_turn = other.is_live() && other.turn && !job.turn;
            // Where heads may be passed, one that comes back has no claim on its old place, nor is it refused it.
            let ranked = !(skips && (other.started || job.started));
            let came_before = ranked && other.state == State::Queued && earlier(other, job);
            other.state != State::Running && !holds_the_turn && !came_before
        })
    }

    /// Of the queued jobs of a key, only the first by priority and position is sure to stand in a line.
    fn is_first_of_its_key(&self, job: &RefJob) -> bool {
        // Where heads may be passed, the turn may be with one that came later while an earlier one was away.
        let skips = job.ordered && self.settings.queue(&job.queue).on_head == OnHead::Skip;
        let rated = self.settings.queue(&job.queue).key_rate.is_some();
        let mut rivals = self.jobs.iter().filter(|other| other.id != job.id && self.share_a_key(other, job));
        // Ordered jobs stand by position alone, and `is_its_turn` saw to that; others by priority first.
        rivals.all(|other| match other.state {
            _ if other.suspect => false,
            State::Queued if skips && (other.started || job.started) => false,
            // A rate's next token may be promised to one that came when the others could not.
            State::Queued if rated => false,
            State::Queued if job.ordered => earlier(job, other) || job.turn,
            State::Queued => job.priority < other.priority || job.priority == other.priority && earlier(job, other),
            _ => true,
        })
    }

    // ------------------------------------------------------------------ fairness

    fn line(&self, job: &RefJob) -> Line {
        let tenant = if self.settings.queue(&job.queue).fair { job.tenant.clone() } else { None };
        (job.queue.clone(), job.priority, tenant)
    }

    fn weight(&self, line: &Line) -> f64 {
        let settings = self.settings.queue(&line.0);
        line.2.as_ref().and_then(|tenant| settings.tenant_weights.get(tenant)).copied().map_or(1.0, f64::from)
    }

    /// Lines that have a job to give that no key can hold back and that somebody can run.
    fn busy_lines(&self) -> BTreeSet<Line> {
        self.jobs
            .iter()
            .filter(|job| job.key.is_none() && self.kinds.contains(&job.kind) && self.could_start(job))
            .map(|job| self.line(job))
            .collect()
    }

    /// While two lines both have jobs to give, their grants differ by no more than one share of each.
    fn follow_fairness(&self, job: &RefJob, fairness: &mut Fairness) -> Verdict {
        self.forget_idle_lines(fairness);
        let line = self.line(job);
        if job.suspect {
            return Ok(());
        }
        let busy = self.busy_lines();
        for other in busy.iter().filter(|other| (&other.0, other.1) == (&line.0, line.1) && **other != line && busy.contains(&line)) {
            let share = 1.0 / self.weight(&line);
            let ahead = fairness.0.entry((line.clone(), other.clone())).or_default();
            *ahead += share;
            let ahead = *ahead;
            *fairness.0.entry((other.clone(), line.clone())).or_default() -= share;
            let allowed = share + 1.0 / self.weight(other);
            if ahead > allowed + 1e-9 {
                return Err(format!("{line:?} is {ahead} shares ahead of {other:?}, {allowed} are fair"));
            }
        }
        Ok(())
    }

    /// A line that runs out of jobs is owed nothing for the time without.
    pub fn forget_idle_lines(&self, fairness: &mut Fairness) {
        if !fairness.0.is_empty() {
            let busy = self.busy_lines();
            fairness.0.retain(|(one, other), _| busy.contains(one) && busy.contains(other));
        }
    }
}

fn earlier(one: &RefJob, other: &RefJob) -> bool {
    matches!((one.position, other.position), (Some(one), Some(other)) if one < other)
}

/// Whether a start at `now` keeps every window within burst + rate · length.
fn one_more(rate: Rate, mut starts: Vec<Timestamp>, now: Timestamp) -> bool {
    starts.push(now);
    starts.iter().enumerate().all(|(before, from)| {
        let within = (starts.len() - before) as f64;
        within <= f64::from(rate.burst) + rate.per_second * now.since(*from).as_secs_f64() + 1e-9
    })
}

fn brief(job: &RefJob) -> String {
    let RefJob { queue, priority, tenant, key, ordered, kind, state, position, suspect, turn, .. } = job;
    format!(
        "{state} {kind} in {queue}, priority {priority}, {tenant:?}, key {key:?} ordered {ordered}, {position:?}, suspect {suspect}, turn {turn}"
    )
}
