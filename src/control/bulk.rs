//! Many envelopes in one call: splitting an array without trusting its length, checking every item so that all bad ones are
//! named at once, and enqueueing the good ones where the caller asked for an answer per item.

use super::{
    Problem, State,
    state::{Label, Labels},
    wire::{ItemAnswer, ItemError},
};
use crate::{
    job::{InvalidEnvelope, Limits, NewJob},
    store::{self, Enqueued},
};
use bytes::Bytes;
use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::{collections::VecDeque, fmt, ops::Range};

/// Items of one array. They are written in one commit, which others wait behind; NDJSON has no such bound.
pub(super) const MOST_ITEMS: usize = 10_000;

/// Bodies beyond this are parsed off the threads that serve everybody else: 256 KiB take about a millisecond.
const PARSED_IN_PLACE_BYTES: usize = 256 << 10;

/// An item of a bulk call: a job, or what is wrong with it.
pub(super) type Checked = Result<NewJob, ItemError>;

/// Reads a JSON array of envelopes.
///
/// # Errors
/// When the document is no array of at most [`MOST_ITEMS`] items. What is wrong with an item is said in its place.
pub(super) async fn check_array(body: Bytes, limits: Limits) -> Result<Vec<Checked>, Problem> {
    off_the_way(body.len(), move || {
        let text = std::str::from_utf8(&body).map_err(|e| {
            InvalidEnvelope::new("", "not_json", format!("the body is not UTF-8 (byte {}); send JSON in UTF-8", e.valid_up_to()))
        })?;
        let items = split(text)?;
        Ok(items.into_iter().enumerate().map(|(index, item)| check(index, item.get().as_bytes(), limits)).collect())
    })
    .await?
}

pub(super) fn check(index: usize, text: &[u8], limits: Limits) -> Checked {
    NewJob::check(text, limits).map_err(|error| ItemError::at(index, error))
}

/// Runs `work` on `bytes` of input where it delays nobody.
pub(super) async fn off_the_way<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    if bytes <= PARSED_IN_PLACE_BYTES {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Problem::unavailable("closing", "the daemon is closing; try again").because(error.to_string()))
}

fn split(text: &str) -> Result<Vec<&RawValue>, Problem> {
    let mut too_many = false;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let items = Items { too_many: &mut too_many }.deserialize(&mut deserializer).and_then(|items| deserializer.end().map(|()| items));
    items.map_err(|error| {
        let error = if too_many {
            InvalidEnvelope::new("", "too_large", format!("more than {MOST_ITEMS} items; send fewer a call, or NDJSON"))
        } else {
            InvalidEnvelope::new("", "not_json", format!("not a JSON array: {error}"))
        };
        error.into()
    })
}

/// Stops at the first item too many: sixteen megabytes of `0,0,0…` would become gigabytes of items.
struct Items<'a> {
    too_many: &'a mut bool,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = Vec<&'de RawValue>;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of envelopes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            if items.len() == MOST_ITEMS {
                *self.too_many = true;
                return Err(serde::de::Error::custom("too many items"));
            }
            items.push(item);
        }
        Ok(items)
    }
}

/// What became of a call that answers per item.
pub(super) struct Each {
    /// In the order of the items; None where the store was not asked, or did not answer, because of `stopped`.
    pub answers: Vec<Option<ItemAnswer>>,
    /// An error that is about the store and not about an item; nothing after it was tried.
    pub stopped: Option<store::Error>,
}

/// Enqueues every item that can be; those before `first_index` of the call were dealt with earlier. The items go to the store
/// together. When it refuses one, those before it go by themselves, then those after it, so that order is kept and a good
/// item is never held up by a bad one.
pub(super) async fn enqueue_each(state: &State, checked: Vec<Checked>, first_index: usize) -> Each {
    let mut answers: Vec<Option<ItemAnswer>> = Vec::with_capacity(checked.len());
    let (mut places, mut jobs) = (Vec::new(), Vec::new());
    for (place, item) in checked.into_iter().enumerate() {
        match item {
            Ok(job) => {
                places.push(place);
                jobs.push(job);
                answers.push(None);
            }
            Err(error) => {
                count_rejected(state, 1);
                answers.push(Some(ItemAnswer::Refused { error }));
            }
        }
    }
    let mut ranges: VecDeque<Range<usize>> = std::iter::once(0..jobs.len()).collect();
    while let Some(range) = ranges.pop_front() {
        if range.is_empty() {
            continue;
        }
        let labels = label_all(state, &jobs[range.clone()]);
        match state.store.enqueue(jobs[range.clone()].to_vec(), None).await {
            Ok(enqueued) => {
                count_enqueued(state, &labels, &enqueued);
                for (at, done) in range.zip(enqueued) {
                    answers[places[at]] = Some(ItemAnswer::Enqueued(done));
                }
            }
            Err(error) => {
                let Some(refused) = item_at_fault(&error).map(|index| range.start + index).filter(|at| range.contains(at)) else {
                    return Each { answers, stopped: Some(error) };
                };
                count_rejected(state, 1);
                let error = ItemError::of(&error, first_index + places[refused]);
                answers[places[refused]] = Some(ItemAnswer::Refused { error });
                ranges.push_front(refused + 1..range.end);
                ranges.push_front(range.start..refused);
            }
        }
    }
    Each { answers, stopped: None }
}

const fn item_at_fault(error: &store::Error) -> Option<usize> {
    match error {
        store::Error::Invalid { index, .. } | store::Error::Duplicate { index, .. } | store::Error::Conflict { index, .. } => Some(*index),
        _ => None,
    }
}

pub(super) fn label_all(state: &State, jobs: &[NewJob]) -> Vec<Label> {
    let labels = state.labels();
    jobs.iter().map(|job| labels.label(job)).collect()
}

/// Counts arrivals by queue, kind and result.
pub(super) fn count_enqueued(state: &State, labels: &[Label], enqueued: &[Enqueued]) {
    for ((queue, kind), done) in labels.iter().zip(enqueued) {
        let queue = queue.as_deref().unwrap_or(Labels::OTHER);
        let kind = kind.as_deref().unwrap_or(Labels::OTHER);
        let result = if done.duplicate { "duplicate" } else { "new" };
        state.metrics.jobs_enqueued.with_label_values(&[queue, kind, result]).inc();
    }
}

pub(super) fn count_rejected(state: &State, items: usize) {
    let counter = state.metrics.jobs_enqueued.with_label_values(&[Labels::OTHER, Labels::OTHER, "rejected"]);
    counter.inc_by(u64::try_from(items).unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_split_up_to_its_bound_and_not_beyond() {
        let array = |n: usize| format!("[{}]", vec!["0"; n].join(","));
        assert_eq!(split(&array(MOST_ITEMS)).expect("at the bound").len(), MOST_ITEMS);
        let problem = split(&array(MOST_ITEMS + 1)).expect_err("one too many");
        assert!(problem.detail().contains("more than 10000 items"), "{problem:?}");
    }

    #[test]
    fn what_is_no_array_is_refused_in_a_sentence() {
        let bomb = "[".repeat(1_000_000);
        for text in ["", "[", "[1,]", "[1] x", "{}", "[1 2]", bomb.as_str()] {
            let problem = split(text).expect_err("not an array");
            assert!(problem.detail().contains("not a JSON array"), "{problem:?}");
        }
    }
}
