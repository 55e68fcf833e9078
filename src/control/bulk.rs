//! Many envelopes in one call: splitting an array without trusting its length, checking every item so that all bad ones are
//! named at once, and enqueueing the good ones where the caller asked for an answer per item.

use super::{
    Problem, State,
    caller::Caller,
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
use std::{collections::VecDeque, fmt};

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
pub(super) async fn check_array(caller: &Caller, body: Bytes, limits: Limits) -> Result<Vec<Checked>, Problem> {
    let caller = caller.clone();
    off_the_way(body.len(), move || {
        let text = std::str::from_utf8(&body).map_err(|e| {
            InvalidEnvelope::new("", "not_json", format!("the body is not UTF-8 (byte {}); send JSON in UTF-8", e.valid_up_to()))
        })?;
        let items = split(text)?;
        Ok(items.into_iter().enumerate().map(|(index, item)| check(&caller, index, item.get().as_bytes(), limits)).collect())
    })
    .await?
}

pub(super) fn check(caller: &Caller, index: usize, text: &[u8], limits: Limits) -> Checked {
    caller.check(text, limits).map_err(|error| ItemError::at(index, error))
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

/// # Errors
/// When the text is no array of at most [`MOST_ITEMS`] items.
pub(super) fn split(text: &str) -> Result<Vec<&RawValue>, Problem> {
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

/// Enqueues every item that can be; those before `first_index` of the call were dealt with earlier. The items keep their order,
/// and a good one is never held up by a bad one.
pub(super) async fn enqueue_each(state: &State, caller: &Caller, checked: Vec<Checked>, first_index: usize) -> Each {
    let mut answers: Vec<Option<ItemAnswer>> = Vec::with_capacity(checked.len());
    let mut jobs = Vec::new();
    for (place, item) in checked.into_iter().enumerate() {
        match item {
            Ok(job) => {
                jobs.push((place, job));
                answers.push(None);
            }
            Err(error) => {
                count_rejected(state, 1);
                answers.push(Some(ItemAnswer::Refused { error }));
            }
        }
    }
    let mut batches = Batches::of(jobs);
    while let Some(batch) = batches.next() {
        let labels = label_all(state, &batch);
        match caller.jobs(state).enqueue(batch, None).await {
            Ok(enqueued) => {
                count_enqueued(state, &labels, &enqueued);
                for (place, done) in batches.taken(labels.len()).zip(enqueued) {
                    answers[place] = Some(ItemAnswer::Enqueued(done));
                }
            }
            Err(error) => {
                let at_fault = error.of_item().map(|(index, _)| index).filter(|index| *index < labels.len());
                let Some(place) = at_fault.and_then(|index| batches.refused(index)) else {
                    return Each { answers, stopped: Some(error) };
                };
                count_rejected(state, 1);
                answers[place] = Some(ItemAnswer::Refused { error: ItemError::of(&error, first_index + place) });
            }
        }
    }
    Each { answers, stopped: None }
}

/// After a refusal so many items go together. A refused batch is asked for again without the item at fault, so this bounds what
/// one refusal costs, and good items between bad ones still share a commit.
const CAREFUL: usize = 64;

/// Which jobs to ask for next: all together as long as none is refused, then a few at a time, and more again while it goes well.
struct Batches {
    /// Each with its place in the call.
    waiting: VecDeque<(usize, NewJob)>,
    most: usize,
}

impl Batches {
    fn of(jobs: Vec<(usize, NewJob)>) -> Self {
        Self { most: jobs.len(), waiting: jobs.into() }
    }

    fn next(&self) -> Option<Vec<NewJob>> {
        let batch: Vec<NewJob> = self.waiting.iter().take(self.most).map(|(_, job)| job.clone()).collect();
        (!batch.is_empty()).then_some(batch)
    }

    /// The places of the first `size`, which are enqueued.
    fn taken(&mut self, size: usize) -> impl Iterator<Item = usize> {
        self.most = self.most.saturating_mul(2);
        self.waiting.drain(..size).map(|(place, _)| place)
    }

    /// The place of the item at fault, which is dealt with; the others wait on.
    fn refused(&mut self, index: usize) -> Option<usize> {
        self.most = CAREFUL;
        self.waiting.remove(index).map(|(place, _)| place)
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
    use crate::job::{Json, Name};

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

    /// What a store that refuses every `nth` item is asked for: how often, and how many items over all.
    fn asked(items: usize, nth: usize) -> (usize, usize) {
        let job = |n: usize| (n, NewJob { delay_ms: n as u64, ..NewJob::new(Name::literal("k"), Json::of(&n)) });
        let mut batches = Batches::of((0..items).map(job).collect());
        let (mut calls, mut sum, mut taken) = (0, 0, Vec::new());
        while let Some(batch) = batches.next() {
            (calls, sum) = (calls + 1, sum + batch.len());
            match batch.iter().position(|job| job.delay_ms.is_multiple_of(nth as u64)) {
                Some(index) => assert!(batches.refused(index).expect("it waits").is_multiple_of(nth)),
                None => taken.extend(batches.taken(batch.len())),
            }
        }
        assert!((0..items).filter(|n| !n.is_multiple_of(nth)).eq(taken), "all the good ones, in their order");
        (calls, sum)
    }

    #[test]
    fn what_refusals_cost_grows_with_their_number_and_not_with_its_square() {
        for nth in [1, 2, 100, MOST_ITEMS] {
            let (calls, sum) = asked(MOST_ITEMS, nth);
            let refused = MOST_ITEMS.div_ceil(nth);
            // All at once in the beginning, each once at last, and what fails is twice what went well before it.
            assert!(sum <= 4 * MOST_ITEMS + refused * CAREFUL, "every {nth}th refused: {sum} items in {calls} calls");
        }
        assert_eq!(asked(MOST_ITEMS, MOST_ITEMS).0, 1 + 8, "all but the first are good");
    }
}
