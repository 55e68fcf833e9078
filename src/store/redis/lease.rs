//! Granting, and keeping what was granted: lease calls and heartbeats.

use super::{
    RedisStore,
    connection::{function, reading},
    enqueue::instant,
    error::{Effect, odd},
    reply, rows,
    shards::Tag,
};
use crate::{
    job::{HolderId, JobId, Lease, Leased, Name, Nonce, Timestamp},
    store::{Beat, LeaseReply, LeaseRequest, Progress, Result},
};
use redis::{Cmd, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Forgotten leases that a heartbeat tells of at most.
const STRAYS: usize = 100;

/// What a heartbeat says of a lease.
const LOST: i64 = 1;
const CANCEL: i64 = 2;

/// A lease's `row`: the number of its shard, and its place in its claim.
pub(super) const fn row(shard: i64, place: i64) -> i64 {
    shard << 32 | place
}

pub(super) const fn shard_of(row: i64) -> i64 {
    row >> 32
}

pub(super) const fn place_of(row: i64) -> i64 {
    row & 0xffff_ffff
}

impl RedisStore {
    pub(super) async fn lease_jobs(&self, request: LeaseRequest, now: Option<Timestamp>) -> Result<LeaseReply> {
        let mut asks = Vec::new();
        for (queue, most) in request.queues.iter().filter(|(_, most)| *most > 0) {
            let shards: Vec<Tag> = self.shards_of(queue).await?.into_iter().collect();
            let share = self.known().turns.share(queue, *most, shards);
            asks.extend(share.into_iter().map(|ask| Ask { before: self.epoch_of(&ask.shard), ..ask }));
        }
        if asks.is_empty() {
            return Ok(LeaseReply::default());
        }
        self.leases_from(asks.iter().map(|ask| &ask.shard));
        if !self.server.is_cluster() {
            let told = self.server.ask(Effect::Writes, &self.lease_call(&request, &asks, true, now)).await?;
            return Ok(self.granted(&request, &asks, told, now).await?.reply);
        }
        self.enrol(asks.iter().map(|ask| &ask.shard)).await?;
        self.lease_in_cluster(&request, &asks, now).await
    }

    /// `may_suspect`: one of the jobs may be a suspect.
    fn lease_call(&self, request: &LeaseRequest, asks: &[Ask], may_suspect: bool, now: Option<Timestamp>) -> Cmd {
        let keys: Vec<String> = asks.iter().map(|ask| self.base(&ask.shard)).collect();
        let mut call = function("lease", &keys);
        call.arg(instant(now))
            .arg(request.holder.0.as_bytes())
            .arg(request.nonce.0.as_bytes())
            .arg(self.node.as_deref().unwrap_or_default());
        call.arg(u64::try_from(request.lease.as_micros()).unwrap_or(u64::MAX)).arg(request.max_bytes).arg(u8::from(may_suspect));
        for ask in asks {
            call.arg(ask.most);
        }
        for kind in request.kinds.iter() {
            call.arg(kind.as_str());
        }
        call
    }

    /// One call a shard, all at once; then one more where a suspect waits, if this holder runs none: nobody but the daemon can tell that, since
    /// its others are elsewhere.
    async fn lease_in_cluster(&self, request: &LeaseRequest, asks: &[Ask], now: Option<Timestamp>) -> Result<LeaseReply> {
        let share = LeaseRequest { max_bytes: (request.max_bytes / asks.len()).max(1), ..request.clone() };
        let calls: Vec<Cmd> = asks.iter().map(|ask| self.lease_call(&share, std::slice::from_ref(ask), false, now)).collect();
        let mut whole = LeaseReply { drained: true, ..LeaseReply::default() };
        let mut suspects_in = None;
        for (ask, told) in asks.iter().zip(self.server.ask_each(Effect::Writes, &calls).await?) {
            let granted = self.granted(request, std::slice::from_ref(ask), told, now).await?;
            let jobs = granted.reply.jobs.len();
            suspects_in = suspects_in.or_else(|| (granted.suspects_wait && (jobs < ask.most || ask.most == 0)).then_some(ask));
            self.known().turns.note(ask, jobs);
            add(&mut whole, granted.reply);
        }
        if let Some(ask) = suspects_in
            && whole.jobs.len() < asks.iter().map(|ask| ask.most).sum()
            && !self.runs_a_suspect(request.holder).await?
        {
            let one = Ask { most: 1, before: self.epoch_of(&ask.shard), ..ask.clone() };
            let told = self.server.ask(Effect::Writes, &self.lease_call(&share, std::slice::from_ref(&one), true, now)).await?;
            let granted = self.granted(request, &[one], told, now).await?;
            if let Some(lease) = granted.suspect {
                self.known().suspects.insert(request.holder, lease);
            }
            add(&mut whole, granted.reply);
        }
        self.deliver(now).await;
        Ok(whole)
    }

    /// What a lease call on these shards answered.
    async fn granted(&self, request: &LeaseRequest, asks: &[Ask], told: Value, now: Option<Timestamp>) -> Result<Granted> {
        let [spans, jobs, due, more, at, suspects] = reply::fixed(told)?;
        let granted_at = Timestamp(reply::number(at)?);
        let [suspects_wait, is_suspect, drained] = reply::fixed(suspects)?;
        let mut spans = reply::list(spans)?.into_iter();
        let mut jobs = reply::list(jobs)?.into_iter();
        let mut leased = Vec::with_capacity(jobs.len() / 2);
        let mut damaged = false;
        for Ask { shard, queue, before, .. } in asks {
            let (Some(epoch), Some(count)) = (spans.next(), spans.next()) else { return odd("a span a shard") };
            let (epoch, count) = (reply::number(epoch)?, reply::number(count)?);
            if count == 0 {
                continue;
            }
            self.granted_epoch(shard, *before, epoch);
            let number = self.shard_number(shard).await?;
            for place in 0..count {
                let (Some(id), Some(blob)) = (jobs.next(), jobs.next()) else { return odd("the jobs it counts") };
                let id = reply::id(id)?;
                let lease = Lease { job: id, epoch, nonce: request.nonce, row: row(number, place), granted_at };
                match rows::leased(id, queue, &reply::bytes(blob)?) {
                    Ok(job) => leased.push(Leased { lease, job }),
                    Err(reason) => {
                        damaged = true;
                        self.quarantine(shard, lease, &reason, now).await?;
                    }
                }
            }
        }
        let more = reply::number(more)? == 1 || (leased.is_empty() && damaged);
        // It is the first that is granted.
        let suspect = if reply::number(is_suspect)? == 1 { leased.first().map(|leased| leased.lease) } else { None };
        let drained = reply::number(drained)? == 1 && !more;
        let reply = LeaseReply { jobs: leased, next_due: reply::maybe_time(due)?, more, drained };
        Ok(Granted { reply, suspects_wait: reply::number(suspects_wait)? == 1, suspect })
    }

    /// It may have been taken back meanwhile, and nobody said so.
    async fn runs_a_suspect(&self, holder: HolderId) -> Result<bool> {
        let Some(lease) = self.known().suspects.get(&holder).copied() else { return Ok(false) };
        let numbers = self.shards_by_number().await?;
        if let Some(shard) = numbers.get(&shard_of(lease.row)) {
            let call = reading("is_leased", &[self.base(shard)]).arg("").arg(lease.epoch).arg(place_of(lease.row)).clone();
            if self.server.ask::<bool>(Effect::Reads, &call).await? {
                return Ok(true);
            }
        }
        self.known().suspects.remove(&holder);
        Ok(false)
    }

    /// These run no more.
    pub(super) fn forget_suspects<'l>(&self, ended: impl Iterator<Item = &'l Lease>) {
        let mut known = self.known();
        if !known.suspects.is_empty() {
            for lease in ended {
                known.suspects.retain(|_, suspect| suspect != lease);
            }
        }
    }

    /// A job that cannot be read is out of everybody's way.
    async fn quarantine(&self, shard: &Tag, lease: Lease, reason: &str, now: Option<Timestamp>) -> Result<()> {
        tracing::error!(id = %lease.job, reason, "a job cannot be read; it is quarantined");
        let mut call = function("quarantine", &[self.base(shard)]);
        call.arg(instant(now)).arg(lease.job.0.as_bytes()).arg(lease.epoch).arg(place_of(lease.row)).arg(reason);
        self.server.ask(Effect::Writes, &call).await
    }

    pub(super) async fn leased_under(&self, nonce: Nonce) -> Result<Vec<Leased>> {
        let (shards, partitions) = (self.all_shards().await?, self.partitions().await?);
        let calls: Vec<_> =
            shards.keys().map(|shard| function("leased_by", &[self.base(shard)]).arg("").arg(nonce.0.as_bytes()).clone()).collect();
        let mut leased = Vec::new();
        for ((shard, number), found) in shards.iter().zip(self.server.ask_each(Effect::Reads, &calls).await?) {
            let queue = &partitions.queue_of(shard);
            for job in reply::list(found)? {
                let [epoch, place, id, blob, at] = reply::fixed(job)?;
                let (id, granted_at) = (reply::id(id)?, Timestamp(reply::number(at)?));
                let lease = Lease { job: id, epoch: reply::number(epoch)?, nonce, row: row(*number, reply::number(place)?), granted_at };
                // One that cannot be read stays leased to a holder that does not know of it; its heartbeat gives it back.
                if let Ok(job) = rows::leased(id, queue, &reply::bytes(blob)?) {
                    leased.push(Leased { lease, job });
                }
            }
        }
        Ok(leased)
    }

    pub(super) async fn beat(
        &self,
        holder: HolderId,
        lease: Duration,
        held: &[Lease],
        progress: &[Progress],
        now: Option<Timestamp>,
    ) -> Result<Beat> {
        let numbers = self.shards_by_number().await?;
        let mut shards: BTreeMap<Tag, (Vec<usize>, Vec<&Progress>)> =
            self.leased_from().into_iter().map(|shard| (shard, Default::default())).collect();
        for (index, lease) in held.iter().enumerate() {
            if let Some(shard) = numbers.get(&shard_of(lease.row)) {
                shards.entry(shard.clone()).or_default().0.push(index);
            }
        }
        for report in progress {
            if let Some(shard) = numbers.get(&shard_of(report.lease.row)) {
                shards.entry(shard.clone()).or_default().1.push(report);
            }
        }
        let lease_us = u64::try_from(lease.as_micros()).unwrap_or(u64::MAX);
        let calls: Vec<_> = shards
            .iter()
            .map(|(shard, (held_here, progress))| {
                let mut call = function("beat", &[self.base(shard)]);
                call.arg(instant(now))
                    .arg(holder.0.as_bytes())
                    .arg(self.node.as_deref().unwrap_or_default())
                    .arg(lease_us)
                    .arg(held_here.len());
                for &index in held_here {
                    let lease = &held[index];
                    call.arg(lease.epoch).arg(place_of(lease.row)).arg(lease.job.0.as_bytes());
                }
                for report in progress {
                    call.arg(report.lease.job.0.as_bytes()).arg(report.lease.epoch).arg(report.value.as_str());
                }
                call
            })
            .collect();
        let mut beat = Beat::default();
        let mut verdicts_of = vec![LOST; held.len()];
        for ((shard, (held_here, _)), told) in shards.iter().zip(self.server.ask_each(Effect::Writes, &calls).await?) {
            let [verdicts, strays] = reply::fixed(told)?;
            for (&index, verdict) in held_here.iter().zip(reply::list(verdicts)?) {
                verdicts_of[index] = reply::number(verdict)?;
            }
            let strays = reply::list(strays)?;
            if strays.is_empty() {
                continue;
            }
            let number = self.shard_number(shard).await?;
            let mut strays = strays.into_iter();
            while beat.strays.len() < STRAYS
                && let (Some(epoch), Some(place), Some(id), Some(nonce), Some(at)) =
                    (strays.next(), strays.next(), strays.next(), strays.next(), strays.next())
            {
                beat.strays.push(stray(number, [epoch, place, id, nonce, at])?);
            }
        }
        self.forget_suspects(held.iter().zip(&verdicts_of).filter(|(_, verdict)| **verdict == LOST).map(|(lease, _)| lease));
        for (lease, verdict) in held.iter().zip(verdicts_of) {
            match verdict {
                LOST => beat.lost.push(*lease),
                CANCEL => beat.cancel.push(*lease),
                _ => {}
            }
        }
        Ok(beat)
    }
}

/// How many jobs of a shard are asked for; none where only whether it has any is asked.
#[derive(Clone)]
pub(super) struct Ask {
    shard: Tag,
    queue: Name,
    most: usize,
    /// The shard's epoch when it was asked.
    before: i64,
}

/// Which shards of a queue are asked for how much: those that last gave as much as they were asked for get what the others leave, which get one
/// each as far as that is no more than half. What does not divide goes round.
#[derive(Default)]
pub(super) struct Turns {
    of: BTreeMap<Name, Turn>,
    full: BTreeSet<Tag>,
}

#[derive(Default)]
struct Turn {
    calls: usize,
    /// Where the next job that does not divide goes, among those that were full and among the others.
    busy: usize,
    quiet: usize,
}

impl Turns {
    fn share(&mut self, queue: &Name, most: usize, shards: Vec<Tag>) -> Vec<Ask> {
        let turn = self.of.entry(queue.clone()).or_default();
        turn.calls = turn.calls.wrapping_add(1);
        let (busy, quiet): (Vec<Tag>, Vec<Tag>) = shards.into_iter().partition(|shard| self.full.contains(shard));
        let for_quiet = if busy.is_empty() { most } else { quiet.len().min((most + turn.calls % 2) / 2) };
        let mut asks = Vec::with_capacity(busy.len() + quiet.len());
        for (shards, jobs, next) in [(busy, most - for_quiet, &mut turn.busy), (quiet, for_quiet, &mut turn.quiet)] {
            let count = shards.len();
            for (index, shard) in shards.into_iter().enumerate() {
                let behind_next = (index + count - *next % count) % count;
                let most = jobs / count + usize::from(behind_next < jobs % count);
                asks.push(Ask { shard, queue: queue.clone(), most, before: 0 });
            }
            *next = next.wrapping_add(jobs.checked_rem(count).unwrap_or(0));
        }
        asks
    }

    fn note(&mut self, ask: &Ask, granted: usize) {
        if ask.most > 0 && granted >= ask.most {
            self.full.insert(ask.shard.clone());
        } else if ask.most > 0 {
            self.full.remove(&ask.shard);
        }
    }
}

struct Granted {
    reply: LeaseReply,
    /// There are suspects that were not granted.
    suspects_wait: bool,
    suspect: Option<Lease>,
}

fn add(whole: &mut LeaseReply, part: LeaseReply) {
    whole.jobs.extend(part.jobs);
    whole.next_due = [whole.next_due, part.next_due].into_iter().flatten().min();
    whole.more |= part.more;
    whole.drained &= part.drained;
}

fn stray(queue: i64, [epoch, place, id, nonce, at]: [Value; 5]) -> Result<Lease> {
    Ok(Lease {
        job: JobId(reply::uuid(id)?),
        epoch: reply::number(epoch)?,
        nonce: Nonce(reply::uuid(nonce)?),
        row: row(queue, reply::number(place)?),
        granted_at: Timestamp(reply::number(at)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every partition that has work is served, whatever else this daemon asks for and however few it asks for.
    #[test]
    fn no_partition_starves() {
        let name = |text: &str| Name::new(text).expect("a name");
        for (queues, count, most, with_work) in [
            (1, 4, 1, vec![0, 2]),
            (1, 8, 1, vec![0, 4]),
            (2, 2, 1, vec![0, 1]),
            (4, 8, 2, (0..8).collect()),
            (1, 4, 1, vec![3]),
            (2, 16, 5, vec![1]),
        ] {
            let mut turns = Turns::default();
            let mut granted = vec![0; count];
            for _ in 0..1000 {
                for queue in 0..queues {
                    let shards = (0..count).map(|n| Tag::new(&format!("q{queue}:{n}")).expect("a tag")).collect();
                    let asks = turns.share(&name(&format!("q{queue}")), most, shards);
                    assert_eq!(asks.iter().map(|ask| ask.most).sum::<usize>(), most);
                    for ask in asks {
                        let number: usize = ask.shard.as_str().rsplit(':').next().expect("a number").parse().expect("one");
                        let jobs = if with_work.contains(&number) { ask.most } else { 0 };
                        turns.note(&ask, jobs);
                        granted[number] += jobs * usize::from(queue == 0);
                    }
                }
            }
            let (least, sum) = (with_work.iter().map(|&n| granted[n]).min().expect("some"), granted.iter().sum::<usize>());
            assert!(least * with_work.len() * 3 >= sum && sum >= 1000 * most / 3, "{queues} {count} {most} {with_work:?}: {granted:?}");
        }
    }
}
