//! Searching jobs: what may be asked for, how far one call looks, and cursors that stay true. A driver walks its rows by id;
//! where a walk begins, goes on and ends is said here, once for all of them.
//!
//! No index knows kinds, queues, tenants or times: each would cost every job on its way. Ids are nearly in the order in which
//! jobs were made, so a walk by id finds what is common soon and what belongs to a time where that time begins; for what is
//! rare, a call ends at its bound and says how far it got.

use super::{Error, Result, Store};
use crate::job::{Fingerprint, InvalidEnvelope, Job, JobId, Json, Name, State, Timestamp};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{collections::HashMap, time::Duration};
use uuid::Uuid;

/// Rows that one call looks at: a page never takes long, however rare what is asked for.
pub const LOOK: usize = 10_000;
/// Ids that one filter names at most.
pub const MOST_IDS: usize = 100;
/// Bytes of a text to search for.
pub const MOST_TEXT: usize = 256;
/// Bytes of payload, result and checkpoint in one page at most, but for its last job.
pub(crate) const PAGE_BYTES: usize = 8 << 20;
/// Bytes of payload that one look searches for a text, but for the last.
pub(crate) const TEXT_BYTES: usize = 32 << 20;
/// The first look of a call: where what is asked for is common, it is the last too.
const FIRST_LOOK: usize = 1_000;
/// What producers' clocks are ahead by. A job whose id is further ahead of its time is found at the end of a walk.
const AHEAD: Duration = Duration::from_secs(1);

/// From an instant on, up to another; either may be left open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Span {
    pub from: Option<Timestamp>,
    /// Not any more.
    pub to: Option<Timestamp>,
}

impl Span {
    /// No bound at all.
    pub const ANY: Self = Self { from: None, to: None };

    #[must_use]
    pub fn is_any(&self) -> bool {
        *self == Self::ANY
    }

    #[must_use]
    pub fn holds(&self, instant: Timestamp) -> bool {
        self.from.is_none_or(|from| instant >= from) && self.to.is_none_or(|to| instant < to)
    }

    /// In microseconds, where the ends of time stand for no bound.
    pub(crate) fn bounds(&self) -> (i64, i64) {
        (self.from.map_or(i64::MIN, |from| from.0), self.to.map_or(i64::MAX, |to| to.0))
    }

    fn check(&self, name: &str) -> std::result::Result<(), InvalidEnvelope> {
        if self.from.zip(self.to).is_some_and(|(from, to)| from >= to) {
            let message = format!("{name}_from must be before {name}_to; nothing lies between them");
            return Err(InvalidEnvelope::new(format!("/{name}_from"), "out_of_range", message));
        }
        Ok(())
    }
}

/// Which jobs to list. Everything is optional and combined with *and*.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// One of these, at most [`MOST_IDS`]; all when empty.
    pub ids: Vec<JobId>,
    pub state: Option<State>,
    pub queue: Option<Name>,
    pub kind: Option<Name>,
    pub tenant: Option<Name>,
    pub tag: Option<Name>,
    /// What they died of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Stands somewhere in the payload as it is stored, letter by letter.
    pub text: Option<String>,
    pub created: Span,
    /// When it is or was due; for a parked job, when its park ends.
    pub due: Span,
    /// Only jobs that ended.
    pub finished: Span,
}

impl Filter {
    /// # Errors
    /// The first thing that cannot be asked for.
    pub fn check(&self) -> std::result::Result<(), InvalidEnvelope> {
        if self.ids.len() > MOST_IDS {
            return Err(InvalidEnvelope::new(
                "/id",
                "too_many",
                format!("the filter names {} ids; ask for {MOST_IDS} at a time", self.ids.len()),
            ));
        }
        if self.text.as_ref().is_some_and(|text| text.is_empty() || text.len() > MOST_TEXT || text.contains('\0')) {
            return Err(InvalidEnvelope::new("/text", "out_of_range", format!("text must be 1 to {MOST_TEXT} bytes, without NUL")));
        }
        self.created.check("created")?;
        self.due.check("due")?;
        self.finished.check("finished")
    }

    pub(crate) fn fits(&self, job: &Job) -> bool {
        let is = |name: &Name, wanted: &Option<Name>| wanted.as_ref().is_none_or(|wanted| wanted == name);
        is(&job.queue, &self.queue)
            && is(&job.kind, &self.kind)
            && self.state.is_none_or(|state| job.state == state)
            && self.tenant.as_ref().is_none_or(|tenant| job.tenant.as_ref() == Some(tenant))
            && self.created.holds(job.created_at)
            && self.due.holds(job.run_at)
            && (self.finished.is_any() || job.finished_at.is_some_and(|at| self.finished.holds(at)))
            && (self.ids.is_empty() || self.ids.contains(&job.id))
            && self.tag.as_ref().is_none_or(|tag| job.extra.tags.contains(tag))
            && self.fingerprint.as_ref().is_none_or(|wanted| *wanted == Fingerprint::of(job))
            && self.text.as_ref().is_none_or(|text| job.payload.as_str().contains(text.as_str()))
    }

    /// Only ids tell which of the jobs.
    pub(crate) fn is_open(&self) -> bool {
        *self == Self { ids: self.ids.clone(), ..Self::default() }
    }

    /// Above this id there is hardly any: a job is made before it is due, and ends after that.
    fn start(&self) -> Option<Uuid> {
        let ends = [self.created.to, self.due.to, self.finished.to];
        ends.into_iter().flatten().min().map(|to| first_id_after(to.plus(AHEAD)))
    }

    /// Tells cursors of one list from those of another.
    fn print(&self) -> [u8; 8] {
        let digest = Sha256::digest(Json::of(self).as_str().as_bytes());
        let mut print = [0; 8];
        print.copy_from_slice(&digest[..8]);
        print
    }
}

fn first_id_after(instant: Timestamp) -> Uuid {
    let ms = u128::try_from(instant.millis().clamp(0, (1 << 48) - 1)).unwrap_or(0);
    Uuid::from_u128(ms << 80)
}

/// When an id was minted.
fn minted_at(id: Uuid) -> Timestamp {
    Timestamp::from_millis(i64::try_from(id.as_u128() >> 80).unwrap_or(i64::MAX)).min(Timestamp::MAX)
}

/// A page, newest id first; where jobs of before an instant are asked for, those whose ids are newer than that come last.
/// A cursor stays valid whatever is added or removed meanwhile: no job that existed all along is shown twice or left out.
#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Where the next page begins; None at the end. A page may be short, even empty, and still have one: a call looks at a
    /// bounded number of rows.
    pub next: Option<String>,
    /// Rows that were looked at for it, [`LOOK`] at most.
    pub looked: u64,
    /// Every job whose id was minted since then was looked at, in this call or an earlier one; None once all were, and while
    /// those come that are not in the order of their ids.
    pub until: Option<Timestamp>,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { items: Vec::new(), next: None, looked: 0, until: None }
    }
}

/// A part of a walk: ids below one, down to another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leg {
    pub(crate) below: Uuid,
    pub(crate) down_to: Uuid,
}

/// How far one look may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) rows: usize,
    pub(crate) jobs: usize,
    pub(crate) bytes: usize,
}

/// What one look found.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    pub(crate) jobs: Vec<Job>,
    pub(crate) rows: usize,
    /// The last row looked at, if there is one below it in the leg.
    pub(crate) stopped_at: Option<Uuid>,
}

pub(crate) fn weight(job: &Job) -> usize {
    [Some(&job.payload), job.result.as_ref(), job.checkpoint.as_ref()].into_iter().flatten().map(|json| json.as_str().len()).sum()
}

/// Where a walk stands: it goes from the filter's start to the end, then from the top to that start.
#[derive(Clone, Copy)]
struct Place {
    is_rest: bool,
    below: Uuid,
}

impl Place {
    fn of(filter: &Filter, cursor: Option<&str>) -> Result<Self> {
        let Some(text) = cursor else { return Ok(Self { is_rest: false, below: filter.start().unwrap_or(Uuid::max()) }) };
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| <[u8; 25]>::try_from(bytes).ok());
        let Some(bytes) = bytes.filter(|bytes| bytes[0] <= 1) else {
            return Err(refused("is none of ours; begin again without one"));
        };
        if bytes[1..9] != filter.print() {
            return Err(refused("belongs to another list; send it with the same filter as before, or begin again without one"));
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[9..]);
        Ok(Self { is_rest: bytes[0] == 1, below: Uuid::from_bytes(id) })
    }

    fn leg(self, filter: &Filter) -> Leg {
        let down_to = if self.is_rest { filter.start().unwrap_or(Uuid::nil()) } else { Uuid::nil() };
        Leg { below: self.below, down_to }
    }

    /// The other leg, after the end of this one.
    fn after(self, filter: &Filter) -> Option<Self> {
        (!self.is_rest && filter.start().is_some()).then_some(Self { is_rest: true, below: Uuid::max() })
    }

    fn cursor(self, filter: &Filter) -> String {
        let mut bytes = vec![u8::from(self.is_rest)];
        bytes.extend(filter.print());
        bytes.extend(self.below.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn until(self, filter: &Filter) -> Option<Timestamp> {
        (!self.is_rest || filter.start().is_none()).then(|| minted_at(self.below))
    }
}

fn refused(why: &str) -> Error {
    Error::Invalid { index: 0, error: InvalidEnvelope::new("/cursor", "bad_cursor", format!("the cursor {why}")) }
}

/// A page of at most `limit` jobs, by as many calls of `look` as it takes.
pub(crate) async fn page<F>(filter: &Filter, cursor: Option<&str>, limit: usize, mut look: impl FnMut(Leg, Room) -> F) -> Result<Page<Job>>
where
    F: Future<Output = Result<Looked>>,
{
    filter.check().map_err(|error| Error::Invalid { index: 0, error })?;
    let mut place = Place::of(filter, cursor)?;
    let limit = limit.clamp(1, 1000);
    let (mut page, mut left, mut bytes) = (Page::default(), LOOK, PAGE_BYTES);
    let mut rows = if filter.is_open() { limit + 1 } else { FIRST_LOOK.max(limit) };
    while page.items.len() < limit && left > 0 && bytes > 0 {
        let room = Room { rows: rows.min(left), jobs: limit - page.items.len(), bytes };
        let looked = look(place.leg(filter), room).await?;
        let is_cut_short = looked.rows < room.rows;
        left -= looked.rows.min(left);
        bytes = bytes.saturating_sub(looked.jobs.iter().map(weight).sum());
        page.items.extend(looked.jobs);
        match (looked.stopped_at, place.after(filter)) {
            (Some(id), _) => place.below = id,
            (None, Some(next)) => place = next,
            (None, None) => return Ok(Page { looked: shown(LOOK - left), ..page }),
        }
        if looked.stopped_at.is_some() && is_cut_short {
            break;
        }
        rows = LOOK;
    }
    Ok(Page { next: Some(place.cursor(filter)), looked: shown(LOOK - left), until: place.until(filter), ..page })
}

fn shown(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

/// A page of those that the filter names by their ids.
pub(crate) async fn named(store: &dyn Store, filter: &Filter, cursor: Option<&str>, limit: usize) -> Result<Page<Job>> {
    page(filter, cursor, limit, |leg, room| these(store, filter, leg, room)).await
}

async fn these(store: &dyn Store, filter: &Filter, leg: Leg, room: Room) -> Result<Looked> {
    let mut ids: Vec<JobId> = filter.ids.iter().copied().filter(|id| (leg.down_to..leg.below).contains(&id.0)).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.reverse();
    let mut found: HashMap<JobId, Job> = store.get_each(&ids).await?.into_iter().map(|job| (job.id, job)).collect();
    let (mut looked, mut bytes) = (Looked::default(), 0);
    for id in ids {
        if looked.jobs.len() == room.jobs || looked.rows == room.rows || bytes >= room.bytes {
            return Ok(looked);
        }
        looked.rows += 1;
        looked.stopped_at = Some(id.0);
        if let Some(job) = found.remove(&id).filter(|job| filter.fits(job)) {
            bytes += weight(&job);
            looked.jobs.push(job);
        }
    }
    Ok(Looked { stopped_at: None, ..looked })
}
