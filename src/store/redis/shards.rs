//! A queue's shards: what is kept together in one slot, under one tag. A queue of one partition is one shard, whose tag is its name; of several,
//! each is one, `mail:0`, `mail:1` …, and a job's key chooses among them.

use crate::job::{InvalidEnvelope, Job, JobId, Name, NewJob, Settings};
use crc16::{State, XMODEM};
use std::{collections::BTreeMap, fmt};

/// What stands in the braces of a shard's keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag(Name);

impl Tag {
    pub(super) fn new(text: &str) -> Option<Self> {
        Name::new(text).ok().map(Self)
    }

    /// Of a queue that has one shard.
    pub(super) fn of(queue: &Name) -> Self {
        Self(queue.clone())
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }

    fn numbered(queue: &Name, number: u32) -> Self {
        // A name that long has no room for a number; its configuration was refused.
        Name::new(&format!("{queue}:{number}")).map_or_else(|_| Self::of(queue), Self)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The queues that have several partitions, and how many.
#[derive(Default)]
pub(super) struct Partitions(BTreeMap<Name, u32>);

impl Partitions {
    pub(super) fn of(settings: &Settings) -> Self {
        let several = settings.queues.iter().filter(|(_, queue)| queue.partitions > 1);
        Self(several.map(|(name, queue)| (name.clone(), queue.partitions)).collect())
    }

    /// The queue that a shard is of. Of a queue with partitions that may also be one that its present number does not count.
    pub(super) fn queue_of(&self, tag: &Tag) -> Name {
        let partition = tag.as_str().rsplit_once(':').filter(|(_, number)| number.bytes().all(|c| c.is_ascii_digit()));
        let queue = partition.and_then(|(queue, _)| self.0.keys().find(|name| name.as_str() == queue));
        queue.unwrap_or(&tag.0).clone()
    }

    /// The shards that jobs of a queue go to now.
    pub(super) fn tags_of(&self, queue: &Name) -> Vec<Tag> {
        match self.0.get(queue) {
            None => vec![Tag::of(queue)],
            Some(partitions) => (0..*partitions).map(|number| Tag::numbered(queue, number)).collect(),
        }
    }

    /// The shard of a job of this queue: its key's, or any; by its id, so that it is the same when it is asked for again.
    ///
    /// # Errors
    /// When no shard can keep what it asks for.
    pub(super) fn tag_for(&self, queue: &Name, job: &NewJob) -> Result<Tag, InvalidEnvelope> {
        let own = Tag::of(queue);
        let of = self.queue_of(&own);
        if of != *queue {
            return Err(InvalidEnvelope::new("/queue", "conflict", format!("`{queue}` is a partition; name the queue `{of}`")));
        }
        let Some(partitions) = self.0.get(queue) else { return Ok(own) };
        let unique = job.unique.as_ref().map(|unique| unique.key.as_str());
        let key = job.concurrency_key.as_ref().map(Name::as_str);
        if let (Some(key), Some(unique)) = (key, unique)
            && !unique.starts_with(key)
        {
            return Err(InvalidEnvelope::new("/unique_key", "conflict", BEGINS));
        }
        Ok(tag_by(queue, *partitions, key.or(unique).or(job.idempotency_key.as_deref()), job.id))
    }

    /// The shard of a job that was somewhere already.
    pub(super) fn tag_of_known(&self, job: &Job) -> Tag {
        let Some(partitions) = self.0.get(&job.queue) else { return Tag::of(&job.queue) };
        let key = job.concurrency_key.as_ref().or(job.unique_key.as_ref()).map(Name::as_str);
        tag_by(&job.queue, *partitions, key.or(job.extra.idempotency_key.as_deref()), job.id)
    }

    pub(super) fn queues(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }
}

fn tag_by(queue: &Name, partitions: u32, key: Option<&str>, id: JobId) -> Tag {
    let crc = State::<XMODEM>::calculate(key.map_or(id.0.as_bytes().as_slice(), str::as_bytes));
    Tag::numbered(queue, u32::from(crc) % partitions)
}

/// As the library says it.
const BEGINS: &str = "must begin with the `concurrency_key`, which chooses the partition of this queue";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shard_is_of_its_queue_only_where_that_has_partitions() {
        let name = |text| Name::new(text).expect("a name");
        let partitions = Partitions([(name("mail"), 4)].into());
        let queue_of = |text| partitions.queue_of(&Tag::new(text).expect("a name")).to_string();
        assert_eq!(queue_of("mail:3"), "mail");
        assert_eq!(queue_of("mail:9"), "mail", "one of more partitions than there are now");
        assert_eq!(queue_of("mail"), "mail");
        assert_eq!(queue_of("post:3"), "post:3");
        assert_eq!(queue_of("mail:x"), "mail:x");
        assert_eq!(
            partitions.tags_of(&name("mail")).iter().map(Tag::to_string).collect::<Vec<_>>(),
            ["mail:0", "mail:1", "mail:2", "mail:3"]
        );
        assert_eq!(partitions.tags_of(&name("post")), [Tag::of(&name("post"))]);
    }
}
